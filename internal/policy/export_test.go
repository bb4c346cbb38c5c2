// SPDX-License-Identifier: Apache-2.0

package policy

import "strings"

// SpeaksOf returns the sorts of names all of which a rule speaks of.
func (p *Policy) SpeaksOf(rule string) string {
	for _, r := range p.rules {
		if r.Name == rule {
			return strings.Join(r.speaksOf.variables(), ", ")
		}
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"cmp"
	"context"
	"slices"

	"github.com/tallystick/tallystick/rule"
)

var _ rule.Shows = (*estate)(nil)

// EachShown calls fn for every endpoint, by the names of what it shows.
func (e *estate) EachShown(ctx context.Context, fn func(rule.Shown) error) error {
	var all []rule.Shown
	for i := range e.sightings {
		s := &e.sightings[i]
		if s.facts.TLS != nil && s.facts.TLS.Position == 0 && len(s.credential.Names) > 0 {
			all = append(all, rule.Shown{Place: s.place, Address: s.facts.TLS.Address, Certificate: s.credential})
		}
	}
	slices.SortStableFunc(all, func(a, b rule.Shown) int { return slices.Compare(a.Certificate.Names, b.Certificate.Names) })
	for _, l := range all {
		if err := cmp.Or(ctx.Err(), fn(l)); err != nil {
			return err
		}
	}
	return nil
}

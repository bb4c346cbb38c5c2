// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/tallystick/tallystick/rule"
)

// Recheck returns the first instant after s.Now at which the hits of any Check
// could change by time alone, and the zero time when there is none. Until then
// judging the same subject again gives the same hits, so that of a million
// credentials only those that are due need to be judged. Every rule that looks
// at Now has its instants here.
func Recheck(s rule.Subject) time.Time {
	c := s.Credential
	var instants [5]time.Time
	instants[0] = c.NotBefore
	if !c.NotAfter.IsZero() {
		instants[1] = endOf(c)
	}
	if w, ok := windowOf(c); ok {
		instants[2], instants[3], instants[4] = w.renew, w.medium, w.high
	}
	var next time.Time
	for _, t := range instants {
		if t.After(s.Now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

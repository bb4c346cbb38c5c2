// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// Recheck returns the first instant after s.Now at which the hits of any Check
// could change by time alone, and the zero time when there is none. Until then
// judging the same subject again gives the same hits, so that of a million
// credentials only those that are due need to be judged. Every rule that looks
// at Now has its instants here.
func Recheck(s rule.Subject) time.Time {
	c := s.Credential
	var instants [5 + len(quantumDates)]time.Time
	instants[0] = c.NotBefore
	if !c.NotAfter.IsZero() {
		instants[1] = endOf(c)
	}
	if w, ok := windowOf(c); ok {
		instants[2], instants[3], instants[4] = w.renew, w.medium, w.high
	}
	if slices.ContainsFunc(s.Sightings, func(seen tallystick.Sighting) bool { return quantumWeak(&seen) }) {
		for i, step := range quantumDates {
			instants[5+i] = step.from
		}
	}
	var next time.Time
	consider := func(instants []time.Time) {
		for _, t := range instants {
			if t.After(s.Now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	consider(instants[:])
	for i := range s.Sightings {
		consider(accountInstants(&s.Sightings[i]))
	}
	return next
}

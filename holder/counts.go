// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// maxCounts bounds how many pairs of credential and relying party are counted
// apart when records no longer fit into memory.
const maxCounts = 1000

// counts are uses that are only counted, by what a tally of numbers needs.
type counts map[string]*tallystick.Use

// add counts a use; false is that there is no room for another pair.
func (c counts) add(u *tallystick.Use) bool {
	key := strings.Join([]string{
		strings.Join(u.Credential, "\x00"), u.RelyingParty, string(u.Level), string(u.Outcome), u.Holder,
	}, "\x01")
	if sum, ok := c[key]; ok {
		sum.Count += u.Count
		sum.Time, sum.Until = earlier(sum.Time, u.Time), later(sum.Until, u.Until)
		return true
	}
	if len(c) >= maxCounts {
		return false
	}
	c[key] = &tallystick.Use{
		Source: u.Source, Side: u.Side, Level: u.Level, Time: u.Time, Until: u.Until, Count: u.Count,
		Credential: u.Credential, Holder: u.Holder, RelyingParty: u.RelyingParty, Outcome: u.Outcome,
	}
	return true
}

// take empties the counters, in the order of time.
func (c counts) take() []tallystick.Use {
	uses := make([]tallystick.Use, 0, len(c))
	for key, sum := range c {
		uses = append(uses, *sum)
		delete(c, key)
	}
	slices.SortFunc(uses, func(a, b tallystick.Use) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.RelyingParty, b.RelyingParty))
	})
	return uses
}

// lost is how many uses are known of by their number alone.
type lost struct {
	n           int64
	first, last time.Time
}

func (l *lost) add(u *tallystick.Use) {
	if l.n == 0 {
		l.first = u.Time
	}
	l.n += u.Count
	l.first, l.last = earlier(l.first, u.Time), later(l.last, u.Until)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

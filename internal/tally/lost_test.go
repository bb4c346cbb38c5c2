// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// one returns a use of a key at a minute.
func one(side tallystick.Side, source string, minute int, credential string) *tallystick.Use {
	at := start.Add(time.Duration(minute) * time.Minute)
	return &tallystick.Use{
		Side: side, Source: source, Seq: uint64(minute + 1), Time: at, Until: at, Count: 1, Credential: []string{credential}, RelyingParty: "ldap:a:389",
	}
}

// Left over are uses of minutes 10, 14 and 30; minutes 12 to 13 were lost.
func TestWhatABookLostIsNotForeign(t *testing.T) {
	lost := func(source string) *tallystick.Use {
		return &tallystick.Use{Source: source, Side: tallystick.SideHolder, Seq: 2, Time: start.Add(12 * time.Minute), Until: start.Add(13 * time.Minute), Count: 5}
	}
	for name, c := range map[string]struct {
		lost []*tallystick.Use
		used string // the credential of the uses
		want Summary
	}{
		"nothing":                             {nil, "x5t:aa", Summary{Relying: 3, Holder: 2, Foreign: 3, Unconfirmed: 2}},
		"by its book":                         {[]*tallystick.Use{lost("a")}, "x5t:aa", Summary{Relying: 3, Holder: 2, Foreign: 1, Pending: 2, Unconfirmed: 2}},
		"by its book, read twice":             {[]*tallystick.Use{lost("a"), lost("a")}, "x5t:aa", Summary{Relying: 3, Holder: 2, Foreign: 1, Pending: 2, Unconfirmed: 2}},
		"by a book of another credential":     {[]*tallystick.Use{lost("b")}, "x5t:aa", Summary{Relying: 3, Holder: 2, Foreign: 3, Unconfirmed: 2}},
		"by a book that says nothing else":    {[]*tallystick.Use{lost("c")}, "x5t:aa", Summary{Relying: 3, Holder: 2, Foreign: 1, Pending: 2, Unconfirmed: 2}},
		"by any, of what is in nobody's book": {[]*tallystick.Use{lost("b")}, "x5t:cc", Summary{Relying: 3, Holder: 2, Foreign: 1, Pending: 2, Unconfirmed: 2}},
	} {
		h := &records{lost: c.lost, uses: []*tallystick.Use{one(tallystick.SideHolder, "a", 0, "x5t:aa"), one(tallystick.SideHolder, "b", 0, "x5t:bb")}}
		for _, minute := range []int{10, 14, 30} {
			h.uses = append(h.uses, one(tallystick.SideRelying, "log", minute, c.used))
		}
		_, got := verdicts(t, Options{Tolerance: 2 * time.Minute, CloseAtEnd: true}, h)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("lost %s:\n%s", name, d)
		}
	}
}

// The record that says what was lost has a number as well, and is not missing.
func TestALossIsARecordOfTheBook(t *testing.T) {
	tally := New(Options{})
	w := tally.Writer()
	w.Use(one(tallystick.SideHolder, "a", 0, "x5t:aa"))
	w.Use(one(tallystick.SideHolder, "a", 3, "x5t:aa"))
	for range 2 {
		w.Lost(&tallystick.Use{Source: "a", Seq: 2, Time: start, Until: start, Count: 5})
	}
	w.Flush()
	result, err := tally.Settle(t.Context())
	if err != nil || len(result.Books) != 1 {
		t.Fatal(err, result.Books)
	}
	if b := result.Books[0]; b.Lost != 5 || b.Missing != 1 {
		t.Errorf("%d are lost and %d missing, want 5 and 1", b.Lost, b.Missing)
	}
}

// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// with returns a use as one does, changed.
func with(side tallystick.Side, minute int, change func(u *tallystick.Use)) *tallystick.Use {
	u := one(side, "app", minute, "x5t:aa")
	if side == tallystick.SideRelying {
		u.Source, u.Seq = "log", 0
	}
	u.Outcome = tallystick.OutcomeSuccess
	change(u)
	return u
}

func nothing(*tallystick.Use) {}

// closed returns the summary of two minutes' tolerance and closed books.
func closed(t *testing.T, h *records) Summary {
	t.Helper()
	_, sum := verdicts(t, Options{Tolerance: 2 * time.Minute, CloseAtEnd: true}, h)
	return sum
}

// A program that records its signatures and its requests records one use twice.
func TestASignatureOfARecordedRequestClearsNothing(t *testing.T) {
	signature := with(tallystick.SideHolder, 0, func(u *tallystick.Use) {
		u.Seq, u.Level, u.RelyingParty = 7, tallystick.LevelSignature, ""
	})
	request := with(tallystick.SideHolder, 0, nothing)
	own, other := with(tallystick.SideRelying, 0, nothing), with(tallystick.SideRelying, 1, func(u *tallystick.Use) { u.RelyingParty = "ldap:b:389" })
	got := closed(t, &records{uses: []*tallystick.Use{signature, request, own, other}})
	if d := cmp.Diff(Summary{Relying: 2, Holder: 2, Matched: 1, Foreign: 1, Unconfirmed: 1}, got); d != "" {
		t.Errorf("signature and request:\n%s", d)
	}
	got = closed(t, &records{uses: []*tallystick.Use{signature, own}})
	if d := cmp.Diff(Summary{Relying: 1, Holder: 1, Matched: 1}, got); d != "" {
		t.Errorf("only a signature:\n%s", d)
	}
}

// The client keeps its correlation id when it tries again.
func TestARefusedFirstTryIsNotATokensParent(t *testing.T) {
	try := func(side tallystick.Side, second int, level tallystick.Level, change func(u *tallystick.Use)) *tallystick.Use {
		return with(side, 0, func(u *tallystick.Use) {
			u.Time = u.Time.Add(time.Duration(second) * time.Second)
			u.Until, u.Level, u.IDs.Correlation = u.Time, level, "c"
			change(u)
		})
	}
	refused := func(u *tallystick.Use) { u.Seq, u.Outcome = 0, tallystick.OutcomeRefused }
	h := &records{uses: []*tallystick.Use{
		try(tallystick.SideHolder, 0, tallystick.LevelRequest, refused),
		try(tallystick.SideHolder, 5, tallystick.LevelRequest, func(u *tallystick.Use) { u.Seq = 2 }),
		try(tallystick.SideHolder, 6, tallystick.LevelToken, func(u *tallystick.Use) { u.Seq, u.IDs.UTI, u.IDs.Parent = 3, "t", "c" }),
		try(tallystick.SideRelying, 0, tallystick.LevelToken, refused),
		try(tallystick.SideRelying, 6, tallystick.LevelToken, func(u *tallystick.Use) { u.IDs.UTI = "t" }),
	}}
	if d := cmp.Diff(Summary{Relying: 2, Holder: 3, Matched: 2}, closed(t, h)); d != "" {
		t.Error(d)
	}
}

func TestEqualRecordsOfOneFileAreAsManyUses(t *testing.T) {
	use := with(tallystick.SideRelying, 0, nothing)
	times := func(n int) []*tallystick.Use { return slices.Repeat([]*tallystick.Use{use}, n) }
	holder := with(tallystick.SideHolder, 0, nothing)
	for _, more := range [][][]*tallystick.Use{
		{times(10)}, {times(10), times(10)}, {times(4), times(10), times(1)}, {times(10), times(1)},
	} {
		got := closed(t, &records{uses: []*tallystick.Use{holder}, more: more})
		got.Duplicates = 0
		if d := cmp.Diff(Summary{Relying: 10, Holder: 1, Matched: 1, Foreign: 9}, got); d != "" {
			t.Errorf("%d files:\n%s", len(more), d)
		}
	}
}

func TestWhatHasANameIsOneHoweverOftenItIsThere(t *testing.T) {
	for name, change := range map[string]func(u *tallystick.Use){
		"an id":      func(u *tallystick.Use) { u.ID = "1" },
		"a number":   func(u *tallystick.Use) { u.Seq = 4 },
		"a request":  func(u *tallystick.Use) { u.IDs.Request = "1" },
		"a token id": func(u *tallystick.Use) { u.IDs.UTI, u.Level = "1", tallystick.LevelToken },
	} {
		u := with(tallystick.SideRelying, 0, change)
		if got := closed(t, &records{uses: []*tallystick.Use{u, u, u}}); got.Relying != 1 || got.Duplicates != 2 {
			t.Errorf("with %s: %+v", name, got)
		}
	}
}

// The text makes a factor of the hash 0, which must not erase what came before.
func TestTextDoesNotMakeUsesOne(t *testing.T) {
	h := &records{uses: []*tallystick.Use{with(tallystick.SideHolder, 0, nothing)}}
	for _, address := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
		for pad := range 16 { // so that in one of them it is at a block's beginning
			h.uses = append(h.uses, with(tallystick.SideRelying, 0, func(u *tallystick.Use) {
				u.Address, u.Agent = address, strings.Repeat("x", pad)+"\xdb\x28\xb4\xa0\xd1\x7e\x03\xe7"+"12345678"
			}))
		}
	}
	if got := closed(t, h); got.Relying != 48 || got.Duplicates != 0 {
		t.Errorf("%+v", got)
	}
}

func TestOfTwoRecordsWithOneIDTheLargerCounts(t *testing.T) {
	few := with(tallystick.SideRelying, 0, func(u *tallystick.Use) { u.ID = "1" })
	many := with(tallystick.SideRelying, 0, func(u *tallystick.Use) { u.ID, u.Count, u.Until = "1", 500, u.Time.Add(time.Second) })
	for _, uses := range [][]*tallystick.Use{{few, many}, {many, few}} {
		if got := closed(t, &records{uses: uses}); got.Relying != 500 || got.Duplicates != 1 {
			t.Errorf("%+v", got)
		}
	}
}

func TestNamesJoinOnlyWhenTheyNameAndTheKeyWasShown(t *testing.T) {
	holder := with(tallystick.SideHolder, 0, nothing) // of x5t:aa
	foreign := with(tallystick.SideRelying, 0, func(u *tallystick.Use) { u.Credential = []string{"x5t:bb"} })
	named := func(outcome tallystick.Outcome, names ...string) *tallystick.Use {
		return with(tallystick.SideRelying, 50, func(u *tallystick.Use) { u.Outcome, u.Credential = outcome, names })
	}
	for name, c := range map[string]struct {
		more []*tallystick.Use
		want int64 // matched
	}{
		"a use with both":     {[]*tallystick.Use{named(tallystick.OutcomeSuccess, "x5t:aa", "x5t:bb")}, 1},
		"an attempt":          {[]*tallystick.Use{named(tallystick.OutcomeAttempt, "x5t:aa", "x5t:bb")}, 0},
		"names with no value": {[]*tallystick.Use{named(tallystick.OutcomeSuccess, "x5t:aa", "entra-key:"), named(tallystick.OutcomeSuccess, "entra-key: ", "x5t:bb")}, 0},
		"a name with a NUL": {[]*tallystick.Use{named(tallystick.OutcomeSuccess, "ssh:x\x00x5t:aa"), named(tallystick.OutcomeSuccess, "ssh:x", "x5t:aa"),
			named(tallystick.OutcomeSuccess, "ssh:x", "x5t:bb")}, 1},
	} {
		for range 2 {
			if got := closed(t, &records{uses: append([]*tallystick.Use{holder, foreign}, c.more...)}); got.Matched != c.want {
				t.Errorf("%s: %d are matched, want %d", name, got.Matched, c.want)
			}
			slices.Reverse(c.more)
		}
	}
}

// A holder's record without a name of the credential is no book of the nameless.
func TestATokenTellsWhoseItIs(t *testing.T) {
	token := func(side tallystick.Side, uti string, names ...string) *tallystick.Use {
		return with(side, 0, func(u *tallystick.Use) {
			u.Credential, u.Level, u.IDs.UTI, u.Seq = names, tallystick.LevelToken, uti, 0
		})
	}
	h := &records{uses: []*tallystick.Use{
		token(tallystick.SideHolder, "1", "x5t:aa"), token(tallystick.SideHolder, "1"), token(tallystick.SideHolder, "2"),
		token(tallystick.SideRelying, "1"), token(tallystick.SideRelying, "2"),
	}}
	if got := closed(t, h); got.Matched != 2 {
		t.Errorf("%+v", got)
	}
	slices.Reverse(h.uses)
	if got := closed(t, h); got.Matched != 2 {
		t.Errorf("in another order: %+v", got)
	}
}

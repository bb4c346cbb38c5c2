// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick"
)

var start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// history draws records of both sides from so few values that everything that
// can coincide does.
func history(t *rapid.T, wild bool) (uses []*tallystick.Use, marks []tallystick.ClosingMark) {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	for i := range rapid.IntRange(0, 24).Draw(t, "records") {
		u := &tallystick.Use{
			Side: tallystick.Side(pick("side", "holder", "relying")), Level: tallystick.LevelToken, Count: 1,
			Time:         start.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "minute")) * 30 * time.Second),
			RelyingParty: pick("party", "entra:t/r", "entra:t/r", "ldap:a:389"),
			Address:      pick("address", "", "10.0.0.1", "10.0.0.2"),
			Outcome:      tallystick.Outcome(pick("outcome", "success", "success", "success", "refused", "attempt")),
			IDs: tallystick.UseIDs{
				UTI:         pick("uti", "", "", "t1", "t2", "t3", "t4"),
				Correlation: pick("correlation", "", "c1", "c2"),
				Request:     pick("request", "", "", "r1", "r2"),
			},
		}
		u.Until = u.Time
		u.Source = pick("source", "a", "b")
		if u.Side == tallystick.SideRelying {
			u.Source = "log"
			u.ID = fmt.Sprint("id", i)
		} else {
			u.Seq = uint64(i + 1)
			if rapid.IntRange(0, 5).Draw(t, "counted") == 0 {
				u.Count = int64(rapid.IntRange(2, 4).Draw(t, "count"))
				u.Until = u.Time.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "length")) * time.Minute)
			}
		}
		u.Credential = [][]string{{"x5t:aa"}, {"x5t:AA", "entra-key:1"}, {"entra-key:1"}, {"spki-sha256:bb"}, {"spki-sha256:cc"}}[rapid.IntRange(0, 4).Draw(t, "names")]
		if wild {
			makeWild(t, u, pick)
		}
		uses = append(uses, u)
	}
	for _, source := range []string{"a", "b"} {
		for range rapid.IntRange(0, 2).Draw(t, "marks") {
			marks = append(marks, tallystick.ClosingMark{Source: source, Side: tallystick.SideHolder,
				Closed: start.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "closed")) * time.Minute)})
		}
	}
	return uses, marks
}

// makeWild adds what the reference does not know: levels that are tied, calls,
// relying parties that say less, records without an id, counted uses there.
func makeWild(t *rapid.T, u *tallystick.Use, pick func(string, ...string) string) {
	u.Level = tallystick.Level(pick("level", "signature", "request", "token", "call"))
	u.IDs.Parent = pick("parent", "", "", "r1", "r2", "c1")
	u.RelyingParty = pick("wild party", "entra:t/r", "entra:/r", "entra:q/r", "ldap:a:389", "ldap:a", "")
	if u.Side == tallystick.SideRelying {
		u.Count = int64(rapid.IntRange(1, 3).Draw(t, "relying count"))
		if pick("own id", "yes", "no") == "no" {
			u.ID = ""
		}
		if pick("names a key", "yes", "yes", "no") == "no" {
			u.Credential = []string{"account:entra-app/x"}
		}
	}
}

// verdicts settles records and returns what each comes to, with its index.
func verdicts(t testing.TB, options Options, uses []*tallystick.Use, marks []tallystick.ClosingMark) (map[string]string, Summary) {
	tally := New(options)
	w := tally.Writer()
	for i, u := range uses {
		w.At(uint64(i))
		w.Use(u)
	}
	for _, m := range marks {
		w.Close(m)
	}
	w.Flush()
	result, err := tally.Settle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, item := range result.Items {
		list[fmt.Sprintf("%x", identity(uses[item.Where]))] = fmt.Sprintf("%s %d %s", item.Verdict, item.Count, item.Reason)
	}
	return list, result.Summary
}

// TestAgreesWithTheReference compares verdict by verdict and use by use.
func TestAgreesWithTheReference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		uses, marks := history(rt, false)
		options := Options{Tolerance: time.Duration(rapid.IntRange(0, 4).Draw(rt, "tolerance")) * 30 * time.Second, CloseAtEnd: rapid.Bool().Draw(rt, "close at end")}
		r := newReference(options, uses, marks)
		r.settle()
		want := map[string]string{}
		for _, u := range slices.Concat(r.relying, r.holder) {
			if u.left > 0 {
				want[fmt.Sprintf("%x", u.id)] = fmt.Sprintf("%s %d", u.verdict, u.left)
			}
		}
		got, _ := verdicts(t, options, uses, marks)
		for id, verdict := range got {
			var name string
			var count int64
			fmt.Sscan(verdict, &name, &count)
			if name == string(tallystick.VerdictAttempt) {
				delete(got, id)
				continue
			}
			got[id] = fmt.Sprintf("%s %d", name, count)
		}
		if d := cmp.Diff(want, got); d != "" {
			for _, u := range uses {
				rt.Logf("%x %+v", identity(u), *u)
			}
			rt.Fatalf("the reference wants, and the tally has:\n%s", d)
		}
	})
}

// TestOrderAndRepetitionChangeNothing shuffles, repeats and splits.
func TestOrderAndRepetitionChangeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		uses, marks := history(rt, true)
		options := Options{Tolerance: time.Minute, CloseAtEnd: rapid.Bool().Draw(rt, "close at end")}
		want, first := verdicts(t, options, uses, marks)
		again := slices.Clone(uses)
		for _, u := range uses {
			if rapid.IntRange(0, 2).Draw(rt, "again") == 0 {
				again = append(again, u)
			}
		}
		r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "seed")))
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		r.Shuffle(len(marks), func(i, j int) { marks[i], marks[j] = marks[j], marks[i] })
		got, second := verdicts(t, options, again, marks)
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatalf("in another order:\n%s", d)
		}
		second.Duplicates -= int64(len(again) - len(uses))
		if d := cmp.Diff(first, second); d != "" {
			rt.Fatalf("in another order the summary is:\n%s", d)
		}
		checkSums(rt, first)
	})
}

// checkSums holds the summary to what it means.
func checkSums(t *rapid.T, s Summary) {
	if s.Matched+s.Foreign+s.Pending != s.Relying {
		t.Fatalf("%+v: matched, foreign and pending are not all relying uses", s)
	}
	if s.Unconfirmed > s.Holder {
		t.Fatalf("%+v: more unconfirmed than there are", s)
	}
}

// TestNeverMoreForeignThanLeftOver: without token ids, in one group and within
// the tolerance, what is foreign is how many more the relying side has.
func TestNeverMoreForeignThanLeftOver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		relying, holder := rapid.IntRange(0, 20).Draw(rt, "relying"), rapid.IntRange(0, 20).Draw(rt, "holder")
		var uses []*tallystick.Use
		for i := range relying + holder {
			at := start.Add(time.Duration(rapid.IntRange(0, 60).Draw(rt, "second")) * time.Second)
			u := &tallystick.Use{Side: tallystick.SideHolder, Source: "a", Seq: uint64(i + 1), Time: at, Until: at, Count: 1, Credential: []string{"x5t:aa"}, RelyingParty: "ldap:a:389"}
			if i < relying {
				u.Side = tallystick.SideRelying
			}
			uses = append(uses, u)
		}
		_, sum := verdicts(t, Options{Tolerance: time.Minute, CloseAtEnd: true}, uses, nil)
		if want := int64(max(0, relying-holder)); sum.Foreign != want {
			rt.Fatalf("%d uses and %d records: %d are foreign, want %d", relying, holder, sum.Foreign, want)
		}
	})
}

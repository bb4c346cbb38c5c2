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

// records are what two sides wrote down.
type records struct {
	uses  []*tallystick.Use
	more  [][]*tallystick.Use // of further files
	marks []tallystick.ClosingMark
	lost  []*tallystick.Use
}

// history draws records of both sides from so few values that everything that
// can coincide does.
func history(t *rapid.T, wild bool) *records {
	var h records
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
		h.uses = append(h.uses, u)
	}
	for _, source := range []string{"a", "b"} {
		for range rapid.IntRange(0, 2).Draw(t, "marks") {
			h.marks = append(h.marks, tallystick.ClosingMark{Source: source, Side: tallystick.SideHolder,
				Closed: start.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "closed")) * time.Minute)})
		}
	}
	for i := range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "losses") {
		at := start.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "lost")) * 30 * time.Second)
		h.lost = append(h.lost, &tallystick.Use{Source: pick("lossy", "a", "b", "c"), Side: tallystick.SideHolder, Seq: uint64(100 + i), Count: 3,
			Time: at, Until: at.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "lost for")) * 30 * time.Second)})
	}
	return &h
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

// idOf is what an item is called: those of equal records without an id are one.
func idOf(u *tallystick.Use) string { return Key(u) }

// verdicts settles records and returns what each comes to, with its index.
func verdicts(t testing.TB, options Options, h *records) (map[string]string, Summary) {
	tally := New(options)
	w := tally.Writer()
	var all []*tallystick.Use
	for file, uses := range slices.Concat([][]*tallystick.Use{h.uses}, h.more) {
		for _, u := range uses {
			w.At(uint64(file)<<FileShift | uint64(len(all)))
			w.Use(u)
			all = append(all, u)
		}
		w.Flush()
	}
	for _, m := range h.marks {
		w.Close(m)
	}
	for _, l := range h.lost {
		w.Lost(l)
	}
	w.Flush()
	result, err := tally.Settle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, item := range result.Items {
		list[idOf(all[item.Where&(1<<FileShift-1)])] += fmt.Sprintf("%s %d %s", item.Verdict, item.Count, item.Reason)
	}
	return list, result.Summary
}

// TestAgreesWithTheReference compares verdict by verdict and use by use.
func TestAgreesWithTheReference(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := history(rt, false)
		options := Options{Tolerance: time.Duration(rapid.IntRange(0, 4).Draw(rt, "tolerance")) * 30 * time.Second, CloseAtEnd: rapid.Bool().Draw(rt, "close at end")}
		r := newReference(options, h)
		r.settle()
		want := map[string]string{}
		for _, u := range slices.Concat(r.relying, r.holder) {
			if u.left > 0 {
				want[idOf(u.Use)] = fmt.Sprintf("%s %d", u.verdict, u.left)
			}
		}
		got, _ := verdicts(t, options, h)
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
			for _, u := range slices.Concat(h.uses, h.lost) {
				rt.Logf("%s %+v", idOf(u), *u)
			}
			rt.Fatalf("the reference wants, and the tally has:\n%s", d)
		}
	})
}

// TestOrderAndRepetitionChangeNothing shuffles files and what is in them, and
// adds a file that has some of what another has.
func TestOrderAndRepetitionChangeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := history(rt, true)
		options := Options{Tolerance: time.Minute, CloseAtEnd: rapid.Bool().Draw(rt, "close at end")}
		files := make([][]*tallystick.Use, 3)
		for _, u := range h.uses {
			for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(rt, "times") {
				i := rapid.IntRange(0, len(files)-1).Draw(rt, "file")
				files[i] = append(files[i], u)
			}
		}
		want, first := verdicts(t, options, &records{more: files, marks: h.marks, lost: h.lost})
		r := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "seed")))
		again := slices.Clone(files[r.IntN(len(files))])
		for _, file := range append(files, again) {
			r.Shuffle(len(file), func(i, j int) { file[i], file[j] = file[j], file[i] })
		}
		files = append(files, again[:r.IntN(len(again)+1)])
		first.Duplicates += int64(len(files[3]))
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		r.Shuffle(len(h.marks), func(i, j int) { h.marks[i], h.marks[j] = h.marks[j], h.marks[i] })
		got, second := verdicts(t, options, &records{more: files, marks: h.marks, lost: slices.Concat(h.lost, h.lost)})
		if d := cmp.Diff(want, got); d != "" {
			rt.Fatalf("in another order:\n%s", d)
		}
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
		_, sum := verdicts(t, Options{Tolerance: time.Minute, CloseAtEnd: true}, &records{uses: uses})
		if want := int64(max(0, relying-holder)); sum.Foreign != want {
			rt.Fatalf("%d uses and %d records: %d are foreign, want %d", relying, holder, sum.Foreign, want)
		}
	})
}

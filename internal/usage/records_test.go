// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/usage"
)

// all reads every page of a list of records.
func (f *fixture) all(filter usage.Filter, limit int) []usage.Record {
	f.Helper()
	var list []usage.Record
	for page := (store.PageRequest{Limit: limit}); ; {
		got, _, err := f.Records(f.Context(), viewer, filter, page)
		must(f.T, err)
		if len(got.Items) > limit {
			f.Fatalf("a page of %d has %d", limit, len(got.Items))
		}
		list = append(list, got.Items...)
		if page.After = got.Next; got.Next == "" {
			return list
		}
	}
}

// ids are the own ids of records.
func ids(list []usage.Record) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.Use.ID)
	}
	return out
}

func TestRecordsThatDoNotMatch(t *testing.T) {
	onBoth(t, func(f *fixture) {
		for _, c := range []struct {
			name   string
			filter usage.Filter
			want   []string
		}{
			{"all", usage.Filter{}, []string{"entraa", "syncu", "entraf2", "entraf1", "entraf0"}},
			{"foreign", usage.Filter{Verdict: tallystick.VerdictForeign}, []string{"entraf2", "entraf1", "entraf0"}},
			{"party", usage.Filter{Verdict: tallystick.VerdictForeign, Party: graph}, []string{"entraf0"}},
			{"address", usage.Filter{Address: thief}, []string{"entraf2", "entraf1", "entraf0"}},
			{"holder", usage.Filter{Side: tallystick.SideHolder}, []string{"syncu"}},
			{"source", usage.Filter{Source: "sync"}, []string{"syncu"}},
			{"time", usage.Filter{From: noon.Add(-15 * time.Minute), To: noon}, []string{"entraa"}},
			{"credential", usage.Filter{Credential: f.fingerprint[:8], Verdict: tallystick.VerdictAttempt}, []string{"entraa"}},
			{"name", usage.Filter{Credential: strings.ToUpper(otherName), Verdict: tallystick.VerdictUnconfirmed}, []string{"syncu"}},
		} {
			if d := cmp.Diff(c.want, ids(f.all(c.filter, 2))); d != "" {
				f.Errorf("%s: %s", c.name, d)
			}
		}
		page, n, err := f.Records(f.Context(), viewer, usage.Filter{Verdict: tallystick.VerdictForeign}, store.PageRequest{Limit: 1})
		must(f.T, err)
		r := page.Items[0]
		if n != 3 || r.Reason != "because foreign2" || r.Incident == 0 || string(r.Credential.Fingerprint) != f.fingerprint || len(r.Credential.Names) != 2 {
			f.Errorf("%d: %+v", n, r)
		}
		if d := cmp.Diff(*f.uses["foreign2"], r.Use); d != "" {
			f.Error(d)
		}
		incident := f.all(usage.Filter{Incident: r.Incident}, 10)
		if len(incident) != 3 {
			f.Errorf("the incident has %d records", len(incident))
		}
	})
}

// Every record of a credential is on one page, and the newest is on the first.
func TestRecordsOfACredential(t *testing.T) {
	onBoth(t, func(f *fixture) {
		for _, limit := range []int{1, 7, 1000} {
			list := f.all(usage.Filter{Credential: f.fingerprint}, limit)
			seen := map[string]bool{}
			counts := map[tallystick.Verdict]int{}
			for i, r := range list {
				if seen[r.Key] || i > 0 && r.Use.Time.After(list[i-1].Use.Time) || !strings.HasPrefix(r.Key, tally.Key(&r.Use)) {
					f.Fatalf("page of %d: record %d is %+v", limit, i, r)
				}
				seen[r.Key] = true
				counts[r.Verdict]++
			}
			// The holder's book is closed three minutes before noon; what is later
			// than the tolerance before that may still wait.
			want := map[tallystick.Verdict]int{
				tallystick.VerdictMatched: 4*perHour - 9, tallystick.VerdictPending: 9, tallystick.VerdictForeign: 3,
				tallystick.VerdictUnconfirmed: 1, tallystick.VerdictAttempt: 1,
			}
			if d := cmp.Diff(want, counts); d != "" {
				f.Errorf("pages of %d: %s", limit, d)
			}
		}
		matched := f.all(usage.Filter{Credential: f.fingerprint, Verdict: tallystick.VerdictMatched, Side: tallystick.SideHolder, To: noon.Add(-time.Hour)}, 13)
		if len(matched) != perHour {
			f.Errorf("%d are matched in the first hour", len(matched))
		}
		f.Live = live{f.used: {noon.Add(-time.Hour)}}
		if open := f.all(usage.Filter{Credential: f.fingerprint, Verdict: tallystick.VerdictPending}, 13); len(open) != 1 || open[0].Use.ID != "sync60" {
			f.Errorf("pending: %v", ids(open))
		}
	})
}

// A page of uses of one instant goes on where the one before ended.
func TestRecordsOfOneInstantArePaged(t *testing.T) {
	onBoth(t, func(f *fixture) {
		var batch ledger.Batch
		at := noon.Add(-5 * 24 * time.Hour)
		for i := range 25 {
			u := use("burst", tallystick.SideHolder, at, fmt.Sprint(i), graph)
			u.Address = []string{"192.0.2.1", "192.0.2.2"}[i%2]
			batch.Uses = append(batch.Uses, u)
		}
		_, err := f.Ledger.Append(f.Context(), batch)
		must(f.T, err)
		for _, address := range []string{"", "192.0.2.2"} {
			list := ids(f.all(usage.Filter{Credential: f.fingerprint, Source: "burst", Address: address}, 4))
			slices.Sort(list)
			if want := map[string]int{"": 25, "192.0.2.2": 12}[address]; len(slices.Compact(list)) != want {
				f.Errorf("address %q: %d records", address, len(list))
			}
		}
	})
}

func TestWhatCannotBeListed(t *testing.T) {
	onBoth(t, func(f *fixture) {
		for _, c := range []struct {
			filter usage.Filter
			after  string
			want   error
		}{
			{usage.Filter{Verdict: tallystick.VerdictMatched}, "", tallystick.ErrInvalid},
			{usage.Filter{Credential: f.fingerprint}, "???", tallystick.ErrInvalid},
			{usage.Filter{}, "???", tallystick.ErrInvalid},
			{usage.Filter{Credential: "ffffffffff"}, "", tallystick.ErrNotFound},
			{usage.Filter{Credential: "account:nobody"}, "", tallystick.ErrNotFound},
			{usage.Filter{Credential: "ff"}, "", tallystick.ErrInvalid},
		} {
			if _, _, err := f.Records(f.Context(), viewer, c.filter, store.PageRequest{After: c.after}); !errors.Is(err, c.want) {
				f.Errorf("%+v: %v", c.filter, err)
			}
		}
		if _, _, err := f.Records(f.Context(), nobody, usage.Filter{}, store.PageRequest{}); !errors.Is(err, tallystick.ErrUnsigned) {
			f.Errorf("a stranger gets %v", err)
		}
	})
}

// Who looks at one credential is on record, who looks at a list is not.
func TestLooksAreRecorded(t *testing.T) {
	onBoth(t, func(f *fixture) {
		f.all(usage.Filter{}, 10)
		if len(f.trail.records) != 0 {
			f.Errorf("%+v", f.trail.records)
		}
		f.all(usage.Filter{Credential: credentialName, Verdict: tallystick.VerdictForeign}, 10)
		if len(f.trail.records) != 1 || f.trail.records[0].Action != "read-credential" || f.trail.records[0].Object != f.fingerprint {
			f.Errorf("%+v", f.trail.records)
		}
	})
}

func TestNewVerdictsAreFollowed(t *testing.T) {
	onBoth(t, func(f *fixture) {
		list, next, err := f.New(f.Context(), viewer, -1, 10)
		if err != nil || len(list) != 0 || next == 0 {
			f.Fatalf("%v, %d, %v", list, next, err)
		}
		old, _, err := f.New(f.Context(), viewer, 0, 10)
		if err != nil || len(old) != 5 || old[0].Use.ID != "entraf0" {
			f.Errorf("%v, %v", ids(old), err)
		}
		if list, again, err := f.New(f.Context(), viewer, next, 10); err != nil || len(list) != 0 || again != next {
			f.Errorf("%v, %d, %v", list, again, err)
		}
	})
}

func TestNamesOfUsesAreToldFromFingerprints(t *testing.T) {
	for name, want := range map[string]bool{
		"9a0c11": false, "9A:0C:11": false, "aa:bb cc": false, "x5t:aa": true, "entra-key:11111111": true, "account:cn=a": true, "zz": false,
	} {
		if usage.IsNameOfUse(name) != want {
			t.Errorf("%q is a name of a use: %v", name, !want)
		}
	}
}

// An attic keeps lines of sources.
type attic map[int64][]string

func (a attic) Find(_ context.Context, source int64, _ time.Time, match func([]byte) bool) ([][]byte, error) {
	var found [][]byte
	for _, line := range a[source] {
		if match([]byte(line)) {
			found = append(found, []byte(line))
		}
	}
	return found, nil
}

func TestARecordIsShownWithItsOtherHalf(t *testing.T) {
	onBoth(t, func(f *fixture) {
		matched := f.all(usage.Filter{Credential: f.fingerprint, Side: tallystick.SideRelying, To: noon.Add(-119 * time.Minute)}, 10)
		d, err := f.Record(f.Context(), viewer, matched[0].Key)
		must(f.T, err)
		if d.Use.ID != "entra0" || d.Other == nil || d.Other.Use.ID != "sync0" || len(d.Near) != 10 || d.Raw != "" || d.Verdict != tallystick.VerdictMatched {
			f.Errorf("%+v", d)
		}
		foreign, err := f.Record(f.Context(), viewer, tally.Key(f.uses["foreign0"]))
		must(f.T, err)
		if foreign.Verdict != tallystick.VerdictForeign || foreign.Other != nil || len(foreign.Near) == 0 || foreign.Near[0].Use.ID != "sync90" {
			f.Errorf("%+v", foreign)
		}
		for key, want := range map[string]error{
			"x": tallystick.ErrInvalid, tally.Key(f.uses["holder"]): tallystick.ErrNotFound, matched[0].Key + "0": tallystick.ErrNotFound,
			strings.Repeat("0", 32) + "-1": tallystick.ErrInvalid, strings.Repeat("0", 32) + "-99-1": tallystick.ErrNotFound,
		} {
			if _, err := f.Record(f.Context(), viewer, key); !errors.Is(err, want) {
				f.Errorf("%q: %v", key, err)
			}
		}
	})
}

// Only operators read what sources wrote, and that they did is on record.
func TestRawRecordsAreForOperators(t *testing.T) {
	onBoth(t, func(f *fixture) {
		source, err := f.DB.AddSource(f.Context(), store.Source{Name: "entra", Kind: store.SourceFile, Side: tallystick.SideRelying, Created: noon, CreatedBy: "ada"})
		must(f.T, err)
		f.Raw = attic{source.ID: {`{"id":"entraf0","secret":1}`, `{"id":"entraf1"}`}}
		key := tally.Key(f.uses["foreign0"])
		if d, err := f.Record(f.Context(), viewer, key); err != nil || d.Raw != "" {
			f.Errorf("%+v, %v", d, err)
		}
		if slices.ContainsFunc(f.actions(), func(a string) bool { return a == string(gate.ReadRaw) }) {
			f.Error("a viewer has tried to read what was not shown to them")
		}
		d, err := f.Record(f.Context(), operator, key)
		if err != nil || d.Raw != `{"id":"entraf0","secret":1}` {
			f.Errorf("%+v, %v", d, err)
		}
		if !slices.Contains(f.actions(), string(gate.ReadRaw)) {
			f.Error("it is not on record")
		}
	})
}

func (f *fixture) actions() []string {
	var list []string
	for _, r := range f.trail.records {
		list = append(list, r.Action)
	}
	return list
}

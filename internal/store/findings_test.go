// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// A verdict is where a credential is, and what the rules say of it.
type verdict struct {
	places []tallystick.Place
	sample bool
	found  []tallystick.Finding
}

// judged records credentials by their numbers, and what the rules say of them.
func judged(t *testing.T, db *store.DB, verdicts map[int]verdict) {
	t.Helper()
	var sightings []tallystick.Sighting
	by := map[tallystick.Fingerprint]verdict{}
	for n, v := range verdicts {
		by[madeUp(n).ID] = v
		for _, place := range v.places {
			sightings = append(sightings, sighting(n, place, noon))
		}
	}
	look(t, db, noon, sightings)
	due, err := db.Due(t.Context(), noon, 100)
	if err != nil || len(due) != len(verdicts) {
		t.Fatalf("%d are due, %v", len(due), err)
	}
	var judgements []store.Judgement
	for _, d := range due {
		v := by[d.Credential.ID]
		judgements = append(judgements, store.Judgement{RowID: d.RowID, Version: d.Version, Whole: true, Sample: v.sample, Findings: v.found})
	}
	if err := db.Judge(t.Context(), []string{"expired", "weak-key"}, judgements, noon); err != nil {
		t.Fatal(err)
	}
}

// at is where a credential is.
func at(places ...tallystick.Place) []tallystick.Place { return places }

// A finding about a credential, wherever it is, is at all of its places.
func TestFindingsOfAPlace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		over := []tallystick.Finding{expired}
		judged(t, db, map[int]verdict{
			1: {places: at("file:///etc/ssl/a.pem"), found: over}, 2: {places: at("file:///etc/ssl/b.pem", "file:///srv/b.pem"), found: over},
			3: {places: at("file:///etc/ssl2/c.pem"), found: over}, 4: {places: at("tls://127.0.0.1:443"), found: over},
			5: {places: at("truststore:///etc/ssl/certs"), found: over},
		})
		for _, row := range []struct {
			place  tallystick.Place
			within bool
			want   int
		}{
			{"", false, 5}, {"/etc/ssl", false, 3}, {"/etc/ssl", true, 2}, {"/etc/ssl/", true, 2}, {"file:///etc/ssl", false, 2}, {"/etc/ssl/a.pem", true, 1},
			{"file:///", false, 3}, {"file:///", true, 3}, {"/", true, 4}, {"tls://127.0.0.1", true, 1}, {"tls://127.0.0", false, 0}, {"/nowhere", false, 0},
		} {
			f := store.FindingFilter{Place: row.place, Within: row.within, Now: noon}
			n, err := db.CountFindings(t.Context(), f)
			if err != nil || int(n) != row.want || len(open(t, db, f)) != row.want {
				t.Errorf("%d findings at %q (within: %v), %v; want %d", n, row.place, row.within, err, row.want)
			}
		}
		for _, f := range open(t, db, store.FindingFilter{Place: "/srv", Now: noon}) {
			if f.At() != "file:///srv/b.pem" || f.Place != "" || f.Places != 2 {
				t.Errorf("the finding is at %q and %d places", f.At(), f.Places)
			}
		}
		if len(open(t, db, store.FindingFilter{Place: "a\x00\xff", Now: noon})) != 0 {
			t.Error("odd bytes are a place")
		}
	})
}

func TestFindingsOfAPlaceOfTheirOwn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		judged(t, db, map[int]verdict{1: {places: at("file:///a.pem", "file:///srv/b.pem"), found: []tallystick.Finding{weak}}})
		for place, want := range map[tallystick.Place]int{"/a.pem": 1, "/srv": 0} {
			if n := len(open(t, db, store.FindingFilter{Place: place, Within: true, Now: noon})); n != want {
				t.Errorf("%d findings at %s, want %d", n, place, want)
			}
		}
	})
}

// The worst come first, and a group says how many of it are that bad.
func TestGroupsCountBySeverity(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		info := expired
		info.Severity = tallystick.SeverityInfo
		judged(t, db, map[int]verdict{
			1: {places: at("file:///a.pem"), found: []tallystick.Finding{info}}, 2: {places: at("file:///b.pem"), found: []tallystick.Finding{info}},
			3: {places: at("file:///c.pem"), found: []tallystick.Finding{expired, weak}},
		})
		groups, err := db.FindingGroups(t.Context(), noon)
		if err != nil {
			t.Fatal(err)
		}
		want := []store.FindingGroup{
			{Rule: "expired", Severity: tallystick.SeverityHigh, Count: 3, Since: noon, Severities: map[tallystick.Severity]int64{tallystick.SeverityHigh: 1, tallystick.SeverityInfo: 2}},
			{Rule: "weak-key", Severity: tallystick.SeverityMedium, Count: 1, Since: noon, Severities: map[tallystick.Severity]int64{tallystick.SeverityMedium: 1}},
		}
		if diff := cmp.Diff(want, groups); diff != "" || groups[0].Worst() != 1 {
			t.Errorf("groups (-want +got):\n%s", diff)
		}
	})
}

// Beneath a place with very many others the list is walked, and says the same.
func TestFindingsOfABroadPlace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		verdicts := map[int]verdict{0: {places: at("tls://127.0.0.1:443"), found: []tallystick.Finding{expired}}}
		for n := 1; n < 40; n++ {
			var places []tallystick.Place
			for i := range 60 {
				places = append(places, tallystick.FilePlace(fmt.Sprintf("/srv/%d/%d.pem", n, i)))
			}
			verdicts[n] = verdict{places: places, found: []tallystick.Finding{expired}}
		}
		judged(t, db, verdicts)
		f := store.FindingFilter{Place: "/srv", Within: true, Now: noon}
		if n, err := db.CountFindings(t.Context(), f); n != 39 || err != nil || len(open(t, db, f)) != 39 {
			t.Errorf("%d findings, %v; want 39", n, err)
		}
	})
}

// What packages bring along is counted apart.
func TestSamplesAreCountedApart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		judged(t, db, map[int]verdict{
			1: {places: at("file:///usr/share/a.pem"), sample: true}, 2: {places: at("file:///usr/share/b.pem"), sample: true}, 3: {places: at("file:///etc/c.pem")},
		})
		s, err := db.Summary(t.Context(), noon.AddDate(10, 0, 0), 10)
		if err != nil || s.Expired != 1 || s.Samples != 2 || s.Credentials != 3 {
			t.Errorf("summary is %+v, %v", s, err)
		}
		for sample, want := range map[string]int{"": 3, "true": 2, "false": 1} {
			if rows := walk(t, db, store.CredentialFilter{Sample: sample}, store.PageRequest{}); len(rows) != want {
				t.Errorf("%d credentials with sample=%q, want %d", len(rows), sample, want)
			}
		}
	})
}

func TestResolve(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		look(t, db, noon, []tallystick.Sighting{sighting(1, "file:///a.pem", noon), sighting(2, "file:///b.pem", noon)})
		id := madeUp(2).ID
		for _, name := range []string{string(id), string(id[:6]), string(id[:2] + ":" + id[2:4] + ":" + id[4:6]), string(id[:12])} {
			if got, err := db.Resolve(t.Context(), name); got != id || err != nil {
				t.Errorf("%s is %s, %v", name, got, err)
			}
		}
	})
}

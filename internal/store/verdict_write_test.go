// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// allIncidents returns incidents by their first use, those too that are none any more.
func allIncidents(t *testing.T, db *store.DB) []store.IncidentRow {
	t.Helper()
	list, err := db.Incidents(t.Context(), store.IncidentFilter{All: true}, store.PageRequest{})
	must(t, err)
	for i := range list.Items {
		list.Items[i].ID = 0
	}
	return list.Items
}

func TestVerdictsOfADayAreOneIncident(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		id, ctx, day := usedOnes(t, db, 2), t.Context(), 24*time.Hour
		must(t, db.SaveVerdicts(ctx, []store.Verdict{
			foreignUse("a", id, "p", noon, 2), foreignUse("b", id, "q", noon.Add(day), 1), // a day apart, and still one
			foreignUse("c", id, "p", noon.Add(2*day+time.Microsecond), 1), // and this is not
			foreignUse("d", id+1, "p", noon, 1),                           // nor is another credential's
		}, nil))
		said := noon.Add(time.Hour)
		want := []store.IncidentRow{
			{Used: id, Opened: said, First: noon, Last: noon.Add(day), Uses: 3, Parties: 2, Addresses: 1},
			{Used: id + 1, Opened: said, First: noon, Last: noon, Uses: 1, Parties: 1, Addresses: 1},
			{Used: id, Opened: said.Add(2*day + time.Microsecond), First: noon.Add(2*day + time.Microsecond), Last: noon.Add(2*day + time.Microsecond), Uses: 1, Parties: 1, Addresses: 1},
		}
		got := allIncidents(t, db)
		slices.SortStableFunc(got, func(a, b store.IncidentRow) int { return a.First.Compare(b.First) })
		if len(got) == 3 && got[0].Used != id {
			got[0], got[1] = got[1], got[0]
		}
		if d := cmp.Diff(want, got, cmp.Comparer(time.Time.Equal)); d != "" {
			t.Error(d)
		}
	})
}

// The holder's records may come late: what they take back leaves the incident.
func TestVerdictsAreTakenBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		id, ctx := usedOnes(t, db, 1), t.Context()
		a, b := foreignUse("a", id, "p", noon, 2), foreignUse("b", id, "q", noon.Add(time.Hour), 5)
		must(t, db.SaveVerdicts(ctx, []store.Verdict{a, b}, nil))
		must(t, db.SaveVerdicts(ctx, []store.Verdict{a}, nil)) // saying it again adds nothing
		if got := allIncidents(t, db); len(got) != 1 || got[0].Uses != 7 || got[0].Parties != 2 {
			t.Fatalf("%+v", got)
		}
		must(t, db.SaveVerdicts(ctx, nil, []string{"a", "unheard of"}))
		if got := allIncidents(t, db); len(got) != 1 || got[0].Uses != 5 || got[0].Parties != 1 || !got[0].First.Equal(b.Time) {
			t.Errorf("after a was matched: %+v", got)
		}
		b.Verdict, b.Said = tallystick.VerdictAttempt, b.Said.Add(time.Hour)
		must(t, db.SaveVerdicts(ctx, []store.Verdict{b}, nil))
		if got := allIncidents(t, db); len(got) != 1 || got[0].Uses != 0 {
			t.Errorf("after b was called an attempt: %+v", got)
		}
		foreign, err := db.AllVerdicts(ctx, tallystick.VerdictForeign)
		must(t, err)
		attempts, err := db.AllVerdicts(ctx, tallystick.VerdictAttempt)
		if err != nil || len(foreign) != 0 || len(attempts) != 1 || attempts[0].Record != "b" || attempts[0].Incident != 0 {
			t.Errorf("foreign %+v, attempts %+v, %v", foreign, attempts, err)
		}
	})
}

func TestVerdictsWithin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		id, ctx := usedOnes(t, db, 2), t.Context()
		must(t, db.SaveVerdicts(ctx, []store.Verdict{
			foreignUse("before", id, "p", noon.Add(-time.Microsecond), 1), foreignUse("first", id, "p", noon, 1), foreignUse("last", id, "p", noon.Add(time.Hour), 1),
			foreignUse("after", id, "p", noon.Add(time.Hour+time.Microsecond), 1), foreignUse("other", id+1, "p", noon, 1),
		}, nil))
		said, err := db.VerdictsWithin(ctx, id, noon, noon.Add(time.Hour))
		must(t, err)
		_, first := said["first"]
		_, last := said["last"]
		if len(said) != 2 || !first || !last {
			t.Errorf("%v", said)
		}
	})
}

func TestClearedOfForeign(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		named, err := db.NameCredentials(ctx, []store.Name{{Name: "x5t:a", Seen: noon}, {Name: "x5t:b", Seen: noon}})
		must(t, err)
		id := usedOnes(t, db, 2)
		must(t, db.SaveUsed(ctx, []store.Used{{ID: id, Credential: named[0]}, {ID: id + 1, Credential: named[1]}}, nil))
		must(t, db.SaveVerdicts(ctx, []store.Verdict{foreignUse("a", id, "p", noon, 1), foreignUse("b", id+1, "p", noon, 1)}, nil))
		must(t, db.RaiseFindings(ctx, []tallystick.Finding{foreignFinding(named[0]), foreignFinding(named[1])}, noon))
		if list, err := db.ClearedOfForeign(ctx, []string{"foreign-use"}); err != nil || len(list) != 0 {
			t.Errorf("while both stand: %v, %v", list, err)
		}
		must(t, db.SaveVerdicts(ctx, nil, []string{"b"}))
		list, err := db.ClearedOfForeign(ctx, []string{"foreign-use"})
		if err != nil || !slices.Equal(list, named[1:]) {
			t.Errorf("%v, %v; want %v", list, err, named[1:])
		}
		if list, err := db.ClearedOfForeign(ctx, []string{"another-rule"}); err != nil || len(list) != 0 {
			t.Errorf("of another rule: %v, %v", list, err)
		}
	})
}

func foreignFinding(credential tallystick.Fingerprint) tallystick.Finding {
	return tallystick.Finding{Rule: "foreign-use", Severity: tallystick.SeverityCritical, Credential: credential, Evidence: "it was used at p"}
}

// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// connected makes 200 relying parties of a credential, each used an hour after the
// one before, and foreign uses at a few of them and at one of another credential.
func connected(t *testing.T, db *store.DB) (used int64, at time.Time) {
	t.Helper()
	used, at = usedOnes(t, db, 2), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	connections := []store.UseConnection{{Used: used + 1, Party: "p031", First: at, Last: at, Relying: 7}}
	for i := range 200 {
		last := at.Add(time.Duration(i) * time.Hour)
		connections = append(connections, store.UseConnection{Used: used, Party: fmt.Sprintf("p%03d", i), First: at, Last: last, Holder: 5, Relying: 9})
	}
	must(t, db.SaveWatched(t.Context(), store.Watched{Connections: connections}))
	var said []store.Verdict
	for i, foreign := range []struct {
		used  int64
		party string
		uses  int64
	}{{used, "p031", 2}, {used, "p031", 1}, {used, "p150", 3}, {used, "p199", 1}, {used + 1, "p031", 7}} {
		said = append(said, foreignUse(fmt.Sprint("f", i), foreign.used, foreign.party, at, foreign.uses))
	}
	said = append(said, store.Verdict{
		Record: "loose", Used: used, Verdict: tallystick.VerdictUnconfirmed, Uses: 9, Time: at, Side: tallystick.SideHolder, Party: "p000", Said: at, Use: "{}",
	})
	must(t, db.SaveVerdicts(t.Context(), said, nil))
	return used, at
}

func TestTheLoudestConnectionsComeFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		used, _ := connected(t, db)
		type row struct {
			Party   string
			Foreign int64
		}
		var got []row
		for page := (store.PageRequest{Sort: "foreign", Limit: 30}); ; {
			list, err := db.Connections(t.Context(), store.ConnectionFilter{Used: []int64{used}}, page)
			must(t, err)
			for _, c := range list.Items {
				got = append(got, row{c.Party, c.Foreign})
			}
			if page.After = list.Next; page.After == "" {
				break
			}
		}
		want := []row{{"p150", 3}, {"p031", 3}, {"p199", 1}}
		for i := 198; i >= 0; i-- {
			if i != 150 && i != 31 {
				want = append(want, row{fmt.Sprintf("p%03d", i), 0})
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		all, err := db.Connections(t.Context(), store.ConnectionFilter{}, store.PageRequest{Sort: "foreign", Limit: 1})
		if err != nil || len(all.Items) != 1 || all.Items[0].Used != used+1 || all.Items[0].Foreign != 7 || all.Next == "" {
			t.Errorf("of all credentials: %+v, %v", all, err)
		}
		for _, page := range []store.PageRequest{{Sort: "foreign", After: "e30"}, {Sort: "foreign", After: "%"}, {Sort: "loudness"}} {
			if _, err := db.Connections(t.Context(), store.ConnectionFilter{}, page); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%+v: %v", page, err)
			}
		}
	})
}

func TestIncidentsOfATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		used, day := usedOnes(t, db, 1), 24*time.Hour
		at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		var said []store.Verdict
		for i := range 15 { // an incident every fourth day, of two hours
			first := at.Add(time.Duration(i) * 4 * day)
			said = append(said, foreignUse(fmt.Sprint("a", i), used, "p", first, 1), foreignUse(fmt.Sprint("b", i), used, "p", first.Add(2*time.Hour), 1))
		}
		must(t, db.SaveVerdicts(t.Context(), said, nil))
		for _, span := range []struct {
			name     string
			from, to time.Time
			want     int64
		}{
			{"all", time.Time{}, time.Time{}, 15},
			{"the oldest", at.Add(-day), at.Add(day), 1},
			{"within one", at.Add(time.Hour), at.Add(time.Hour + time.Minute), 1},
			{"up to the first use", at.Add(-day), at, 0},
			{"from the last use on", at.Add(2 * time.Hour), at.Add(day), 1},
			{"behind the last use", at.Add(2*time.Hour + time.Microsecond), at.Add(day), 0},
			{"open to the past", time.Time{}, at.Add(5 * day), 2},
			{"open to the future", at.Add(50 * day), time.Time{}, 2},
		} {
			filter := store.IncidentFilter{From: span.from, To: span.to}
			list, err := db.Incidents(t.Context(), filter, store.PageRequest{Desc: true})
			must(t, err)
			n, err := db.CountIncidents(t.Context(), filter)
			if err != nil || n != span.want || int64(len(list.Items)) != span.want {
				t.Errorf("%s: %d listed, %d counted, want %d; %v", span.name, len(list.Items), n, span.want, err)
			}
		}
	})
}

// usedOnes returns the first id of some credentials that are used, x5t:a, x5t:b...
func usedOnes(t *testing.T, db *store.DB, n int) int64 {
	t.Helper()
	id, err := db.NewUsedIDs(t.Context(), int64(n))
	must(t, err)
	var list []store.Used
	for i := range n {
		list = append(list, store.Used{ID: id + int64(i), Names: []string{"x5t:" + string(rune('a'+i))}})
	}
	must(t, db.SaveUsed(t.Context(), list, nil))
	return id
}

func foreignUse(record string, used int64, party string, at time.Time, uses int64) store.Verdict {
	return store.Verdict{
		Record: record, Used: used, Verdict: tallystick.VerdictForeign, Reason: "stolen", Uses: uses, Time: at, Side: tallystick.SideRelying,
		Source: "entra", Party: party, Address: "198.51.100.7", Said: at.Add(time.Hour), Use: "{}",
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

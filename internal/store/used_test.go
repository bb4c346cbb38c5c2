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

// useHours returns all that EachUseHour has, in UTC.
func useHours(t *testing.T, db *store.DB) (list []store.UseHour) {
	t.Helper()
	must(t, db.EachUseHour(t.Context(), func(h store.UseHour) error {
		h.Hour = h.Hour.UTC()
		list = append(list, h)
		return nil
	}))
	return list
}

// allUsed returns all that EachUsed has.
func allUsed(t *testing.T, db *store.DB) (list []store.Used) {
	t.Helper()
	must(t, db.EachUsed(t.Context(), func(u store.Used) error {
		list = append(list, u)
		return nil
	}))
	return list
}

func TestWatchedIsAddedToWhatWasCounted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		id, ctx := usedOnes(t, db, 1), t.Context()
		hour := func(uses int64) []store.UseHour {
			return []store.UseHour{{Used: id, Hour: noon, Side: tallystick.SideHolder, Uses: uses}}
		}
		seen := func(first, last time.Time, holder, relying int64, told time.Time) []store.UseConnection {
			return []store.UseConnection{{Used: id, Party: "p", First: first, Last: last, Holder: holder, Relying: relying, Told: told}}
		}
		if segment, counted, books, err := db.WatchedUpTo(ctx); segment != 0 || counted != 0 || len(books) != 0 || err != nil {
			t.Errorf("of nothing: %d, %d, %q, %v", segment, counted, books, err)
		}
		must(t, db.SaveCounts(ctx, hour(2), seen(noon, noon, 2, 0, time.Time{}), 5))
		if _, counted, _, err := db.WatchedUpTo(ctx); counted != 5 || err != nil {
			t.Errorf("%d counted, %v; want 5", counted, err)
		}
		must(t, db.SaveWatched(ctx, store.Watched{
			Segment: 3, Books: []byte(`{"b":1}`), States: map[int64][]byte{id: {0, 0xff}}, Hours: hour(3), Connections: seen(noon.Add(-time.Hour), noon.Add(time.Hour), 0, 4, noon),
		}))
		segment, counted, books, err := db.WatchedUpTo(ctx)
		if segment != 3 || counted != 0 || string(books) != `{"b":1}` || err != nil {
			t.Errorf("%d, %d, %q, %v; want all of segment 3 and nothing since", segment, counted, books, err)
		}
		if d := cmp.Diff(hour(5), useHours(t, db)); d != "" {
			t.Error(d)
		}
		list, err := db.Connections(ctx, store.ConnectionFilter{}, store.PageRequest{})
		must(t, err)
		want := []store.ConnectionRow{{Used: id, Party: "p", First: noon.Add(-time.Hour), Last: noon.Add(time.Hour), Holder: 2, Relying: 4}}
		if d := cmp.Diff(want, list.Items, cmp.Comparer(time.Time.Equal)); d != "" {
			t.Error(d)
		}
		must(t, db.EachParty(ctx, func(used int64, party string, told time.Time) error {
			if used != id || party != "p" || !told.Equal(noon) {
				t.Errorf("%d tells of %s since %v", used, party, told)
			}
			return nil
		}))
		if d := cmp.Diff([]store.Used{{ID: id, Names: []string{"x5t:a"}, State: []byte{0, 0xff}}}, allUsed(t, db)); d != "" {
			t.Error(d)
		}
	})
}

// Names that turn out to be of one credential make one of two: nothing is lost,
// and nothing counts twice.
func TestMergedUses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		into, ctx := usedOnes(t, db, 2), t.Context()
		from := into + 1
		must(t, db.SaveCounts(ctx, []store.UseHour{
			{Used: into, Hour: noon, Side: tallystick.SideHolder, Uses: 2}, {Used: from, Hour: noon, Side: tallystick.SideHolder, Uses: 3},
			{Used: from, Hour: noon, Side: tallystick.SideRelying, Uses: 1},
		}, []store.UseConnection{
			{Used: into, Party: "p", First: noon, Last: noon, Holder: 1}, {Used: from, Party: "p", First: noon.Add(-time.Hour), Last: noon, Relying: 1},
			{Used: from, Party: "q", First: noon, Last: noon, Relying: 1},
		}, 5))
		must(t, db.SaveVerdicts(ctx, []store.Verdict{foreignUse("r", from, "p", noon, 1)}, nil))
		must(t, db.SaveUsed(ctx, []store.Used{{ID: into, Names: []string{"x5t:c"}}}, [][2]int64{{from, into}}))
		wantHours := []store.UseHour{
			{Used: into, Hour: noon, Side: tallystick.SideHolder, Uses: 5}, {Used: into, Hour: noon, Side: tallystick.SideRelying, Uses: 1},
		}
		if d := cmp.Diff(wantHours, useHours(t, db)); d != "" {
			t.Error(d)
		}
		list, err := db.Connections(ctx, store.ConnectionFilter{Used: []int64{into}}, store.PageRequest{})
		must(t, err)
		if len(list.Items) != 2 || list.Items[0].Holder != 1 || list.Items[0].Relying != 1 || list.Items[0].Foreign != 1 || !list.Items[0].First.Equal(noon.Add(-time.Hour)) {
			t.Errorf("connections %+v", list.Items)
		}
		used := allUsed(t, db)
		if len(used) != 1 || used[0].ID != into || !slices.Equal(used[0].Names, []string{"x5t:a", "x5t:b", "x5t:c"}) {
			t.Errorf("used %+v", used)
		}
		incidents, err := db.CountIncidents(ctx, store.IncidentFilter{Used: []int64{into}})
		if err != nil || incidents != 1 {
			t.Errorf("%d incidents, %v", incidents, err)
		}
	})
}

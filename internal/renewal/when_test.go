// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Ten thousand certificates that were made in one minute do not come again in one.
func TestRenewalsSpread(t *testing.T) {
	hours := map[int64]int{}
	for n := range 10_000 {
		r := store.Renewal{Name: fmt.Sprint("host-", n), NotBefore: noon, NotAfter: noon.Add(90 * day), Share: renewal.DefaultShare}
		due := renewal.Planned(r)
		if share := float64(due.Sub(noon)) / float64(90*day); share > 0.668 || share < 0.616 {
			t.Fatalf("%s is renewed after %.3f of its lifetime", r.Name, share)
		}
		if again := renewal.Planned(r); !again.Equal(due) {
			t.Fatal("it changes its mind")
		}
		hours[int64(due.Sub(noon)/time.Hour)]++
	}
	most := 0
	for _, n := range hours {
		most = max(most, n)
	}
	if most > 10_000*2/108 { // spread over 4.5 days
		t.Errorf("%d of 10,000 come in one hour", most)
	}
}

func TestWindows(t *testing.T) {
	r := store.Renewal{Name: "shop", NotBefore: noon, NotAfter: noon.Add(90 * day), Share: renewal.DefaultShare}
	window := func(start, end time.Duration) driver.Standing {
		return driver.Standing{Status: driver.StandingGood, WindowStart: noon.Add(start), WindowEnd: noon.Add(end)}
	}
	explained := window(50*day, 52*day)
	explained.Explanation = "https://example.com/why"
	for name, c := range map[string]struct {
		says driver.Standing
		now  time.Duration
		why  string
		from time.Duration
		to   time.Duration
	}{
		"nothing":             {driver.Standing{}, 10 * day, "", 0, 0},
		"ordinary":            {window(60*day, 62*day), 10 * day, store.DueWindow, 60 * day, 62 * day},
		"earlier":             {window(20*day, 22*day), 10 * day, store.DueWindow, 20 * day, 22 * day},
		"explained, to come":  {explained, 10 * day, store.DueWindow, 50 * day, 52 * day},
		"over, and early":     {window(-time.Hour, -time.Minute), 10 * day, store.DueRecall, 10 * day, 10 * day},
		"over, and explained": {explained, 70 * day, store.DueRecall, 70 * day, 70 * day},
		"over, and missed":    {window(61*day, 63*day), 70 * day, store.DueWindow, 61 * day, 63 * day},
		"too late":            {window(85*day, 89*day), 10 * day, "", 0, 0},
		"turned round":        {window(30*day, 20*day), 10 * day, "", 0, 0},
		"revoked":             {driver.Standing{Status: driver.StandingRevoked}, 10 * day, store.DueRecall, 10 * day, 10 * day},
	} {
		due, why := renewal.ByWindow(r, c.says, noon.Add(c.now))
		if why != c.why || why != "" && (due.Before(noon.Add(c.from)) || due.After(noon.Add(c.to))) {
			t.Errorf("%s: it is due after %s for %q, want between %s and %s for %q", name, due.Sub(noon), why, c.from, c.to, c.why)
		}
	}
}

func TestBackOffGrows(t *testing.T) {
	before := time.Duration(0)
	for n := range int64(40) {
		wait := renewal.BackOff("shop", n+1, time.Minute, 12*time.Hour)
		if n < 9 && wait <= before || wait > 12*time.Hour*6/5 || wait < 48*time.Second {
			t.Errorf("after failure %d it waits %s, and before it %s", n+1, wait, before)
		}
		before = wait
	}
}

func TestNames(t *testing.T) {
	got, err := renewal.NormalNames([]string{"b.Example.com.", "*.a.example.com", "::FFFF:10.0.0.1", "2001:DB8::1", "spiffe://lab/web", "ops@example.com", "b.example.com"})
	want := []string{"*.a.example.com", "10.0.0.1", "2001:db8::1", "b.example.com", "ops@example.com", "spiffe://lab/web"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, name := range []string{"", "a b", "a..b", "-a.example.com", "a.*.com", "*", "fe80::1%eth0", "https://", "https://u:p@x/", "a@b@c", "Ann <a@b>", "a\x00b", "ex\u00e4mple.com"} {
		if got, err := renewal.NormalNames([]string{name}); err == nil {
			t.Errorf("%q is %q", name, got)
		}
	}
}

// The number of renewals in a year follows from the lifetime.
func TestCalendarOfOne(t *testing.T) {
	for name, c := range map[string]struct {
		life, cap time.Duration
		least     int64
		most      int64
	}{
		"90 days":             {90 * day, 0, 6, 7},
		"47 days":             {47 * day, 0, 11, 13},
		"90 days cut to 47":   {90 * day, 47 * day, 11, 13},
		"30 days, cut to 200": {30 * day, 200 * day, 18, 20},
		"one hour":            {time.Hour, 0, 365 * 36, 365 * 40},
	} {
		days := make([]int64, 365)
		l := renewal.Life{Name: "shop", NotBefore: noon.UnixMicro(), NotAfter: noon.Add(c.life).UnixMicro(), Due: noon.UnixMicro(), Share: renewal.DefaultShare}
		renewal.Foresee(days, l, noon, noon, c.cap)
		var sum int64
		for _, n := range days {
			sum += n
		}
		if sum < c.least || sum > c.most {
			t.Errorf("%s: %d renewals in a year, want %d to %d", name, sum, c.least, c.most)
		}
	}
}

// What is counted is what would happen: the calendar is compared with the engine.
func TestTheCalendarForesees(t *testing.T) {
	h := onSQLite(t, nil)
	h.desk.behave(func(d *desk) { d.life = 12 * day })
	for n := range 10 {
		h.add(renewal.Wanted{Name: fmt.Sprint("r", n), Issuer: "desk"})
	}
	h.turn()
	from := h.clock.now()
	c, err := h.Calendar(t.Context(), viewer, from, from.Add(30*day), 0)
	if err != nil {
		t.Fatal(err)
	}
	made := h.desk.count()
	midnight := c.From.Add(31 * day)
	for h.clock.now().Before(midnight.Add(-12 * time.Hour)) {
		h.clock.pass(6 * time.Hour)
		h.turn()
	}
	if got := int64(h.desk.count() - made); got < c.Total-5 || got > c.Total+5 || c.Total < 25 || len(c.Days) < 30 || c.Issuers[0] != "desk" {
		t.Errorf("%d were foreseen, %d have come", c.Total, got)
	}
	if _, err := h.Calendar(t.Context(), viewer, from, from.AddDate(5, 0, 0), 0); err == nil {
		t.Error("a calendar of five years")
	}
}

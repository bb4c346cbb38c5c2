// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/usage"
)

var chartNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// chartOf returns a chart of hours up to now.
func chartOf(bins ...usage.Bin) usage.Chart {
	c := usage.Chart{From: chartNow.Add(-time.Duration(len(bins)) * time.Hour), To: chartNow, Step: time.Hour, Bins: bins}
	for i := range c.Bins {
		c.Bins[i].At = c.From.Add(time.Duration(i) * time.Hour)
	}
	return c
}

// Two stolen uses among a million show as well as two alone.
func TestForeignUsesAlwaysShow(t *testing.T) {
	m := mirrorOf(chartNow, chartOf(usage.Bin{Holder: 1_000_000, Relying: 1_000_002, Foreign: 2}, usage.Bin{Holder: 1, Relying: 1}, usage.Bin{}), "/uses?after=x")
	if len(m.Bins) != 2 || !m.Any() || m.Sums.Foreign != 2 || m.Top != 1_000_002 {
		t.Fatalf("%+v", m)
	}
	loud := m.Bins[0]
	want := []piece{{"both", mirrorTop + 1, mirrorHalf - 1}, {"both", mirrorBase, mirrorHalf - 2}, {"foreign", mirrorBottom - 2, 2}}
	if d := cmp.Diff(want, loud.Pieces); d != "" || !loud.Foreign {
		t.Errorf("foreign %v: %s", loud.Foreign, d)
	}
	if loud.URL != "/uses?from=2026-11-22T09%3A00%3A00Z&to=2026-11-22T10%3A00%3A00Z" || loud.Label != "2026-11-22 09:00: 1,000,000 made here, 1,000,002 accepted there, 2 foreign" {
		t.Errorf("%s, %s", loud.URL, loud.Label)
	}
	if quiet := m.Bins[1]; quiet.Foreign || len(quiet.Pieces) != 2 || quiet.Pieces[0].Height != 2 {
		t.Errorf("a single use is drawn as %+v", quiet.Pieces)
	}
}

func TestMirrorKeepsItsMeasures(t *testing.T) {
	var bins []usage.Bin
	for n := range int64(300) {
		bins = append(bins, usage.Bin{Holder: n * n, Relying: n * 7, Foreign: n % 5, Pending: n % 7, Unconfirmed: n % 3, Attempts: n % 2})
	}
	bins = append(bins, usage.Bin{Foreign: 9, Relying: 3}, usage.Bin{Unconfirmed: 5}, usage.Bin{Attempts: 1}) // which do not add up
	for _, b := range mirrorOf(chartNow, chartOf(bins...), "/uses").Bins {
		x, err := strconv.ParseFloat(strings.TrimSuffix(b.X, "%"), 64)
		if err != nil || x < 0 || x >= 100 {
			t.Errorf("a bar stands at %s", b.X)
		}
		for _, p := range b.Pieces {
			// What is made visible may go beyond by what is made visible of it.
			if p.Height < 1 || p.Y < mirrorTop-4 || p.Y+p.Height > mirrorLane {
				t.Errorf("%s: %+v", b.Label, p)
			}
		}
	}
	for _, c := range []usage.Chart{{}, {From: chartNow, To: chartNow, Step: time.Hour}, {From: chartNow, To: chartNow.Add(time.Hour)}} {
		if m := mirrorOf(chartNow, c, "/uses"); m.Any() || len(m.Ticks) != 0 {
			t.Errorf("a chart of no time is %+v", m)
		}
	}
}

func TestTimeTicks(t *testing.T) {
	for whole, want := range map[time.Duration]string{
		time.Hour: "11:10 11:20 11:30 11:40 11:50", day: "15:00 18:00 21:00 00:00 03:00 06:00 09:00",
		7 * day: "16 Nov 17 Nov 18 Nov 19 Nov 20 Nov 21 Nov 22 Nov", 30 * day: "27 Oct 1 Nov 6 Nov 11 Nov 16 Nov",
	} {
		var labels []string
		for _, tick := range timeTicks(chartNow.Add(-whole), chartNow) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != want {
			t.Errorf("%v: %s, want %s", whole, got, want)
		}
	}
	for whole := time.Second; whole < 5*365*day; whole *= 2 {
		if n := len(timeTicks(chartNow.Add(-whole), chartNow)); n > 16 {
			t.Errorf("%v has %d labels", whole, n)
		}
	}
}

func TestRanges(t *testing.T) {
	for query, want := range map[string]string{
		"":                "2026-11-15T12:01:00Z 2026-11-22T12:01:00Z week",
		"range=hour":      "2026-11-22T11:01:00Z 2026-11-22T12:01:00Z hour",
		"from=2026-11-20": "2026-11-20T00:00:00Z 2026-11-22T12:01:00Z ",
		"to=2026-11-20":   "2026-11-13T00:00:00Z 2026-11-20T00:00:00Z ",
		"range=day&from=2026-11-20T01:00:00%2B02:00&to=2026-11-20": "2026-11-19T23:00:00Z 2026-11-20T00:00:00Z ",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		from, to, word, err := rangeOf(chartNow, q)
		if got := from.Format(time.RFC3339) + " " + to.Format(time.RFC3339) + " " + word; err != nil || got != want {
			t.Errorf("%q is %s, want %s (%v)", query, got, want, err)
		}
	}
}

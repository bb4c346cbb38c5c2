// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

func TestTimeline(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	date := func(days int) time.Time { return now.Truncate(day).AddDate(0, 0, days) }
	line := timelineOf(now, store.Summary{Expired: 5000, Ending: []store.Day{{Date: date(0), Count: 1}, {Date: date(6), Count: 40}, {Date: date(7), Count: 20}, {Date: date(119), Count: 1}, {Date: date(120), Count: 9}}})
	var classes []string
	for _, b := range line.Bars {
		classes = append(classes, b.Class)
		x, err := strconv.ParseFloat(strings.TrimSuffix(b.X, "%"), 64)
		if err != nil || x < 0 || x > 99.5 {
			t.Errorf("a bar stands at %s", b.X)
		}
		if b.Height < 3 || b.Height > chartHeight || b.Y+b.Height != chartTop+chartHeight {
			t.Errorf("a bar of %d from %d down", b.Height, b.Y)
		}
	}
	if got := strings.Join(classes, " "); got != "over week week later later" {
		t.Errorf("the bars are %s", got)
	}
	if today := line.Bars[1].URL; !strings.Contains(today, "ends_after=2026-11-22T12%3A00%3A00Z&ends_before=2026-11-23&leaf=true&sample=false") {
		t.Errorf("today's bar leads to %s", today)
	}
	if line.Top != 40 {
		t.Errorf("the highest bar counts %d", line.Top)
	}
	var months []string
	for _, tick := range line.Ticks {
		months = append(months, tick.Label)
	}
	if got := strings.Join(months, " "); got != "Dec Jan Feb Mar" {
		t.Errorf("the months are %s", got)
	}
	if empty := timelineOf(now, store.Summary{}); len(empty.Bars) != 0 || empty.Top != 0 {
		t.Errorf("nothing is drawn as %+v", empty)
	}
}

// Every month has its label wherever today stands in it, unless it is too near
// to another word.
func TestTicksEndEveryDayOfAYear(t *testing.T) {
	for n := range 366 {
		if got := len(ticks(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n))); got < 3 || got > 4 {
			t.Errorf("on day %d there are %d labels", n, got)
		}
	}
}

// A number stands over its bar and before today, also on a phone.
func TestShortNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1k", 1299: "1.2k", 9999: "9.9k", 10_000: "10k", 999_999: "999k", 1_250_000: "1.2M"} {
		if got := short(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestMix(t *testing.T) {
	m := mixOf([]store.Count{{Name: "rsa-2048", Count: 90}, {Name: "ecdsa-p256", Count: 5}, {Name: "x25519", Count: 1}, {Name: "ml-dsa-65", Count: 3}, {Name: "unknown", Count: 1}})
	if m.Touch != 96 || m.Of != 100 || m.Share != "96 %" || len(m.Parts) != 3 {
		t.Errorf("%+v", m)
	}
	for algorithm, want := range map[string]string{
		"rsa-4096": "vulnerable", "dsa-1024": "vulnerable", "ed25519": "vulnerable", "ed448": "vulnerable", "x25519": "vulnerable", "ecdsa-secp256k1": "vulnerable",
		"ml-dsa-44": "safe", "ml-kem-768": "safe", "slh-dsa-sha2-128s": "safe", "": "unknown", "unknown": "unknown",
	} {
		if got := quantum(algorithm); got != want {
			t.Errorf("%s is %s, want %s", algorithm, got, want)
		}
	}
	for _, test := range []struct {
		part, whole int64
		want        string
	}{{0, 1000, "0 %"}, {1, 1000, "under 1 %"}, {999, 1000, "99 %"}, {1000, 1000, "100 %"}} {
		if got := share(test.part, test.whole); got != test.want {
			t.Errorf("%d of %d is %s, want %s", test.part, test.whole, got, test.want)
		}
	}
}

func TestBarsGatherTheRest(t *testing.T) {
	same := func(s string) string { return s }
	bars := barsOf([]store.Count{{Name: "a", Count: 1000}, {Name: "b", Count: 1}, {Name: "c", Count: 2}, {Name: "d", Count: 3}}, 2, same, same)
	if len(bars) != 3 || bars[0].Width != 100 || bars[1].Width != 1 || bars[2].Count != 5 || bars[2].URL != "" {
		t.Errorf("%+v", bars)
	}
}

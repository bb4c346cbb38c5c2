// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// A bar is one line of a bar list.
type bar struct {
	Label, URL, Class string
	Count             int64
	Width             int // percent of the longest
}

// barsOf returns the first few counts as bars, and the rest as one. address
// makes the link of a name.
func barsOf(counts []store.Count, limit int, label func(string) string, address func(string) string) []bar {
	var bars []bar
	var rest, longest int64
	for i, c := range counts {
		if i >= limit {
			rest += c.Count
			continue
		}
		bars = append(bars, bar{Label: clip(maxName, label(c.Name)), URL: address(c.Name), Count: c.Count})
	}
	if rest > 0 {
		bars = append(bars, bar{Label: "all others", Count: rest})
	}
	for _, b := range bars {
		longest = max(longest, b.Count)
	}
	for i := range bars {
		bars[i].Width = max(1, int(bars[i].Count*100/max(longest, 1)))
	}
	return bars
}

// listURL returns the address of the credentials that a few parameters let
// through: name, value, name, value.
func listURL(parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	return "/credentials?" + q.Encode()
}

// The measures of the timeline: it has the days as percents of its width, so
// that its text keeps its size on a phone, and pixels for its height.
const (
	timelineDays = 120 // as many as Summary counts
	todayAt      = 8.0 // where today begins, in percent; what has ended is left of it
	dayWidth     = 92.0 / timelineDays
	chartTop     = 16
	chartHeight  = 112
)

// A timelineBar is what ends on a day.
type timelineBar struct {
	X, Width  string // percent
	Y, Height int    // pixels
	URL       string
	Label     string // "3 end on Thursday 2026-12-03, in 11 days"
	Class     string // "over", "week" or "later"
	Day       string
	Count     int64
	Over      int    // where its number stands, in pixels
	Short     string // its number, short enough to stand before today on a phone
}

// A tick is a label below the axis; a near one would run into the word "today"
// on a phone.
type tick struct {
	X, Label string
	Near     bool
}

// A timeline is the certificates that end, day by day.
type timeline struct {
	Bars  []timelineBar
	Ticks []tick
	Today string
	Top   int64 // how many the highest bar counts
	Sum   int64
}

// timelineOf draws what a summary counted.
func timelineOf(now time.Time, s store.Summary) timeline {
	today := now.UTC().Truncate(day)
	t := timeline{Today: percent(todayAt)}
	for _, d := range s.Ending {
		t.Top = max(t.Top, d.Count)
		t.Sum += d.Count
	}
	if s.Expired > 0 {
		b := t.bar(1, 5, s.Expired, "over")
		b.URL, b.Day = listURL("leaf", "true", "sample", "false", "ends_before", instant(now)), "before now"
		b.Label = plural(s.Expired, "has ended and is still there", "have ended and are still there")
		t.Bars = append(t.Bars, b)
	}
	for _, d := range s.Ending {
		n := int(d.Date.Sub(today) / day)
		if n >= timelineDays {
			continue // the part of the last day that is counted lies beyond the axis
		}
		class := "later"
		if n < 7 {
			class = "week"
		}
		b := t.bar(todayAt+float64(n)*dayWidth, dayWidth*0.8, d.Count, class)
		from := instant(d.Date)
		if n == 0 {
			from = instant(now)
		}
		b.URL, b.Day = listURL("leaf", "true", "sample", "false", "ends_after", from, "ends_before", instant(d.Date.Add(day))), d.Date.Format(time.DateOnly)
		b.Label = fmt.Sprintf("%s on %s", plural(d.Count, "ends", "end"), d.Date.Format("Monday 2006-01-02"))
		t.Bars = append(t.Bars, b)
	}
	t.Ticks = ticks(today)
	return t
}

// bar returns a bar of a height; what is higher than the chart is cut off, and
// its number says so.
func (t *timeline) bar(x, width float64, count int64, class string) timelineBar {
	height := min(max(3, int(count*chartHeight/max(t.Top, 1))), chartHeight)
	y := chartTop + chartHeight - height
	return timelineBar{
		X: percent(x), Width: percent(width), Y: y, Height: height, Class: class, Count: count, Over: y - 4, Short: short(count),
	}
}

// short writes a number in at most four characters: 999, 1.2k, 31k, 999k, 1.2M.
func short(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10)
	case n < 10_000:
		return strconv.FormatFloat(float64(n/100)/10, 'f', -1, 64) + "k"
	case n < 1_000_000:
		return strconv.FormatInt(n/1000, 10) + "k"
	}
	return strconv.FormatFloat(float64(n/100_000)/10, 'f', -1, 64) + "M"
}

// ticks returns the first days of the months ahead.
func ticks(today time.Time) []tick {
	var list []tick
	for month := time.Date(today.Year(), today.Month()+1, 1, 0, 0, 0, 0, time.UTC); ; month = month.AddDate(0, 1, 0) {
		n := int(month.Sub(today) / day)
		if n >= timelineDays {
			return list
		}
		if n < 8 || n > timelineDays-8 {
			continue // too near to the word "today", or to the edge
		}
		list = append(list, tick{percent(todayAt + float64(n)*dayWidth), month.Format("Jan"), n < 20})
	}
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }

// instant writes a time for an address, to the day where that is exact.
func instant(t time.Time) string {
	t = t.UTC()
	if t.Equal(t.Truncate(day)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}

// A mix says what a move to post-quantum keys would touch.
type mix struct {
	Parts []mixPart
	Touch int64 // keys that a quantum computer could compute
	Of    int64
	Share string // "98 %"
}

// A mixPart is a piece of the bar of a mix.
type mixPart struct {
	Label, Class string
	Count        int64
	X, Width     string // percent
}

// mixOf sorts the algorithms of a summary by whether they withstand a quantum
// computer: Shor's algorithm breaks factoring and discrete logarithms, on
// curves too (NIST IR 8547 section 4.1).
func mixOf(counts []store.Count) mix {
	sums := map[string]int64{}
	var m mix
	for _, c := range counts {
		sums[quantum(c.Name)] += c.Count
		m.Of += c.Count
	}
	m.Touch = sums["vulnerable"]
	x := 0.0
	for _, part := range []struct{ class, label string }{
		{"vulnerable", "must be replaced"}, {"safe", "post-quantum"}, {"unknown", "key not known"},
	} {
		n := sums[part.class]
		if n == 0 {
			continue
		}
		width := float64(n) * 100 / float64(m.Of)
		m.Parts = append(m.Parts, mixPart{part.label, part.class, n, percent(x), percent(width)})
		x += width
	}
	if m.Of > 0 {
		m.Share = share(m.Touch, m.Of)
	}
	return m
}

// share writes a part of a whole, rounded down so that only all of it is 100 %;
// only none is 0 %.
func share(part, whole int64) string {
	p := part * 100 / whole
	if part > 0 && p == 0 {
		return "under 1 %"
	}
	return strconv.FormatInt(p, 10) + " %"
}

// quantum returns "vulnerable", "safe" or "unknown" for a key's algorithm.
func quantum(algorithm string) string {
	for _, family := range []string{"ml-dsa", "ml-kem", "slh-dsa", "lms", "xmss", "hss"} {
		if strings.HasPrefix(algorithm, family) {
			return "safe"
		}
	}
	for _, family := range []string{"rsa", "dsa", "ecdsa", "ec-", "ecdh", "ed25519", "ed448", "x25519", "x448", "dh", "elgamal", "gost", "sm2"} {
		if strings.HasPrefix(algorithm, family) {
			return "vulnerable"
		}
	}
	return "unknown"
}

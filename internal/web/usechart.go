// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/usage"
)

// The measures of a mirror, in pixels from its top; across it has percents, as
// the timeline does. Below the mirrored bars there is a lane for what is
// foreign: two stolen uses among ten thousand must show as well as two alone.
const (
	mirrorTop    = 20 // where the highest holder's bar ends
	mirrorHalf   = 64 // the height of either side
	mirrorBase   = mirrorTop + mirrorHalf
	mirrorBottom = mirrorBase + mirrorHalf
	mirrorLane   = mirrorBottom + 12 // the middle of the lane
	mirrorHeight = mirrorLane + 44   // with a row for the lower side's name, and one for times
	mirrorBins   = 400               // that are drawn; usage.Chart gives fewer
)

// A mirror is the uses of a time with both sides on one axis: what the holders
// made goes up, what the relying parties accepted goes down.
type mirror struct {
	Bins        []mirrorBin
	Ticks       []tick
	From, To    string // RFC 3339, for the script that zooms
	Top         int64  // what the highest bar counts
	Sums        usage.Bin
	Base        string // the address that a zoom begins with
	Step        string // "an hour"
	StepSeconds int64
	Now         string // where now is, in percent; "" when it is beyond the axis
}

// The places of what is always there, for the template.

func (m mirror) Height() int { return mirrorHeight }
func (m mirror) High() int   { return mirrorTop }
func (m mirror) Middle() int { return mirrorBase }
func (m mirror) Low() int    { return mirrorBottom }
func (m mirror) Lane() int   { return mirrorLane }
func (m mirror) Side() int   { return mirrorHeight - 24 }
func (m mirror) Words() int  { return mirrorHeight - 6 }
func (m mirror) Span() int   { return mirrorLane + 8 - mirrorTop }

// Any says whether anything was recorded.
func (m mirror) Any() bool {
	return m.Sums.Holder > 0 || m.Sums.Relying > 0 || m.Sums.Attempts > 0
}

// A mirrorBin is one step of the axis.
type mirrorBin struct {
	X, Width, Middle string // percent
	Pieces           []piece
	Foreign          bool   // its stem reaches the lane
	URL              string // the same view of this step alone
	Label            string
	When             string
	Counts           usage.Bin
}

// A piece is a part of a bar, in pixels; one that is there has at least two.
type piece struct {
	Class     string // "both", "loose", "pending" or "foreign"
	Y, Height int
}

// mirrorOf draws a chart. address is that of the view, in which from and to are set.
func mirrorOf(now time.Time, c usage.Chart, address string) mirror {
	m := mirror{
		From: c.From.UTC().Format(time.RFC3339), To: c.To.UTC().Format(time.RFC3339), Base: fromStart(address),
		Step: stepWord(c.Step), StepSeconds: int64(c.Step / time.Second),
	}
	whole := c.To.Sub(c.From)
	if whole <= 0 || c.Step <= 0 {
		return m
	}
	for _, b := range head(mirrorBins, c.Bins) {
		m.Top = max(m.Top, b.Holder, b.Relying)
		m.Sums.Holder += b.Holder
		m.Sums.Relying += b.Relying
		m.Sums.Foreign += b.Foreign
		m.Sums.Pending += b.Pending
		m.Sums.Unconfirmed += b.Unconfirmed
		m.Sums.Attempts += b.Attempts
	}
	at := func(t time.Time) float64 { return float64(t.Sub(c.From)) * 100 / float64(whole) }
	for _, b := range head(mirrorBins, c.Bins) {
		if b.Holder == 0 && b.Relying == 0 && b.Attempts == 0 {
			continue
		}
		x, end := max(0, at(b.At)), min(100, at(b.At.Add(c.Step)))
		if end <= x {
			continue
		}
		one := mirrorBin{X: percent(x), Width: percent((end - x) * 0.86), Middle: percent(x + (end-x)*0.43), Foreign: b.Foreign > 0, Counts: b}
		one.stack(m.Top)
		from, to := b.At.UTC(), b.At.Add(c.Step).UTC()
		one.URL = withParameter(withParameter(m.Base, "from", from.Format(time.RFC3339)), "to", to.Format(time.RFC3339))
		one.When = from.Format("2006-01-02 15:04")
		one.Label = one.When + ": " + binWords(b)
		m.Bins = append(m.Bins, one)
	}
	m.Ticks = timeTicks(c.From.UTC(), c.To.UTC())
	if x := at(now); x > 0 && x < 100 {
		m.Now = percent(x)
	}
	return m
}

// stack puts the pieces of a bin on each other, from the axis outwards: what is
// quiet first. What is loud takes the room of what is quiet when it would be too
// thin to be seen.
func (b *mirrorBin) stack(top int64) {
	height := func(n int64) int {
		if n <= 0 {
			return 0
		}
		return min(mirrorHalf, max(2, int(n*mirrorHalf/max(top, 1))))
	}
	y := mirrorBase
	put := func(class string, by, height int) {
		if height <= 0 {
			return
		}
		y += min(by, 0)
		b.Pieces = append(b.Pieces, piece{class, y, height})
		y += max(by, 0)
	}
	loose := height(b.Counts.Unconfirmed)
	both := max(0, height(b.Counts.Holder)-loose)
	put("both", -both, both)
	put("loose", -loose, loose)
	y = mirrorBase
	pending, foreign := height(b.Counts.Pending), height(b.Counts.Foreign)
	both = max(0, height(b.Counts.Relying)-pending-foreign)
	put("both", both, both)
	put("pending", pending, pending)
	put("foreign", foreign, foreign)
}

// binWords says what a step has.
func binWords(b usage.Bin) string {
	parts := []string{number(b.Holder) + " made here", number(b.Relying) + " accepted there"}
	for _, of := range []struct {
		count int64
		word  string
	}{{b.Foreign, "foreign"}, {b.Pending, "pending"}, {b.Unconfirmed, "unconfirmed"}, {b.Attempts, "attempts"}} {
		if of.count > 0 {
			parts = append(parts, number(of.count)+" "+of.word)
		}
	}
	return strings.Join(parts, ", ")
}

// stepWord names the width of a step.
func stepWord(d time.Duration) string {
	switch d {
	case time.Minute:
		return "a minute"
	case time.Hour:
		return "an hour"
	case day:
		return "a day"
	}
	return span(d)
}

// timeTicks returns the labels of an axis, at most eight, at round times.
func timeTicks(from, to time.Time) []tick {
	whole := to.Sub(from)
	step, layout := 31*day, "2 Jan"
	for _, of := range []struct {
		step   time.Duration
		layout string
	}{
		{time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {10 * time.Minute, "15:04"}, {30 * time.Minute, "15:04"}, {time.Hour, "15:04"}, {3 * time.Hour, "15:04"},
		{6 * time.Hour, "2 Jan 15:04"}, {day, "2 Jan"}, {5 * day, "2 Jan"}, {10 * day, "2 Jan"},
	} {
		if whole/of.step <= 8 {
			step, layout = of.step, of.layout
			break
		}
	}
	var list []tick
	for t := from.Truncate(step).Add(step); t.Before(to) && len(list) < 16; t = t.Add(step) {
		x := float64(t.Sub(from)) * 100 / float64(whole)
		if x < 1 || x > 94 {
			continue // its label would be cut off
		}
		list = append(list, tick{X: percent(x), Label: t.Format(layout), Near: len(list)%2 == 1})
	}
	return list
}

// The ranges that are a click away.
var ranges = []struct {
	word  string
	whole time.Duration
}{{"hour", time.Hour}, {"day", day}, {"week", 7 * day}, {"month", 30 * day}}

// rangeOf reads the time that a view is about: from and to, or the last hour,
// day, week or month, whose word it returns.
func rangeOf(now time.Time, q url.Values) (from, to time.Time, word string, err error) {
	latest := now.UTC().Truncate(time.Minute).Add(time.Minute)
	if q.Get("from") != "" || q.Get("to") != "" {
		var fromErr, toErr error
		from, fromErr = query.ParseTime(q.Get("from"))
		to, toErr = query.ParseTime(q.Get("to"))
		if err := errors.Join(fromErr, toErr); err != nil {
			return from, to, "", err
		}
		if to.IsZero() {
			to = latest
		}
		if from.IsZero() {
			from = to.Add(-7 * day)
		}
		if !from.Before(to) {
			return from, to, "", fmt.Errorf("%w: the time ends before it begins", tallystick.ErrInvalid)
		}
		return from.UTC(), to.UTC(), "", nil
	}
	word = cmp.Or(q.Get("range"), "week")
	for _, r := range ranges {
		if r.word == word {
			return latest.Add(-r.whole), latest, word, nil
		}
	}
	return from, to, "", fmt.Errorf("%w: a range is hour, day, week or month, not %q", tallystick.ErrInvalid, clip(40, word))
}

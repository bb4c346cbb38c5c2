// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// changeSums are how many changes there are of each loudness.
type changeSums struct{ Loud, Used, Expected, Failed int64 }

// sumChanges counts changes; Used are some of Loud.
func sumChanges(list []store.AccessChange) (sums changeSums) {
	for _, c := range list {
		sums.add(c)
	}
	return sums
}

func (s *changeSums) add(c store.AccessChange) {
	switch {
	case c.Failed:
		s.Failed++
	case c.Expected != "":
		s.Expected++
	default:
		s.Loud++
		if !c.UsedAt.IsZero() {
			s.Used++
		}
	}
}

// Quiet are those that are nobody's alarm.
func (s changeSums) Quiet() int64 { return s.Expected + s.Failed }

// Any says whether there are any.
func (s changeSums) Any() bool { return s.Loud+s.Quiet() > 0 }

// needs says what there is, the loudest first; address is that of the loud ones.
func (s changeSums) needs(address string) []need {
	var needs []need
	add := func(n int64, clause need) {
		if n > 0 {
			needs = append(needs, clause)
		}
	}
	add(s.Loud, need{"", plural(s.Loud, "change", "changes"), address, " that nobody expected"})
	add(s.Used, need{"", number(s.Used) + " of " + verb(s.Loud, "it", "them"), "", " used within half an hour"})
	add(s.Expected, need{"", number(s.Expected), "", " expected"})
	add(s.Failed, need{"", number(s.Failed), "", " that failed"})
	joinNeeds(needs)
	return needs
}

// words says the same in short, for a mark.
func (s changeSums) words() string {
	var parts []string
	for _, of := range []struct {
		count int64
		word  string
	}{{s.Loud, "that nobody expected"}, {s.Used, "used soon after"}, {s.Expected, "expected"}, {s.Failed, "that failed"}} {
		if of.count > 0 {
			parts = append(parts, number(of.count)+" "+of.word)
		}
	}
	return strings.Join(parts, ", ")
}

// The measures of the axis, in pixels from its top: what is loud has a lane above
// the line, what is quiet one below it.
const (
	changeLoud    = 40
	changeLine    = 58
	changeQuiet   = 76
	changeHeight  = 128
	mostMarks     = 60
	longestChange = 50 * 365 * day // on an axis; a record may claim any year
)

// A changeAxis is changes over time.
type changeAxis struct {
	Marks       []changeMark
	Ticks       []tick
	From, To    string // RFC 3339, for the script that zooms
	Base        string // the address that a zoom begins with
	Step        string // "an hour"
	StepSeconds int64
	Now         string // where now is, in percent; "" when it is beyond the axis
	Cut         bool   // it has the newest alone
}

// The places of what is always there, for the template.

func (a changeAxis) Height() int { return changeHeight }
func (a changeAxis) Loud() int   { return changeLoud }
func (a changeAxis) Line() int   { return changeLine }
func (a changeAxis) Quiet() int  { return changeQuiet }
func (a changeAxis) Side() int   { return changeHeight - 24 }
func (a changeAxis) Words() int  { return changeHeight - 6 }

// A changeMark is the changes of one step of the axis.
type changeMark struct {
	X, Width, Middle string // percent
	URL, Label       string
	changeSums
}

// changeAxisOf draws changes, the newest first. address is that of the view.
func changeAxisOf(now, from, to time.Time, list []store.AccessChange, address string) changeAxis {
	if to.Sub(from) > longestChange {
		from = to.Add(-longestChange)
	}
	whole, step := to.Sub(from), changeStep(to.Sub(from))
	a := changeAxis{
		From: from.Format(time.RFC3339), To: to.Format(time.RFC3339), Base: fromStart(address), Step: stepWord(step), StepSeconds: int64(step / time.Second),
		Ticks: timeTicks(from, to),
	}
	at := func(t time.Time) float64 { return min(100, max(0, float64(t.Sub(from))*100/float64(whole))) }
	var begins time.Time
	for _, c := range list {
		if c.Time.Before(from) {
			break
		}
		if begin := c.Time.UTC().Truncate(step); len(a.Marks) == 0 || !begin.Equal(begins) {
			begins = begin
			x, end := at(begin), at(begin.Add(step))
			mark := changeMark{X: percent(x), Width: percent(end - x), Middle: percent(min(99, max(1, (x+end)/2)))}
			mark.URL = withParameter(withParameter(a.Base, "from", begin.Format(time.RFC3339)), "to", begin.Add(step).Format(time.RFC3339))
			mark.Label = begin.Format("2006-01-02 15:04")
			a.Marks = append(a.Marks, mark)
		}
		a.Marks[len(a.Marks)-1].add(c)
	}
	for i := range a.Marks {
		a.Marks[i].Label += ": " + a.Marks[i].words()
	}
	if x := at(now); x > 0 && x < 100 {
		a.Now = percent(x)
	}
	return a
}

// changeStep returns how wide a mark of an axis is.
func changeStep(whole time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 7 * day} {
		if whole/step <= mostMarks {
			return step
		}
	}
	return (whole/mostMarks/day + 1) * day
}

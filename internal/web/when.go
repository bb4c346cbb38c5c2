// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"time"
)

// A moment is a time as pages show it: in UTC, and beside it how far away.
type moment struct {
	ISO      string // for machines (RFC 3339); "" when there is no time
	Text     string // to the minute
	Day      string
	Relative string
}

// momentOf returns t as seen at now.
func momentOf(now, t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{
		ISO:      t.Format(time.RFC3339),
		Text:     t.Format("2006-01-02 15:04 UTC"),
		Day:      t.Format(time.DateOnly),
		Relative: relative(t.Sub(now)),
	}
}

// relative writes how far away a time is, in the largest unit that has two of it.
func relative(d time.Duration) string {
	if d < 0 {
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

const day = 24 * time.Hour

// span writes a duration in words, rounded down.
func span(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{365 * day, "years"}, {30 * day, "months"}, {day, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}, {time.Second, "seconds"}} {
		if n := d / unit.length; n >= 2 {
			return fmt.Sprintf("%s %s", number(int64(n)), unit.name)
		}
	}
	return "a second"
}

// A life is the validity of a credential as a bar.
type life struct {
	Known bool
	Spent int    // how much of it is over, in percent
	State string // "over", "soon", "good", "early": the bar's class
	Word  string // "12 days ago", "23 days left"
	End   moment
}

// soonShare is the rest of a life at which it should have been renewed: the
// last third (Certbot 4.0 and the rule expires-soon use the same).
const soonShare = 67

// lifeOf returns the bar of a validity period as seen at now. Without an end
// there is none.
func lifeOf(now, begin, end time.Time) life {
	if end.IsZero() {
		return life{}
	}
	l := life{Known: true, End: momentOf(now, end)}
	whole, left := end.Sub(begin), end.Sub(now)
	switch {
	case left <= 0:
		l.Spent, l.State, l.Word = 100, "over", span(-left)+" ago"
		return l
	case begin.IsZero() || whole <= 0:
		l.State, l.Word = "good", span(left)+" left"
		return l
	case now.Before(begin):
		l.State, l.Word = "early", "begins "+relative(begin.Sub(now))
		return l
	}
	// By seconds: nanoseconds times a hundred overflow after three years.
	l.Spent = int(now.Sub(begin).Seconds() * 100 / whole.Seconds())
	l.State, l.Word = "good", span(left)+" left"
	// Near the end of a long life a third is years: nobody must act on that.
	if l.Spent >= soonShare && left < 365*day {
		l.State = "soon"
	}
	return l
}

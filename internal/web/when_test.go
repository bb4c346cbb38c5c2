// SPDX-License-Identifier: Apache-2.0

package web

import (
	"testing"
	"time"
)

func TestLife(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, days) }
	for name, test := range map[string]struct {
		begin, end  time.Time
		state, word string
		spent       int
	}{
		"fresh":              {at(-9), at(81), "good", "2 months left", 10},
		"to be renewed":      {at(-80), at(10), "soon", "10 days left", 88},
		"the last hours":     {at(-89), now.Add(90 * time.Minute), "soon", "90 minutes left", 99},
		"over":               {at(-100), at(-10), "over", "10 days ago", 100},
		"over by now":        {at(-90), now, "over", "a second ago", 100},
		"not yet":            {at(5), at(95), "early", "begins in 5 days", 0},
		"old root":           {at(-20 * 365), at(5 * 365), "good", "5 years left", 80},
		"without a begin":    {time.Time{}, at(10), "good", "10 days left", 0},
		"ends before begins": {at(20), at(10), "good", "10 days left", 0},
	} {
		got := lifeOf(now, test.begin, test.end)
		if got.State != test.state || got.Word != test.word || got.Spent != test.spent || !got.Known {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if lifeOf(now, at(-1), time.Time{}).Known {
		t.Error("what has no end has a bar")
	}
}

func TestRelative(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "in a second", -90 * time.Second: "90 seconds ago", 2 * time.Hour: "in 2 hours", -47 * time.Hour: "47 hours ago",
		59 * day: "in 59 days", 60 * day: "in 2 months", -800 * day: "2 years ago", 20_000 * day: "in 54 years",
	} {
		if got := relative(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

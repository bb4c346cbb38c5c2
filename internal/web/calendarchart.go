// SPDX-License-Identifier: Apache-2.0

package web

import (
	"time"

	"github.com/tallystick/tallystick/internal/renewal"
)

// The measures of the calendar, in pixels from its top; across it has percents, as
// the timeline does.
const (
	calendarDays   = 365
	calendarTop    = 20
	calendarBars   = 96 // the height of the fullest day
	calendarBase   = calendarTop + calendarBars
	calendarHeight = calendarBase + 24
	nearDays       = 45 // within which a label would run into the word "today" on a phone
)

// A calendarChart is how much will be renewed on each day of a year.
type calendarChart struct {
	Bars    []calendarBar
	Ticks   []tick
	Months  []calendarMonth // the same as numbers
	Peak    int64
	PeakDay time.Time
	Total   int64
	Mean    string // renewals a day
}

// The places of what is always there, for the template.

func (c calendarChart) Height() int { return calendarHeight }
func (c calendarChart) Top() int    { return calendarTop }
func (c calendarChart) Base() int   { return calendarBase }
func (c calendarChart) Words() int  { return calendarHeight - 6 }

// A calendarBar is a day on which something is renewed.
type calendarBar struct {
	X, Width  string // percent
	Y, Height int    // pixels
	Label     string
	Full      bool // the fullest day
}

// A calendarMonth is a month in numbers.
type calendarMonth struct {
	Name  string
	Count int64
	Peak  int64
}

// calendarChartOf draws a calendar.
func calendarChartOf(c renewal.Calendar) calendarChart {
	chart := calendarChart{Peak: c.Peak, PeakDay: c.PeakDay, Total: c.Total}
	width := 100 / float64(max(len(c.Days), 1))
	for i, d := range c.Days {
		date, x := c.From.Add(time.Duration(i)*day), float64(i)*width
		if name := date.Format("Jan 2006"); len(chart.Months) == 0 || chart.Months[len(chart.Months)-1].Name != name {
			chart.Months = append(chart.Months, calendarMonth{Name: name})
			if i > 10 && i < len(c.Days)-10 {
				chart.Ticks = append(chart.Ticks, tick{X: percent(x), Label: date.Format("Jan"), Near: i < nearDays || len(chart.Ticks)%2 == 1})
			}
		}
		month := &chart.Months[len(chart.Months)-1]
		month.Count += d.Renewals
		month.Peak = max(month.Peak, d.Renewals)
		if d.Renewals == 0 {
			continue
		}
		height := min(calendarBars, max(2, int(d.Renewals*calendarBars/max(c.Peak, 1))))
		chart.Bars = append(chart.Bars, calendarBar{
			X: percent(x), Width: percent(width * 0.86), Y: calendarBase - height, Height: height, Full: date.Equal(c.PeakDay),
			Label: plural(d.Renewals, "renewal", "renewals") + " on " + date.Format("Monday 2006-01-02"),
		})
	}
	if n := int64(len(c.Days)); n > 0 && c.Total > 0 {
		chart.Mean = number((c.Total + n/2) / n)
		if c.Total < n {
			chart.Mean = "under 1"
		}
	}
	return chart
}

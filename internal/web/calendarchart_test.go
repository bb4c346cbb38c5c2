// SPDX-License-Identifier: Apache-2.0

package web

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/renewal"
)

func TestCalendarChart(t *testing.T) {
	from := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	c := renewal.Calendar{From: from, Days: make([]renewal.Day, calendarDays), Total: 1003, Peak: 1000, PeakDay: from.Add(2 * day)}
	c.Days[0].Renewals, c.Days[2].Renewals, c.Days[364].Renewals = 1, 1000, 2
	chart := calendarChartOf(c)
	if len(chart.Bars) != 3 || chart.Mean != "3" || len(chart.Months) != 13 || chart.Months[0].Count != 1001 || chart.Months[0].Peak != 1000 {
		t.Fatalf("the chart is %+v", chart)
	}
	one, peak, last := chart.Bars[0], chart.Bars[1], chart.Bars[2]
	if one.Height != 2 || peak.Height != calendarBars || peak.Y != calendarTop || !peak.Full || one.Full || last.X != "99.73%" {
		t.Errorf("the bars are %+v", chart.Bars)
	}
	if one.Label != "1 renewal on Sunday 2026-11-22" {
		t.Errorf("a label is %q", one.Label)
	}
	for _, tick := range chart.Ticks[:2] { // beside "today"
		if !tick.Near {
			t.Errorf("on a phone %s runs into the word today", tick.Label)
		}
	}
	if empty := calendarChartOf(renewal.Calendar{From: from}); len(empty.Bars) != 0 || empty.Mean != "" {
		t.Errorf("without days: %+v", empty)
	}
}

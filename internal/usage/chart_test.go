// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/usage"
)

// sum adds the bins of a chart up.
func sum(c usage.Chart) usage.Bin {
	var all usage.Bin
	for _, b := range c.Bins {
		all.Holder += b.Holder
		all.Relying += b.Relying
		all.Foreign += b.Foreign
		all.Pending += b.Pending
		all.Unconfirmed += b.Unconfirmed
		all.Attempts += b.Attempts
	}
	return all
}

func TestChartOfACredentialCountsItsUses(t *testing.T) {
	onBoth(t, func(f *fixture) {
		f.Live = live{f.used: {noon.Add(-time.Minute), noon.AddDate(0, 0, 1)}}
		c, err := f.Chart(f.Context(), viewer, usage.Filter{Credential: f.fingerprint, From: noon.Add(-2 * time.Hour), To: noon})
		must(f.T, err)
		want := usage.Bin{Holder: 2*perHour + 1, Relying: 2*perHour + 3, Foreign: 3, Pending: 1, Unconfirmed: 1, Attempts: 1}
		if d := cmp.Diff(want, sum(c)); d != "" {
			f.Error(d)
		}
		if c.Step != time.Minute || len(c.Bins) != 120 || !c.Bins[0].At.Equal(noon.Add(-2*time.Hour)) {
			f.Errorf("%d bins of %s from %s", len(c.Bins), c.Step, c.Bins[0].At)
		}
		if b := c.Bins[90]; b.Foreign != 3 || b.Relying != 4 || b.Holder != 1 {
			f.Errorf("the minute of the theft has %+v", b)
		}
	})
}

// A live is pending uses by credential.
type live map[int64][]time.Time

func (l live) Pending(used int64, fn func(time.Time, int64)) {
	for id, list := range l {
		for _, at := range list {
			if used == 0 || used == id {
				fn(at, 1)
			}
		}
	}
}

func TestLongChartsAndChartsOfAllCountHours(t *testing.T) {
	onBoth(t, func(f *fixture) {
		want := usage.Bin{Holder: 2*perHour + 1, Relying: 2*perHour + 3, Foreign: 3, Unconfirmed: 1, Attempts: 1}
		for _, filter := range []usage.Filter{
			{Credential: f.fingerprint, From: noon.AddDate(0, 0, -30), To: noon},
			{From: noon.AddDate(0, 0, -30), To: noon},
			{},
		} {
			c, err := f.Chart(f.Context(), viewer, filter)
			must(f.T, err)
			if d := cmp.Diff(want, sum(c)); d != "" || c.Step%time.Hour != 0 {
				f.Errorf("%+v: steps of %s: %s", filter, c.Step, d)
			}
		}
		long, err := f.Chart(f.Context(), viewer, usage.Filter{From: noon.AddDate(0, 0, -90), To: noon})
		must(f.T, err)
		if n := len(long.Bins); n < 60 || n > 200 {
			f.Errorf("90 days have %d bins", n)
		}
		for _, filter := range []usage.Filter{
			{From: noon.AddDate(-1, 0, 0), To: noon}, {Credential: f.fingerprint, From: noon.AddDate(-9, 0, 0), To: noon}, {From: noon, To: noon},
			{Credential: f.fingerprint, From: time.Unix(-1<<40, 0), To: time.Unix(1<<40, 0)},
		} {
			if _, err := f.Chart(f.Context(), viewer, filter); !errors.Is(err, tallystick.ErrInvalid) {
				f.Errorf("%+v: %v", filter, err)
			}
		}
		if _, err := f.Chart(f.Context(), nobody, usage.Filter{}); !errors.Is(err, tallystick.ErrUnsigned) {
			f.Errorf("a stranger gets %v", err)
		}
	})
}

func TestChartsHave60To200Bins(t *testing.T) {
	for span := 5 * time.Minute; span < 5*366*24*time.Hour; span += span/100 + time.Second {
		step := usage.StepOf(span)
		if n := span / step; n < 60 || n >= 200 {
			t.Errorf("%s in steps of %s are %d", span, step, n)
		}
	}
}

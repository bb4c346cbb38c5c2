// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// changedAt returns a change of a kind at a time.
func changedAt(kind tallystick.ChangeKind, at time.Time) store.AccessChange {
	return store.AccessChange{Change: tallystick.Change{Kind: kind, Time: at}}
}

func TestChangesOfAStepAreOneMark(t *testing.T) {
	to := chartNow.Truncate(day)
	from := to.Add(-7 * day)
	used := changedAt(tallystick.ChangeCredentialAdded, to.Add(-47*time.Hour))
	used.UsedAt = used.Time.Add(time.Minute)
	expected := changedAt(tallystick.ChangeGrantAdded, to.Add(-46*time.Hour))
	expected.Expected = "otto: renewal"
	failed := changedAt(tallystick.ChangeTrustAdded, from)
	failed.Failed = true
	list := []store.AccessChange{expected, used, changedAt(tallystick.ChangeSetting, to.Add(-48*time.Hour)), failed}
	a := changeAxisOf(to.Add(-time.Hour), from, to, list, "/directory?kind=x&after=9")
	var got []string
	for _, m := range a.Marks {
		got = append(got, m.Label)
	}
	day := func(days int) string { return from.AddDate(0, 0, days).Format(time.DateOnly) }
	want := []string{
		day(5) + " 00:00: 2 that nobody expected, 1 used soon after, 1 expected", day(0) + " 00:00: 1 that failed",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if first := a.Marks[0]; !strings.HasPrefix(first.URL, "/directory?from="+day(5)+"T00%3A00%3A00Z&kind=x&to=") || first.Loud != 2 || first.Quiet() != 1 {
		t.Errorf("%+v", first)
	}
	if a.Step != "3 hours" || a.Now == "" || len(a.Ticks) < 4 {
		t.Errorf("%+v", a)
	}
}

func TestAxisOfChangesIsBounded(t *testing.T) {
	for d := time.Minute; d <= longestChange; d *= 3 {
		if n := d / changeStep(d); n > mostMarks {
			t.Errorf("%d marks in %v", n, d)
		}
	}
	from, to := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	var list []store.AccessChange
	for year := 9998; year > 0; year-- {
		list = append(list, changedAt(tallystick.ChangeKeyRead, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	if a := changeAxisOf(chartNow, from, to, list, "/directory"); len(a.Marks) > mostMarks || len(a.Ticks) > 16 {
		t.Errorf("%d marks, %d ticks", len(a.Marks), len(a.Ticks))
	}
}

func TestChangesAreAsLoudAsTheyLetIn(t *testing.T) {
	for want, c := range map[tallystick.Severity]store.AccessChange{
		0:                           {Change: tallystick.Change{Kind: tallystick.ChangeKeyExported, Failed: true}},
		tallystick.SeverityMedium:   changedAt(tallystick.ChangeGrantRemoved, chartNow),
		tallystick.SeverityHigh:     changedAt(tallystick.ChangeKeyRead, chartNow),
		tallystick.SeverityCritical: {Change: tallystick.Change{Kind: tallystick.ChangeCredentialAdded}, UsedAt: chartNow},
	} {
		if got := viewChange(c, nil).Severity; got != want {
			t.Errorf("%s is %v, want %v", c.Kind, got, want)
		}
		c.Expected = "otto: renewal"
		if v := viewChange(c, nil); v.Severity != 0 || v.By != "otto" || v.For != "renewal" {
			t.Errorf("%+v is expected", v)
		}
	}
}

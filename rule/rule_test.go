// SPDX-License-Identifier: Apache-2.0

package rule_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func TestDeclared(t *testing.T) {
	blocked, networks, err := rule.Declared(tallystick.Annotation{Tags: []string{
		"blocked=2026-11-20T12:00:00+02:00", "blocked=2026-12-01", "prod", "network=203.0.113.9/24", "network=::ffff:192.0.2.0/120", " network = 2001:db8::7 ",
		"network=everywhere", "blocked=soon", "blocked",
	}})
	want := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::7/128")}
	if diff := cmp.Diff(want, networks, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	if !blocked.Equal(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("blocked %v", blocked)
	}
	for _, tag := range []string{`"network=everywhere"`, `"blocked=soon"`, `"blocked"`} {
		if err == nil || !strings.Contains(err.Error(), tag) {
			t.Errorf("%v does not name %s", err, tag)
		}
	}
	if _, _, err := rule.Declared(tallystick.Annotation{Tags: []string{"networks=x", "team=a"}}); err != nil {
		t.Error(err)
	}
}

// TestSketchCounts has the names of tenants, which differ in their last digits.
func TestSketchCounts(t *testing.T) {
	for _, n := range []int{0, 1, 5, 40, 400, 3600} {
		var s rule.Sketch
		for range 2 {
			for i := range n {
				s.Add(fmt.Sprintf("entra:%04d/exchange", i))
			}
		}
		if got := s.Count(); got < n-n/8-1 || got > n+n/8+1 {
			t.Errorf("%d names are counted as %d", n, got)
		}
	}
}

func TestRhythmFadesAndSpansSummerTime(t *testing.T) {
	var r rule.Rhythm
	monday := time.Date(2026, 11, 16, 9, 0, 0, 0, time.UTC)
	busy := rule.Hour{Start: monday}
	for i := range 80 {
		busy.Parties.Add(fmt.Sprint(i))
	}
	r.Note(&busy)
	high := r.Most(monday)
	if high < 70 || r.Most(monday.Add(time.Hour)) != high || r.Most(monday.Add(-time.Hour)) != high || r.Most(monday.Add(2*time.Hour)) != 0 {
		t.Errorf("high %d, and %v", high, r)
	}
	if r.Most(monday.AddDate(0, 0, -1)) != 0 {
		t.Error("Sunday is as Monday")
	}
	quiet := rule.Hour{Start: monday}
	for range 5 {
		r.Note(&quiet)
	}
	if faded := r.Most(monday); faded > high*6/10 || faded < high*4/10 {
		t.Errorf("a week of silence leaves %d of %d", faded, high)
	}
}

func FuzzDeclared(f *testing.F) {
	for _, tag := range []string{"blocked=2026-11-20T10:00:00Z", "blocked=2026-11-20", "network=203.0.113.0/24", "network=::ffff:192.0.2.0/120", "network=fe80::1%a", "network=::/0"} {
		f.Add(tag)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		_, networks, err := rule.Declared(tallystick.Annotation{Tags: []string{tag}})
		for _, n := range networks {
			if err != nil || !n.IsValid() || n.Masked() != n || n.Addr().Is4In6() || n.Addr().Zone() != "" {
				t.Errorf("%q gives %v, %v", tag, n, err)
			}
		}
	})
}

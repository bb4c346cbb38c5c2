// SPDX-License-Identifier: Apache-2.0

package ruletest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/rule"
)

// Use judges a use and checks that the rule is pure, and that it speaks of one
// cause once: a use of the same kind at another relying party of the same protocol is
// judged, and if the day is the same the text is too.
func Use(t testing.TB, r rule.Rule, s rule.UseSubject) []rule.Hit {
	t.Helper()
	hits := event(t, r, func() []rule.Hit { return r.Use(s) }, s.Use, s.Profile, s.Credential, s.Networks)
	again := *s.Use
	protocol, _, _ := strings.Cut(again.RelyingParty, ":")
	again.ID, again.Seq, again.RelyingParty = again.ID+"-again", again.Seq+1, protocol+":elsewhere.example:443"
	s.Use = &again
	if diff := cmp.Diff(hits, r.Use(s)); diff != "" {
		t.Errorf("%s: one cause has two texts, so findings churn (-first +second use):\n%s", r.Name, diff)
	}
	return hits
}

// Book judges the book of a source and checks that the rule is pure, and that its
// text stays the same a minute later.
func Book(t testing.TB, r rule.Rule, s rule.BookSubject) []rule.Hit {
	t.Helper()
	hits := event(t, r, func() []rule.Hit { return r.Book(s) })
	later := s
	later.Now = s.Now.Add(time.Minute)
	if diff := cmp.Diff(hits, r.Book(later)); diff != "" && len(hits) > 0 {
		t.Errorf("%s: the text churns as time goes by (-first +a minute later):\n%s", r.Name, diff)
	}
	return hits
}

// Wrapping judges a wrapping key and checks that the rule is pure.
func Wrapping(t testing.TB, r rule.Rule, s rule.WrappingSubject) []rule.Hit {
	t.Helper()
	return event(t, r, func() []rule.Hit { return r.Wrapping(s) }, s)
}

// Change judges a change of who gets in and checks that the rule is pure.
func Change(t testing.TB, r rule.Rule, s rule.ChangeSubject) []rule.Hit {
	t.Helper()
	return event(t, r, func() []rule.Hit { return r.Change(s) }, s.Change, s.Near)
}

// event judges twice, and checks that nothing of what was shown has changed.
func event(t testing.TB, r rule.Rule, judge func() []rule.Hit, shown ...any) []rule.Hit {
	t.Helper()
	before := write(t, shown)
	hits := judge()
	if diff := cmp.Diff(hits, judge()); diff != "" {
		t.Errorf("%s: a second look says otherwise (-first +second):\n%s", r.Name, diff)
	}
	if diff := cmp.Diff(before, write(t, shown)); diff != "" {
		t.Errorf("%s: the rule changed what it was shown (-before +after):\n%s", r.Name, diff)
	}
	seen := make(map[string]bool)
	for _, hit := range hits {
		wellFormed(t, r, hit)
		if hit.Credential != "" {
			t.Errorf("%s: whom a use, a book, a change or a wrapping key is about is known: leave Hit.Credential empty", r.Name)
		}
		if key := fmt.Sprint(hit.Place, hit.Evidence); seen[key] {
			t.Errorf("%s: two hits of one text: %q", r.Name, hit.Evidence)
		} else {
			seen[key] = true
		}
	}
	return hits
}

// write turns what a rule was shown into text, so that what pointers lead to is
// compared as well.
func write(t testing.TB, shown []any) string {
	t.Helper()
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

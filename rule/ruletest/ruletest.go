// SPDX-License-Identifier: Apache-2.0

// Package ruletest holds what package rule promises, as checks that the tests
// of every rule run: its data is complete, and its function is pure.
package ruletest

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	errStop  = errors.New("stop")
)

// Described checks the data of a rule: every field is filled and of its form,
// and exactly one function is there.
func Described(t testing.TB, r rule.Rule) {
	t.Helper()
	if !nameForm.MatchString(r.Name) {
		t.Errorf("the name %q is not kebab-case", r.Name)
	}
	for field, text := range map[string]string{"Title": r.Title, "About": r.About, "Citation": r.Citation, "Do": r.Do} {
		if text == "" || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\n|") {
			t.Errorf("%s: %s is empty, padded or not one plain line: %q", r.Name, field, text)
		}
	}
	if strings.HasSuffix(r.Title, ".") {
		t.Errorf("%s: the title is not a sentence and ends without a full stop", r.Name)
	}
	if !strings.HasSuffix(r.About, ".") || !strings.HasSuffix(r.Do, ".") {
		t.Errorf("%s: About and Do are sentences and end with a full stop", r.Name)
	}
	if r.Severity < tallystick.SeverityInfo || r.Severity > tallystick.SeverityCritical {
		t.Errorf("%s: severity %d is out of range", r.Name, r.Severity)
	}
	if u, err := url.Parse(r.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		t.Errorf("%s: %q is not an https URL", r.Name, r.URL)
	}
	if r.Effective.IsZero() || !r.Effective.Equal(r.Effective.UTC().Truncate(24*time.Hour)) {
		t.Errorf("%s: the effective date %v is not a day in UTC", r.Name, r.Effective)
	}
	functions := 0
	for _, set := range []bool{r.Check != nil, r.Survey != nil, r.Use != nil, r.Book != nil, r.Change != nil, r.Wrapping != nil} {
		if set {
			functions++
		}
	}
	if functions != 1 {
		t.Errorf("%s: it has %d functions, not one", r.Name, functions)
	}
}

// Check judges s and checks that the rule is pure: a second look and a look at
// the sightings in another order give the same hits, and s is left as it was.
func Check(t testing.TB, r rule.Rule, s rule.Subject) []rule.Hit {
	t.Helper()
	before := *s.Credential
	hits := r.Check(s)
	if diff := cmp.Diff(hits, r.Check(s)); diff != "" {
		t.Errorf("%s: a second look says otherwise (-first +second):\n%s", r.Name, diff)
	}
	if diff := cmp.Diff(before, *s.Credential); diff != "" {
		t.Errorf("%s: the rule changed the credential (-before +after):\n%s", r.Name, diff)
	}
	s.Sightings = slices.Clone(s.Sightings)
	slices.Reverse(s.Sightings)
	if diff := cmp.Diff(hits, r.Check(s)); diff != "" {
		t.Errorf("%s: the order of the sightings matters (-first +reversed):\n%s", r.Name, diff)
	}
	seen := make(map[tallystick.Place]bool)
	for _, hit := range hits {
		wellFormed(t, r, hit)
		if hit.Credential != "" {
			t.Errorf("%s: a Check leaves Hit.Credential empty", r.Name)
		}
		if seen[hit.Place] {
			t.Errorf("%s: two hits at %q", r.Name, hit.Place)
		}
		seen[hit.Place] = true
	}
	return hits
}

// Survey judges the estate and checks that a second look gives the same hits
// and that an error of the receiver ends the survey and is returned.
func Survey(t testing.TB, r rule.Rule, estate rule.Estate) []rule.Hit {
	t.Helper()
	look := func() (hits []rule.Hit) {
		err := r.Survey(context.Background(), estate, func(hit rule.Hit) error {
			hits = append(hits, hit)
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		return hits
	}
	hits := look()
	if diff := cmp.Diff(hits, look()); diff != "" {
		t.Errorf("%s: a second look says otherwise (-first +second):\n%s", r.Name, diff)
	}
	for _, hit := range hits {
		wellFormed(t, r, hit)
		if hit.Credential == "" {
			t.Errorf("%s: a Survey says whom a hit is about", r.Name)
		}
	}
	if len(hits) > 0 {
		calls := 0
		err := r.Survey(context.Background(), estate, func(rule.Hit) error { calls++; return errStop })
		if !errors.Is(err, errStop) || calls != 1 {
			t.Errorf("%s: the receiver's error gave %v after %d calls, want it back after one", r.Name, err, calls)
		}
	}
	return hits
}

func wellFormed(t testing.TB, r rule.Rule, hit rule.Hit) {
	t.Helper()
	if hit.Evidence == "" || len(hit.Evidence) > 600 || strings.Contains(hit.Evidence, "\n") {
		t.Errorf("%s: evidence is one line of at most 600 bytes: %q", r.Name, hit.Evidence)
	}
	if hit.Severity < 0 || hit.Severity > tallystick.SeverityCritical {
		t.Errorf("%s: severity %d is out of range", r.Name, hit.Severity)
	}
}

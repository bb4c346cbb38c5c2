// SPDX-License-Identifier: Apache-2.0

package ruletest

import (
	"context"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// A recorder notes that a check failed and lets the test go on.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func sound() rule.Rule {
	return rule.Rule{
		Name: "too-blue", Title: "Too blue", About: "It is blue.", Severity: tallystick.SeverityLow,
		Citation: "RFC 1149 section 2", URL: "https://www.rfc-editor.org/rfc/rfc1149",
		Effective: time.Date(1990, 4, 1, 0, 0, 0, 0, time.UTC), Do: "Paint it.",
		Check: func(s rule.Subject) []rule.Hit { return []rule.Hit{{Evidence: "blue"}} },
	}
}

func TestDescribed(t *testing.T) {
	for what, spoil := range map[string]func(*rule.Rule){
		"":            func(*rule.Rule) {},
		"name":        func(r *rule.Rule) { r.Name = "TooBlue" },
		"title":       func(r *rule.Rule) { r.Title = "Too blue." },
		"about":       func(r *rule.Rule) { r.About = "" },
		"two lines":   func(r *rule.Rule) { r.Do = "Paint\nit." },
		"severity":    func(r *rule.Rule) { r.Severity = 0 },
		"citation":    func(r *rule.Rule) { r.Citation = "" },
		"url":         func(r *rule.Rule) { r.URL = "RFC 1149" },
		"effective":   func(r *rule.Rule) { r.Effective = time.Time{} },
		"hour":        func(r *rule.Rule) { r.Effective = r.Effective.Add(time.Hour) },
		"no function": func(r *rule.Rule) { r.Check = nil },
		"both functions": func(r *rule.Rule) {
			r.Survey = func(context.Context, rule.Estate, func(rule.Hit) error) error { return nil }
		},
	} {
		r, rec := sound(), &recorder{TB: t}
		spoil(&r)
		Described(rec, r)
		if rec.failed != (what != "") {
			t.Errorf("%q: failed is %v", what, rec.failed)
		}
	}
}

func TestCheck(t *testing.T) {
	calls := 0
	for what, check := range map[string]func(rule.Subject) []rule.Hit{
		"":             func(rule.Subject) []rule.Hit { return []rule.Hit{{Evidence: "blue"}} },
		"no evidence":  func(rule.Subject) []rule.Hit { return []rule.Hit{{}} },
		"a credential": func(rule.Subject) []rule.Hit { return []rule.Hit{{Evidence: "blue", Credential: "a1"}} },
		"twice":        func(rule.Subject) []rule.Hit { return []rule.Hit{{Evidence: "blue"}, {Evidence: "green"}} },
		"a memory":     func(rule.Subject) []rule.Hit { calls++; return make([]rule.Hit, 0, calls)[:calls%2] },
		"a write":      func(s rule.Subject) []rule.Hit { s.Credential.Subject += "x"; return nil },
		"the order":    func(s rule.Subject) []rule.Hit { return []rule.Hit{{Evidence: string(s.Sightings[0].Place)}} },
	} {
		r, rec := sound(), &recorder{TB: t}
		r.Check = check
		Check(rec, r, rule.Subject{
			Credential: &tallystick.Credential{},
			Sightings:  []tallystick.Sighting{{Place: "file:///a"}, {Place: "file:///b"}},
		})
		if rec.failed != (what != "") {
			t.Errorf("%q: failed is %v", what, rec.failed)
		}
	}
}

func TestSurvey(t *testing.T) {
	for what, survey := range map[string]func(context.Context, rule.Estate, func(rule.Hit) error) error{
		"": func(_ context.Context, _ rule.Estate, hit func(rule.Hit) error) error {
			return hit(rule.Hit{Credential: "a1", Evidence: "blue"})
		},
		"nobody": func(_ context.Context, _ rule.Estate, hit func(rule.Hit) error) error {
			return hit(rule.Hit{Evidence: "blue"})
		},
		"deaf": func(_ context.Context, _ rule.Estate, hit func(rule.Hit) error) error {
			_ = hit(rule.Hit{Credential: "a1", Evidence: "blue"})
			return nil
		},
	} {
		r, rec := sound(), &recorder{TB: t}
		r.Check, r.Survey = nil, survey
		Survey(rec, r, nil)
		if rec.failed != (what != "") {
			t.Errorf("%q: failed is %v", what, rec.failed)
		}
	}
}

func TestUse(t *testing.T) {
	calls := 0
	for what, judge := range map[string]func(rule.UseSubject) []rule.Hit{
		"":               func(rule.UseSubject) []rule.Hit { return []rule.Hit{{Evidence: "blue"}} },
		"no evidence":    func(rule.UseSubject) []rule.Hit { return []rule.Hit{{}} },
		"a credential":   func(rule.UseSubject) []rule.Hit { return []rule.Hit{{Evidence: "blue", Credential: "a1"}} },
		"twice":          func(rule.UseSubject) []rule.Hit { return []rule.Hit{{Evidence: "blue"}, {Evidence: "blue"}} },
		"a memory":       func(rule.UseSubject) []rule.Hit { calls++; return make([]rule.Hit, 0, calls)[:calls%2] },
		"a write":        func(s rule.UseSubject) []rule.Hit { s.Profile.Uses++; return nil },
		"a deep write":   func(s rule.UseSubject) []rule.Hit { s.Profile.Stays[0].To = time.Now(); return nil },
		"a credential's": func(s rule.UseSubject) []rule.Hit { s.Credential.Subject += "x"; return nil },
		"each use":       func(s rule.UseSubject) []rule.Hit { return []rule.Hit{{Evidence: s.Use.RelyingParty}} },
	} {
		r, rec := sound(), &recorder{TB: t}
		r.Check, r.Use = nil, judge
		Use(rec, r, rule.UseSubject{
			Use: &tallystick.Use{RelyingParty: "https:a"}, Credential: &tallystick.Credential{}, Profile: &rule.Profile{Stays: make([]rule.Stay, 1)},
		})
		if rec.failed != (what != "") {
			t.Errorf("%q: failed is %v", what, rec.failed)
		}
	}
}

func TestBookAndChange(t *testing.T) {
	r, rec := sound(), &recorder{TB: t}
	r.Book = func(s rule.BookSubject) []rule.Hit { return []rule.Hit{{Evidence: s.Now.String()}} }
	if Book(rec, r, rule.BookSubject{}); !rec.failed {
		t.Error("a text that changes by the minute was let pass")
	}
	r, rec = sound(), &recorder{TB: t}
	r.Change = func(s rule.ChangeSubject) []rule.Hit { s.Near[0].Grants[0] = "less"; return nil }
	if Change(rec, r, rule.ChangeSubject{Change: &tallystick.Change{}, Near: []tallystick.Change{{Grants: []string{"more"}}}}); !rec.failed {
		t.Error("a write was let pass")
	}
}

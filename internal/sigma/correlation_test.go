// SPDX-License-Identifier: Apache-2.0

package sigma_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/sigma"
)

const single = `
---
title: Failed
name: fail
logsource: {product: aws, service: cloudtrail}
detection: {s: {F: fail}, condition: s}
---
title: Good
name: good
logsource: {product: aws, service: cloudtrail}
detection: {s: {F: good}, condition: s}
`

const many = `
---
title: Many failed
name: many
correlation:
    type: event_count
    rules: [fail]
    group-by: [user, host]
    timespan: 1m
    condition: {gte: 2}
`

// A timed event is one line of a test.
type timed struct {
	at     time.Time
	record *sigma.Record
}

func clock(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", "2026-11-20 "+text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// set compiles rules into a set.
func set(t testing.TB, text string, options sigma.SetOptions) *sigma.Set {
	t.Helper()
	rules, err := sigma.Compile([]byte(text), sigma.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sigma.NewSet(rules, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shown writes a hit as the tests do.
func shown(h sigma.Hit) string {
	var group []string
	for _, g := range h.Group {
		group = append(group, g.Field+"="+strings.Join(g.Values, "+"))
	}
	return fmt.Sprintf("hit %s %s %v %s", h.Time.Format(time.TimeOnly), h.From.Format(time.TimeOnly), h.Value, strings.Join(group, ","))
}

// run gives the hits of correlations.
func run(s *sigma.Set, events []timed) (hits []string) {
	for _, e := range events {
		for _, h := range s.Event(e.record, e.at) {
			if h.Event == nil {
				hits = append(hits, shown(h))
			}
		}
	}
	for _, h := range s.Flush() {
		hits = append(hits, shown(h))
	}
	return hits
}

// Whatever the order of events is, the hits are the same within the tolerance.
func TestCorrelations(t *testing.T) {
	for _, file := range archive(t, "testdata/correlations.txt") {
		t.Run(file.Name, func(t *testing.T) {
			rules := "title: C\n"
			var events []timed
			var want []string
			for line := range strings.Lines(string(file.Data)) {
				switch {
				case strings.HasPrefix(line, "hit "):
					want = append(want, strings.TrimSuffix(line, "\n"))
				case strings.HasPrefix(line, "10:"):
					at, json, _ := strings.Cut(line, " ")
					events = append(events, timed{clock(t, at), sigma.NewRecord(json, "cloudtrail")})
				default:
					rules += line
				}
			}
			rules += single
			if strings.Contains(rules, "[many") {
				rules += many
			}
			if diff := cmp.Diff(want, run(set(t, rules, sigma.SetOptions{}), events)); diff != "" {
				t.Errorf("in order: (-want +got)\n%s", diff)
			}
			for seed := range uint64(20) {
				shuffled := slices.Clone(events)
				rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				s := set(t, rules, sigma.SetOptions{Tolerance: time.Hour})
				if diff := cmp.Diff(want, run(s, shuffled)); diff != "" || len(s.Losses()) > 0 {
					t.Errorf("in another order: %v (-want +got)\n%s", s.Losses(), diff)
				}
			}
		})
	}
}

// Rules that a correlation relates are quiet unless it says otherwise.
func TestRelatedRulesAreQuiet(t *testing.T) {
	event := sigma.NewRecord(`{"F":"fail","user":"a","host":"h"}`, "cloudtrail")
	for _, c := range []struct {
		rules string
		hits  int
	}{{"title: U" + single[strings.Index(single, "\nlogsource"):], 1}, {"title: C" + many[strings.Index(many, "\nname"):] + single, 0},
		{"title: C" + many[strings.Index(many, "\nname"):] + "    generate: true\n" + single, 1}} {
		if hits := set(t, c.rules, sigma.SetOptions{}).Event(event, clock(t, "10:00:00")); len(hits) != c.hits {
			t.Errorf("%d hits, not %d, of %s", len(hits), c.hits, c.rules)
		}
	}
}

const spray = `
title: Spray
correlation:
    type: value_count
    rules: [fail]
    group-by: [ip]
    timespan: 1m
    condition: {field: user, gte: 100}
`

// What does not fit within the bounds is counted, and what fits still works.
func TestBoundsAreReported(t *testing.T) {
	event := func(ip, user int) *sigma.Record {
		return sigma.NewRecord(fmt.Sprintf(`{"F":"fail","ip":%d,"user":%d}`, ip, user), "cloudtrail")
	}
	start := clock(t, "10:00:00")
	s := set(t, spray+single, sigma.SetOptions{MaxGroups: 10})
	for ip := range 15 {
		s.Event(event(ip, 0), start)
	}
	if lost := s.Losses(); len(lost) != 1 || lost[0].Full != 5 || lost[0].Rule.Title != "Spray" {
		t.Errorf("groups: %+v", lost)
	}
	s = set(t, spray+single, sigma.SetOptions{MaxHeld: 50})
	for user := range 60 {
		s.Event(event(1, user), start)
	}
	if lost := s.Losses(); len(lost) != 1 || lost[0].Full != 10 {
		t.Errorf("values: %+v", lost)
	}
	// Once the timespan is over there is room again.
	s.Event(event(2, 0), start.Add(2*time.Minute))
	if lost := s.Losses(); lost[0].Full != 10 {
		t.Errorf("afterwards: %+v", lost)
	}
	s.Event(event(2, 0), start)
	if lost := s.Losses(); lost[0].Late != 1 {
		t.Errorf("late: %+v", lost)
	}
}

func TestCorrelationsRefused(t *testing.T) {
	for _, c := range []struct{ rules, want string }{
		{"title: C\ncorrelation: {type: event_count, rules: [nobody], timespan: 1m, condition: {gte: 1}}\n",
			`rule:2:1: rule "C": there is no rule with name or id "nobody", or it was refused`},
		{"title: C\nname: c\ncorrelation: {type: event_count, rules: [c], timespan: 1m, condition: {gte: 1}}\n",
			`rule:3:1: rule "C": rule "c": it relates itself`},
		{"title: C\ncorrelation: {type: temporal, rules: [many, good], timespan: 1m, group-by: [ip]}\n" + single + many,
			`rule:2:1: rule "C": field "ip" is not in the group-by of rule "many", which is a correlation`},
		{"title: C\ncorrelation: {type: temporal, rules: [fail, good], timespan: 1m, group-by: [x], aliases: {x: {fail: y}}}\n" + single,
			`rule:2:1: rule "C": an alias has no field for rule "good"`},
		{"title: C\ncorrelation: {type: temporal, rules: [fail, good], timespan: 1m}\n" + single + single,
			`rule:2:1: rule "C": more than one rule has the name or id "fail"`},
	} {
		rules, err := sigma.Compile([]byte(c.rules), sigma.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sigma.NewSet(rules, sigma.SetOptions{}); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

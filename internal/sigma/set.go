// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"slices"
	"time"
)

// DefaultTolerance is how far events of one stream are usually out of order.
const DefaultTolerance = 2 * time.Minute

// SetOptions bound what a Set remembers. The zero value is safe.
type SetOptions struct {
	// Tolerance is how much later than a younger event an event can come and
	// still take part in correlations. Until it has passed a correlation is not
	// judged: events with distinct times that are in disorder by less than this
	// give the same hits in any order.
	Tolerance time.Duration
	// MaxGroups bounds the groups of correlations that are open at once; 0 is 100,000.
	MaxGroups int
	// MaxHeld bounds the events and values that correlations remember; 0 is 1,000,000.
	MaxHeld int
}

// A Hit is an event that a rule matches, or events that a correlation relates.
type Hit struct {
	Rule  *Rule
	Time  time.Time // of the event, or of the one that completed the correlation
	Event Event     // nil for a correlation

	// Of a correlation: its first event, what its events have in common, and
	// what the condition was compared with.
	From  time.Time
	Group []GroupValue
	Value float64
}

// A GroupValue is a field that the events of a correlation have in common.
type GroupValue struct {
	Field  string
	Values []string
}

// A Loss is what a correlation could not take into account.
type Loss struct {
	Rule *Rule
	// Late counts events that came later than the tolerance or that have no time;
	// Full counts those for which there was no room within MaxGroups and MaxHeld.
	Late, Full int64
}

// A Set evaluates many rules over a stream of events. It belongs to one
// goroutine, except that its rules can be shared by several sets.
type Set struct {
	rules  []*Rule
	quiet  []bool // only there for a correlation
	groups []ruleGroup
	seen   []uint64 // by rule: the number of the event that it was last tried on
	events uint64
	stream stream
}

// A ruleGroup are the rules of one log source.
type ruleGroup struct {
	source LogSource
	always []int // tried on every event
	byText []textIndex
}

// A textIndex finds rules by a value that a field must have.
type textIndex struct {
	field  *field
	as     comparison
	values map[string][]int
}

// NewSet returns a set of rules. The error, a Refusals, has every correlation
// that cannot find its rules; the set works without them.
func NewSet(rules []*Rule, options SetOptions) (*Set, error) {
	s := &Set{rules: rules, quiet: make([]bool, len(rules)), seen: make([]uint64, len(rules))}
	for i, r := range rules {
		if r.matches != nil {
			s.index(i, r)
		}
	}
	refused := s.correlate(options)
	if len(refused) > 0 {
		return s, refused
	}
	return s, nil
}

// index files a rule under the values that an event must have for it.
func (s *Set) index(i int, r *Rule) {
	at := slices.IndexFunc(s.groups, func(g ruleGroup) bool { return g.source == r.LogSource })
	if at < 0 {
		at = len(s.groups)
		s.groups = append(s.groups, ruleGroup{source: r.LogSource})
	}
	g := &s.groups[at]
	anchors, ok := r.matches.anchors()
	if !ok {
		g.always = append(g.always, i)
		return
	}
	for _, a := range anchors {
		at := slices.IndexFunc(g.byText, func(x textIndex) bool { return x.field.key == a.field.key && x.as == a.as })
		if at < 0 {
			at = len(g.byText)
			g.byText = append(g.byText, textIndex{field: a.field, as: a.as, values: map[string][]int{}})
		}
		if list := g.byText[at].values[a.value]; len(list) == 0 || list[len(list)-1] != i {
			g.byText[at].values[a.value] = append(list, i)
		}
	}
}

// Event evaluates the rules over an event that happened at a time, and returns
// the hits: of rules in their order, then of correlations.
func (s *Set) Event(e Event, at time.Time) []Hit {
	matched := s.match(newView(e))
	var hits []Hit
	for _, i := range matched {
		if !s.quiet[i] {
			hits = append(hits, Hit{Rule: s.rules[i], Time: at, Event: e})
		}
	}
	return append(hits, s.stream.event(e, at, matched)...)
}

// match returns the rules that an event fits, in their order.
func (s *Set) match(v *view) []int {
	s.events++
	sources := v.event.LogSources()
	var matched []int
	try := func(i int) {
		if s.seen[i] != s.events {
			s.seen[i] = s.events
			if s.rules[i].match(v) {
				matched = append(matched, i)
			}
		}
	}
	for g := range s.groups {
		group := &s.groups[g]
		if !slices.ContainsFunc(sources, group.source.Covers) {
			continue
		}
		for _, i := range group.always {
			try(i)
		}
		for x := range group.byText {
			index := &group.byText[x]
			for _, value := range v.field(index.field).as(index.as) {
				for _, i := range index.values[value] {
					try(i)
				}
			}
		}
	}
	slices.Sort(matched)
	return matched
}

// Flush judges all that correlations still wait for, at the end of a stream.
func (s *Set) Flush() []Hit { return s.stream.flush() }

// Losses returns what correlations could not take into account so far. A
// correlation that lost something may have missed a hit.
func (s *Set) Losses() []Loss { return s.stream.losses() }

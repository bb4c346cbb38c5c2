// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"container/heap"
	"math"
	"slices"
	"time"
)

// A group is the events of a relation that have the same values in its group-by
// fields, as far as they can still decide something.
type group struct {
	key         string
	values      []GroupValue
	first, last time.Time
	held        int // how much of stream.held is its

	count   int
	sum     float64
	entries []entry              // of event_count and value_sum, within the timespan
	latest  map[string]time.Time // of value_count: when a value was there last
	numbers []float64            // of percentiles
	steps   []time.Time          // of temporal: when each rule matched last; ordered: when the steps up to it began
}

// An entry is an event that counts.
type entry struct {
	at     time.Time
	number float64
}

// judge takes an occurrence whose time has come.
func (s *stream) judge(o occurrence) {
	r := o.relation
	c := r.rule.Correlation
	if !o.ok {
		return // it has none of the values that are counted
	}
	var numbers []float64
	if c.Type == "value_sum" || !c.rising() && c.Type != "value_count" && c.Type != "event_count" {
		for _, value := range o.values {
			if n, ok := number(value); ok {
				numbers = append(numbers, n)
			}
		}
		if len(numbers) == 0 {
			return
		}
	}
	g := s.open(o)
	if g == nil {
		r.loss.Full++
		return
	}
	g.last = o.at
	if c.rising() {
		if from, value, ok := s.slide(o, g, numbers); ok && holds(c, value, len(c.Rules)) {
			s.forget(r, g)
			s.hit(r, g, from, o.at, value)
		}
		return
	}
	s.collect(o, g, numbers)
}

// holds says whether all comparisons are true. A temporal correlation without
// one wants all of its rules.
func holds(c *Correlation, value float64, rules int) bool {
	if len(c.Limits) == 0 {
		return value == float64(rules)
	}
	return !slices.ContainsFunc(c.Limits, func(l Limit) bool { return !l.holds(value) })
}

// open returns the group of an occurrence, or nil when there is no room.
func (s *stream) open(o occurrence) *group {
	r := o.relation
	if g := r.groups[o.key]; g != nil {
		return g
	}
	if s.groups >= s.maxGroups {
		return nil
	}
	g := &group{key: o.key, values: o.group, first: o.at, last: o.at}
	r.groups[o.key] = g
	s.groups++
	heap.Push(&s.closing, closing{at: o.at.Add(r.rule.Correlation.Timespan), relation: r, group: g})
	return g
}

// hold counts what a group remembers; it is false when there is no room.
func (s *stream) hold(r *relation, g *group, n int) bool {
	if n > 0 && s.held+n > s.maxHeld {
		r.loss.Full++
		return false
	}
	s.held += n
	g.held += n
	return true
}

// forget drops a group.
func (s *stream) forget(r *relation, g *group) {
	if r.groups[g.key] == g {
		delete(r.groups, g.key)
		s.groups--
		s.held -= g.held
		g.held = 0
	}
}

// close judges a window that has ended, and forgets a group in which nothing
// happened for as long as the correlation looks back.
func (s *stream) close(c closing) {
	r, g := c.relation, c.group
	if r.groups[g.key] != g {
		return // a hit has ended it
	}
	correlation := r.rule.Correlation
	if correlation.rising() {
		if end := g.last.Add(correlation.Timespan); end.After(c.at) {
			c.at = end
			heap.Push(&s.closing, c)
			return
		}
		s.forget(r, g)
		return
	}
	value := g.result(correlation)
	s.forget(r, g)
	if holds(correlation, value, 0) {
		s.hit(r, g, g.first, c.at, value)
	}
}

// result is what the condition of a window is compared with.
func (g *group) result(c *Correlation) float64 {
	switch c.Type {
	case "event_count":
		return float64(g.count)
	case "value_count":
		return float64(len(g.latest))
	case "value_sum":
		return g.sum
	case "value_avg":
		return g.sum / float64(g.count)
	}
	// The nearest rank: the smallest value that is not below this share of all.
	slices.Sort(g.numbers)
	rank := int(math.Ceil(c.Percentile / 100 * float64(len(g.numbers))))
	return g.numbers[max(0, rank-1)]
}

// collect adds to a window that is judged at its end.
func (s *stream) collect(o occurrence, g *group, numbers []float64) {
	switch c := o.relation.rule.Correlation; c.Type {
	case "event_count":
		g.count++
	case "value_count":
		s.value(o, g)
	case "value_sum", "value_avg":
		for _, n := range numbers {
			g.sum += n
			g.count++
		}
	default:
		if s.hold(o.relation, g, len(numbers)) {
			g.numbers = append(g.numbers, numbers...)
		}
	}
}

// value remembers when a value was there.
func (s *stream) value(o occurrence, g *group) {
	key := groupKey([]GroupValue{{Values: o.values}})
	if g.latest == nil {
		g.latest = map[string]time.Time{}
	}
	if _, ok := g.latest[key]; ok || s.hold(o.relation, g, 1) {
		g.latest[key] = o.at
	}
}

// slide adds to the events within the timespan before this one. It returns when
// the first of them was and what the condition is compared with; ok is false
// when nothing can have come true.
func (s *stream) slide(o occurrence, g *group, numbers []float64) (from time.Time, value float64, ok bool) {
	c := o.relation.rule.Correlation
	since := o.at.Add(-c.Timespan)
	switch c.Type {
	case "event_count", "value_sum":
		return s.slideEntries(o, g, numbers, since)
	case "value_count":
		s.value(o, g)
		if !holds(c, float64(len(g.latest)), 0) {
			return from, 0, false
		}
		from = o.at
		for key, at := range g.latest {
			if at.Before(since) {
				delete(g.latest, key)
				s.hold(o.relation, g, -1)
			} else if at.Before(from) {
				from = at
			}
		}
		return from, float64(len(g.latest)), true
	}
	if g.steps == nil {
		g.steps = make([]time.Time, len(c.Rules))
	}
	if c.Type == "temporal_ordered" {
		return g.ordered(o, since)
	}
	g.steps[o.input] = o.at
	from = o.at
	for _, at := range g.steps {
		if !at.IsZero() && !at.Before(since) {
			value++
			if at.Before(from) {
				from = at
			}
		}
	}
	return from, value, true
}

func (s *stream) slideEntries(o occurrence, g *group, numbers []float64, since time.Time) (from time.Time, value float64, ok bool) {
	e := entry{at: o.at}
	for _, n := range numbers {
		e.number += n
	}
	if !s.hold(o.relation, g, 1) {
		return from, 0, false
	}
	g.entries = append(g.entries, e)
	g.sum += e.number
	for g.entries[0].at.Before(since) {
		g.sum -= g.entries[0].number
		g.entries = g.entries[1:]
		s.hold(o.relation, g, -1)
	}
	value = float64(len(g.entries))
	if o.relation.rule.Correlation.Type == "value_sum" {
		value = g.sum
	}
	return g.entries[0].at, value, true
}

// ordered takes a step: it continues the way that began last and still counts.
func (g *group) ordered(o occurrence, since time.Time) (from time.Time, value float64, ok bool) {
	began := o.at
	if o.input > 0 {
		began = g.steps[o.input-1]
		if began.IsZero() || began.Before(since) {
			return from, 0, false
		}
	}
	g.steps[o.input] = began
	if o.input < len(g.steps)-1 {
		return from, 0, false
	}
	return began, float64(len(g.steps)), true
}

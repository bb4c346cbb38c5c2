// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"
)

// A stream judges correlations in the order of the events' own times.
//
// What matches is held back in waiting until no earlier event can come. Every
// open group has one entry in closing, at the time when it is to be judged or
// forgotten; entries come up in the order of time among the events, so that a
// correlation of correlations sees all of them in order.
type stream struct {
	tolerance time.Duration
	maxGroups int
	maxHeld   int

	relations []*relation
	above     [][]above // by rule
	waiting   occurrences
	closing   closings
	groups    int // open
	held      int // events and values that are remembered
	number    uint64
	events    uint64
	newest    time.Time
	reached   time.Time // all before is judged
	hits      []Hit
}

// An occurrence is a match that is an input of a relation.
type occurrence struct {
	at     time.Time
	number uint64 // breaks ties of time by the order of arrival
	above
	key    string // of the group
	group  []GroupValue
	values []string
	ok     bool // all of the relation's fields were there
}

func newStream(options SetOptions, rules int) stream {
	return stream{tolerance: max(0, options.Tolerance), maxGroups: cmp.Or(options.MaxGroups, 100_000), maxHeld: cmp.Or(options.MaxHeld, 1_000_000),
		above: make([][]above, rules)}
}

// event takes the rules that an event matched.
func (s *stream) event(e Event, at time.Time, matched []int) []Hit {
	if len(s.relations) == 0 {
		return nil
	}
	s.events++
	if at.After(s.newest) {
		s.newest = at
	}
	s.advance(s.newest.Add(-s.tolerance)) // which makes room
	v := newView(e)
	// The last rule of an ordered relation comes first: one event is not two steps.
	var found []above
	for _, i := range matched {
		found = append(found, s.above[i]...)
	}
	slices.SortStableFunc(found, func(a, b above) int { return b.input - a.input })
	for _, a := range found {
		if !strings.HasPrefix(a.relation.rule.Correlation.Type, "temporal") {
			if a.relation.last == s.events {
				continue // it counts events, and this one is counted
			}
			a.relation.last = s.events
		}
		s.wait(occurrenceOf(v, a, at))
	}
	s.advance(s.newest.Add(-s.tolerance))
	return s.take()
}

// occurrenceOf looks up what the relation wants of the event.
func occurrenceOf(v *view, a above, at time.Time) occurrence {
	o := occurrence{at: at, above: a, ok: true}
	in := a.relation.inputs[a.input]
	for i, f := range in.groupBy {
		o.group = append(o.group, GroupValue{Field: a.relation.rule.Correlation.GroupBy[i], Values: cloned(v.field(f).values)})
	}
	for _, f := range in.fields {
		values := v.field(f).values
		o.ok = o.ok && len(values) > 0
		o.values = append(o.values, cloned(values)...)
	}
	o.key = groupKey(o.group)
	return o
}

// cloned copies texts, so that what is remembered of a record does not keep all of it.
func cloned(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.Clone(s)
	}
	return out
}

// groupKey makes one text of the values, which compare without case as in rules.
func groupKey(group []GroupValue) string {
	var b strings.Builder
	for _, g := range group {
		for _, value := range g.Values {
			value = fold(value)
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(value, "\\", "\\\\"), "\x00", "\\0"))
			b.WriteByte(0)
		}
		b.WriteString("\x00")
	}
	return b.String()
}

// wait holds an occurrence back until its time has come.
func (s *stream) wait(o occurrence) {
	switch {
	case o.at.Before(s.reached) || o.at.IsZero():
		o.relation.loss.Late++
	case s.held >= s.maxHeld:
		o.relation.loss.Full++
	default:
		s.number++
		s.held++
		o.number = s.number
		heap.Push(&s.waiting, o)
	}
}

// advance judges everything up to a time.
func (s *stream) advance(to time.Time) {
	for {
		isOccurrence := len(s.waiting) > 0 && !s.waiting[0].at.After(to)
		isClosing := len(s.closing) > 0 && s.closing[0].at.Before(to)
		if isOccurrence && isClosing {
			// A window includes its last moment.
			isOccurrence = !s.waiting[0].at.After(s.closing[0].at)
		}
		switch {
		case isOccurrence:
			o := heap.Pop(&s.waiting).(occurrence)
			s.held--
			s.reach(o.at)
			s.judge(o)
		case isClosing:
			c := heap.Pop(&s.closing).(closing)
			s.reach(c.at)
			s.close(c)
		default:
			s.reach(to)
			return
		}
	}
}

func (s *stream) reach(at time.Time) {
	if at.After(s.reached) {
		s.reached = at
	}
}

// flush judges everything.
func (s *stream) flush() []Hit {
	for len(s.waiting) > 0 || len(s.closing) > 0 {
		to := s.reached
		for _, o := range s.waiting {
			to = later(to, o.at)
		}
		for _, c := range s.closing {
			to = later(to, c.at.Add(1))
		}
		s.advance(to)
	}
	return s.take()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// take returns the hits since the last time.
func (s *stream) take() []Hit {
	hits := s.hits
	s.hits = nil
	return hits
}

// hit reports that a relation holds, and gives it to those above it.
func (s *stream) hit(r *relation, g *group, from, at time.Time, value float64) {
	if !r.quiet {
		s.hits = append(s.hits, Hit{Rule: r.rule, Time: at, From: from, Group: g.values, Value: value})
	}
	for _, a := range slices.Backward(r.above) {
		o := occurrence{at: at, above: a, ok: true}
		for _, name := range a.relation.rule.Correlation.GroupBy {
			i := slices.IndexFunc(g.values, func(v GroupValue) bool { return v.Field == name })
			o.group = append(o.group, g.values[i])
		}
		o.key = groupKey(o.group)
		s.judge(o)
	}
}

// losses returns what each relation could not take.
func (s *stream) losses() (all []Loss) {
	for _, r := range s.relations {
		if r.loss.Late+r.loss.Full > 0 {
			all = append(all, r.loss)
		}
	}
	return all
}

// occurrences is a heap by time.
type occurrences []occurrence

func (o occurrences) Len() int      { return len(o) }
func (o occurrences) Swap(i, j int) { o[i], o[j] = o[j], o[i] }
func (o occurrences) Less(i, j int) bool {
	if !o[i].at.Equal(o[j].at) {
		return o[i].at.Before(o[j].at)
	}
	return o[i].number < o[j].number
}
func (o *occurrences) Push(x any) { *o = append(*o, x.(occurrence)) }
func (o *occurrences) Pop() any {
	last := len(*o) - 1
	x := (*o)[last]
	(*o)[last] = occurrence{}
	*o = (*o)[:last]
	return x
}

// A closing is when a group is to be judged or forgotten.
type closing struct {
	at       time.Time
	relation *relation
	group    *group
}

// closings is a heap by time, and by what the group is for one time.
type closings []closing

func (c closings) Len() int      { return len(c) }
func (c closings) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c closings) Less(i, j int) bool {
	if !c[i].at.Equal(c[j].at) {
		return c[i].at.Before(c[j].at)
	}
	return c[i].group.key < c[j].group.key
}
func (c *closings) Push(x any) { *c = append(*c, x.(closing)) }
func (c *closings) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	(*c)[last] = closing{}
	*c = (*c)[:last]
	return x
}

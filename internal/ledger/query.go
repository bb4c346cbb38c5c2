// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A Query says which uses are wanted; what is zero does not restrict.
type Query struct {
	// Names are names of credentials, in any form that compares; a use with any of
	// them is wanted.
	Names []string
	// From and To bound the time; To is not included.
	From, To     time.Time
	Side         tallystick.Side
	Source       string
	RelyingParty string
}

// Scan calls fn with the uses that a query asks for, in the order of their time,
// those of one time in an order that does not change. It sees all that was
// appended before it was called. An error of fn ends it and is returned as it is.
//
// Memory: a query by name holds what it finds in the segments of one time, one
// without names a segment for each that overlaps in time, about 75 MB each.
func (l *Ledger) Scan(ctx context.Context, q Query, fn func(*tallystick.Use) error) error {
	s := l.newScan(ctx, &q)
	defer s.close()
	for {
		r, t, err := s.next()
		if err != nil {
			return fmt.Errorf("couldn't read the ledger: %w", err)
		}
		if r == nil {
			return nil
		}
		if err := fn(t.use(r)); err != nil {
			return err
		}
	}
}

// A scan merges the tables and the segments that have something.
type scan struct {
	ctx      context.Context
	ledger   *Ledger
	key      *hashKey
	q        *Query
	hashes   []uint64 // of the names, nil for all
	normal   map[string]bool
	from, to int64

	waiting []Segment // by their first time; not read yet
	runs    runs
}

// A run is rows in order.
type run struct {
	t    *table
	rows []uint32
}

func (r *run) head() *row { return r.t.rows.at(int(r.rows[0])) }

// runs is a heap by the next row.
type runs []*run

func (r runs) Len() int           { return len(r) }
func (r runs) Less(i, j int) bool { return r[i].head().compare(r[j].head()) < 0 }
func (r runs) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(x any)        { *r = append(*r, x.(*run)) }
func (r *runs) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

func (l *Ledger) newScan(ctx context.Context, q *Query) *scan {
	l.mu.Lock()
	m, full, visible := l.manifest, l.full, l.visible
	l.mu.Unlock()
	s := &scan{ctx: ctx, ledger: l, key: &m.Key, q: q, from: micro(q.From, minTime), to: micro(q.To, maxTime)}
	if len(q.Names) > 0 {
		s.hashes, s.normal = []uint64{}, map[string]bool{}
		for _, name := range q.Names {
			name = tallystick.NormalName(name)
			s.normal[name] = true
			s.hashes = append(s.hashes, s.key.text(digest{}, name).a)
		}
	}
	for i := range m.Segments {
		if one := &m.Segments[i]; one.First < s.to && s.from <= one.Last {
			s.waiting = append(s.waiting, *one)
		}
	}
	slices.SortStableFunc(s.waiting, func(a, b Segment) int { return cmp.Compare(a.First, b.First) })
	for _, f := range full {
		s.addTable(f.table)
	}
	s.addTable(visible)
	return s
}

func (s *scan) close() { s.runs, s.waiting = nil, nil }

// next returns the next row and its table, nil at the end.
func (s *scan) next() (*row, *table, error) {
	for len(s.waiting) > 0 && (len(s.runs) == 0 || s.waiting[0].First <= s.runs[0].head().at) {
		if err := s.ctx.Err(); err != nil {
			return nil, nil, err
		}
		if err := s.addSegment(&s.waiting[0]); err != nil {
			return nil, nil, err
		}
		s.waiting = s.waiting[1:]
	}
	if len(s.runs) == 0 {
		return nil, nil, s.ctx.Err()
	}
	first := s.runs[0]
	r := first.head()
	if first.rows = first.rows[1:]; len(first.rows) == 0 {
		heap.Pop(&s.runs)
	} else {
		heap.Fix(&s.runs, 0)
	}
	return r, first.t, nil
}

// addSegment reads what a segment has of the query.
func (s *scan) addSegment(one *Segment) error {
	o, err := s.ledger.segment(one)
	if o == nil {
		return err
	}
	defer s.ledger.cache.giveBack(o)
	ranges, err := o.ranges(s.hashes, s.from, s.to)
	if err != nil || len(ranges) == 0 {
		return err
	}
	t, err := o.load(s.ctx, s.key, ranges, s.from, s.to)
	if err != nil {
		return err
	}
	s.addTable(t)
	return nil
}

// addTable adds the rows of a table that the query wants.
func (s *scan) addTable(t *table) {
	if t.rows.n == 0 || t.minAt >= s.to || t.maxAt < s.from {
		return
	}
	kinds, lists := s.wantedKinds(t), s.wantedLists(t)
	var rows []uint32
	for i := range t.rows.n {
		if r := t.rows.at(i); s.from <= r.at && r.at < s.to && kinds[r.kind] && (lists == nil || lists[r.names]) {
			rows = append(rows, uint32(i))
		}
	}
	if len(rows) == 0 {
		return
	}
	t.sortByTime(rows)
	heap.Push(&s.runs, &run{t, rows})
}

func (s *scan) wantedKinds(t *table) []bool {
	wanted := make([]bool, len(t.kinds))
	for i := range t.kinds {
		k := &t.kinds[i]
		wanted[i] = (s.q.Side == "" || string(s.q.Side) == k.side) && (s.q.Source == "" || s.q.Source == k.source) &&
			(s.q.RelyingParty == "" || s.q.RelyingParty == k.relyingParty)
	}
	return wanted
}

// wantedLists compares names, not their hashes.
func (s *scan) wantedLists(t *table) []bool {
	if s.normal == nil {
		return nil
	}
	wanted := make([]bool, len(t.lists))
	for i := range t.lists {
		wanted[i] = slices.ContainsFunc(t.lists[i].normal, func(name string) bool { return s.normal[name] })
	}
	return wanted
}

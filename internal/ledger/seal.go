// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// sealOldest seals the table that has waited longest. Whoever calls it holds
// l.sealing. The order makes a crash at any instant harmless: the files first,
// then the manifest that names them, and the log is removed last.
func (l *Ledger) sealOldest() error {
	l.mu.Lock()
	if len(l.full) == 0 {
		l.mu.Unlock()
		return nil
	}
	full, m := l.full[0], l.manifest.clone()
	l.mu.Unlock()
	if full.rows.n > 0 {
		segment, err := l.writeSegment(full)
		if err != nil {
			return fmt.Errorf("couldn't seal %s: %w", full.wal.name, err)
		}
		m.Segments = append(m.Segments, *segment)
	}
	m.Sealed = full.number
	m.Books = full.books.list()
	if err := m.write(l.files); err != nil {
		return fmt.Errorf("couldn't seal %s: %w", full.wal.name, err)
	}
	l.mu.Lock()
	l.manifest, l.full = m, l.full[1:]
	l.mu.Unlock()
	// A log that cannot be removed is left over, and goes at the next start.
	if err := errors.Join(full.wal.f.Close(), l.files.remove(full.wal.name)); err != nil {
		return fmt.Errorf("couldn't remove %s, which is sealed: %w", full.wal.name, err)
	}
	return nil
}

// list returns the books in a fixed order.
func (b books) list() []*book {
	return slices.SortedFunc(maps.Values(b), func(x, y *book) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Side, y.Side))
	})
}

// writeSegment puts a table on the disk as a segment.
func (l *Ledger) writeSegment(full *fullTable) (*Segment, error) {
	segment := &Segment{Number: full.number, Records: full.rows.n, First: full.minAt, Last: full.maxAt}
	order, groups := full.sorted()
	data, err := full.parquet(order, l.codec)
	if err != nil {
		return nil, err
	}
	index, err := full.index(order, groups)
	if err != nil {
		return nil, err
	}
	segment.Root = merkleRoot(data)
	segment.Bytes = int64(len(data) + len(index))
	if err := writeFile(l.files, segment.Name(), data); err != nil {
		return nil, err
	}
	if err := writeFile(l.files, segment.indexName(), index); err != nil {
		return nil, err
	}
	return segment, noSpace(l.files.sync())
}

// A listGroup is the group of a list of names.
type listGroup struct {
	group
	list uint32
}

// sorted returns the rows by credential and time, and where each credential is.
func (t *table) sorted() (order []uint32, groups []listGroup) {
	counts := make([]uint32, len(t.lists))
	for i := range t.rows.n {
		counts[t.rows.at(i).names]++
	}
	for n, count := range counts {
		if count > 0 {
			groups = append(groups, listGroup{list: uint32(n)})
		}
	}
	slices.SortFunc(groups, func(a, b listGroup) int { return strings.Compare(t.lists[a.list].json, t.lists[b.list].json) })
	start := uint32(0)
	for i := range groups {
		g := &groups[i]
		g.start, g.end = start, start+counts[g.list]
		counts[g.list], start = start, g.end
	}
	order = make([]uint32, t.rows.n)
	for i := range t.rows.n {
		names := t.rows.at(i).names
		order[counts[names]] = uint32(i)
		counts[names]++
	}
	for i := range groups {
		g := &groups[i]
		rows := order[g.start:g.end]
		t.sortByTime(rows)
		g.minAt, g.maxAt = t.rows.at(int(rows[0])).at, t.rows.at(int(rows[len(rows)-1])).at
	}
	return order, groups
}

// sortByTime sorts rows. Most come in order, or a little out of it.
func (t *table) sortByTime(rows []uint32) {
	keys := make([]timeKey, len(rows))
	for i, n := range rows {
		keys[i] = timeKey{t.rows.at(int(n)).at, n}
	}
	compare := func(a, b timeKey) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return t.rows.at(int(a.row)).compare(t.rows.at(int(b.row)))
	}
	if !nearlySort(keys, compare) {
		slices.SortFunc(keys, compare)
	}
	for i, k := range keys {
		rows[i] = k.row
	}
}

type timeKey struct {
	at  int64
	row uint32
}

// nearlySort sorts what is nearly sorted by insertion, and gives up on the rest.
func nearlySort(keys []timeKey, compare func(a, b timeKey) int) bool {
	moves := 16 * len(keys)
	for i := 1; i < len(keys); i++ {
		k, j := keys[i], i
		for ; j > 0 && compare(k, keys[j-1]) < 0; j-- {
			keys[j] = keys[j-1]
			if moves--; moves < 0 {
				keys[j-1] = k
				return false
			}
		}
		keys[j] = k
	}
	return true
}

// index makes the index of the sorted table.
func (t *table) index(order []uint32, list []listGroup) ([]byte, error) {
	groups := make([]group, len(list))
	var names []nameGroup
	for i, g := range list {
		groups[i] = g.group
		for _, name := range t.lists[g.list].normal {
			names = append(names, nameGroup{t.key.text(digest{}, name)[0], uint32(i)})
		}
	}
	sources, err := json.Marshal(t.sources())
	if err != nil {
		return nil, err
	}
	identities := appendIdentities(nil, len(order), func(i int) uint64 { return t.rows.at(i).identity })
	return encodeIndex([sections][]byte{appendGroups(nil, groups), appendNames(nil, names), identities, sources}), nil
}

// sources rolls a table up.
func (t *table) sources() []Source {
	byKind := make([]Source, len(t.kinds))
	for i := range t.rows.n {
		r := t.rows.at(i)
		byKind[r.kind].take(&Source{Records: 1, First: r.at, Last: r.at, FirstSeq: r.seq, LastSeq: r.seq})
	}
	all := map[bookName]*Source{}
	for n := range byKind {
		k := &t.kinds[n]
		name := bookName{k.source, k.side}
		if all[name] == nil {
			all[name] = &Source{Source: k.source, Side: tallystick.Side(k.side)}
		}
		all[name].take(&byKind[n])
	}
	list := []Source{}
	for _, s := range all {
		if s.Records > 0 {
			list = append(list, *s)
		}
	}
	slices.SortFunc(list, func(a, b Source) int { return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Side, b.Side)) })
	return list
}

// take adds what another roll-up has.
func (s *Source) take(o *Source) {
	switch {
	case o.Records == 0:
		return
	case s.Records == 0:
		s.First, s.Last, s.FirstSeq, s.LastSeq = o.First, o.Last, o.FirstSeq, o.LastSeq
	default:
		s.First, s.Last, s.LastSeq = min(s.First, o.First), max(s.Last, o.Last), max(s.LastSeq, o.LastSeq)
		if o.FirstSeq > 0 && (s.FirstSeq == 0 || o.FirstSeq < s.FirstSeq) {
			s.FirstSeq = o.FirstSeq
		}
	}
	s.Records += o.Records
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/tallystick/tallystick"
)

// A sealer makes the files of tables, one after the other; its memory is used
// again for the next. It reads the rows twice: once in their order, for all that
// the index says and to sort them, and once as they are sorted, for the pages.
type sealer struct {
	zstd    *zstd.Codec // keeps its encoders
	columns []column
	chunks  []chunk
	nothing [takeRows]row // rows that have nothing
	touched uint32        // keeps reads ahead from being left out

	t          *table
	has        int // the bits of all its rows
	order      []timeKey
	groups     []listGroup
	identities []uint64
	sources    []Source
	lists      []uint32 // of rows, scratch
	times      []int64  // of rows, scratch
}

func newSealer() *sealer {
	s := &sealer{zstd: &zstd.Codec{Level: zstd.SpeedFastest}, columns: columns()}
	s.chunks = make([]chunk, len(s.columns))
	for i := range s.chunks {
		s.chunks[i].column = &s.columns[i]
	}
	return s
}

// forget lets go of a table.
func (s *sealer) forget() { s.t, s.groups, s.sources = nil, nil, nil }

// read reads what the index needs of a table, and sorts its rows.
func (s *sealer) read(t *table) {
	s.t = t
	s.lists, s.times, s.identities = s.lists[:0], s.times[:0], s.identities[:0]
	counts := make([]uint32, len(t.lists))
	sources := t.newSources()
	var all row
	for i := range t.rows.n {
		r := t.rows.at(i)
		all.or(r)
		s.lists, s.times, s.identities = append(s.lists, r.names), append(s.times, r.at), append(s.identities, r.identity)
		counts[r.names]++
		sources.take(r)
	}
	s.has, s.sources = all.has(), sources.used()
	s.group(counts)
	for i := range s.groups {
		g := &s.groups[i]
		rows := s.order[g.start:g.end]
		t.sortKeys(rows)
		g.minAt, g.maxAt = rows[0].at, rows[len(rows)-1].at
	}
}

// or adds what another row has, for has.
func (r *row) or(o *row) {
	r.address, r.agent, r.operation, r.resource, r.detail = r.address|o.address, r.agent|o.agent, r.operation|o.operation, r.resource|o.resource, r.detail|o.detail
	r.seq, r.port, r.nanos, r.extra = r.seq|o.seq, r.port|o.port, r.nanos|o.nanos, r.extra|o.extra
	for i, f := range o.forms {
		r.forms[i] |= f
	}
}

// has returns which of the things that rows may have this one has.
func (r *row) has() (bits int) {
	for i, n := range [...]uint32{r.address, r.agent, r.operation, r.resource, r.detail} {
		if n != 0 {
			bits |= hasAddress << i
		}
	}
	if r.seq != 0 {
		bits |= hasSeq
	}
	if r.port != 0 {
		bits |= hasPort
	}
	if r.nanos != 0 {
		bits |= hasNanos
	}
	if r.extra != 0 {
		bits |= hasExtra
	}
	for i, f := range r.forms {
		if f != formNone {
			bits |= hasID0 << i
		}
	}
	return bits
}

// A listGroup is the group of a list of names.
type listGroup struct {
	group
	list uint32
}

// group puts the rows of each list of names together, the lists in the order of
// their texts.
func (s *sealer) group(counts []uint32) {
	s.groups = s.groups[:0]
	for _, n := range s.t.sortedLists(counts) {
		s.groups = append(s.groups, listGroup{list: n})
	}
	start := uint32(0)
	for i := range s.groups {
		g := &s.groups[i]
		g.start, g.end = start, start+counts[g.list]
		counts[g.list], start = start, g.end
	}
	s.order = slices.Grow(s.order[:0], len(s.lists))[:len(s.lists)]
	for i, names := range s.lists {
		s.order[counts[names]] = timeKey{s.times[i], uint32(i)}
		counts[names]++
	}
}

// sortedLists returns the lists that have rows, in the order of their texts. Most
// comparisons are of eight letters behind what all texts begin with.
func (t *table) sortedLists(counts []uint32) []uint32 {
	type listKey struct {
		letters uint64
		list    uint32
	}
	var keys []listKey
	common := ""
	for n, count := range counts {
		if count > 0 {
			if len(keys) == 0 {
				common = t.lists[n].json
			}
			common = commonStart(common, t.lists[n].json)
			keys = append(keys, listKey{list: uint32(n)})
		}
	}
	for i := range keys {
		var letters [8]byte
		copy(letters[:], t.lists[keys[i].list].json[len(common):])
		keys[i].letters = binary.BigEndian.Uint64(letters[:])
	}
	slices.SortFunc(keys, func(a, b listKey) int {
		if a.letters != b.letters {
			return cmp.Compare(a.letters, b.letters)
		}
		return strings.Compare(t.lists[a.list].json, t.lists[b.list].json)
	})
	sorted := make([]uint32, len(keys))
	for i, k := range keys {
		sorted[i] = k.list
	}
	return sorted
}

func commonStart(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// sortByTime sorts rows.
func (t *table) sortByTime(rows []uint32) {
	keys := make([]timeKey, len(rows))
	for i, n := range rows {
		keys[i] = timeKey{t.rows.at(int(n)).at, n}
	}
	t.sortKeys(keys)
	for i, k := range keys {
		rows[i] = k.row
	}
}

type timeKey struct {
	at  int64
	row uint32
}

// sortKeys sorts rows by time. Most come in order, or a little out of it: those
// are sorted by insertion.
func (t *table) sortKeys(keys []timeKey) {
	less := func(a, b timeKey) bool { return t.rows.at(int(a.row)).compare(t.rows.at(int(b.row))) < 0 }
	moves := 16 * len(keys)
	for i := 1; i < len(keys); i++ {
		k, j := keys[i], i
		for ; j > 0 && (k.at < keys[j-1].at || k.at == keys[j-1].at && less(k, keys[j-1])); j-- {
			keys[j] = keys[j-1]
			moves--
		}
		keys[j] = k
		if moves < 0 {
			slices.SortFunc(keys, func(a, b timeKey) int {
				return cmp.Or(cmp.Compare(a.at, b.at), t.rows.at(int(a.row)).compare(t.rows.at(int(b.row))))
			})
			return
		}
	}
}

// index makes the index of the table.
func (s *sealer) index() ([]byte, error) {
	groups := make([]group, len(s.groups))
	var names []nameGroup
	for i, g := range s.groups {
		groups[i] = g.group
		for _, hash := range s.t.lists[g.list].hashes {
			names = append(names, nameGroup{hash, uint32(i)})
		}
	}
	sources, err := json.Marshal(s.sources)
	if err != nil {
		return nil, err
	}
	return encodeIndex([sections][]byte{appendGroups(nil, groups), appendNames(nil, names), appendIdentities(nil, s.identities), sources}), nil
}

// sources roll a table up.
type sources struct {
	list []Source
	of   []uint32 // by kind
}

func (t *table) newSources() *sources {
	s := &sources{of: make([]uint32, len(t.kinds))}
	all := map[bookName]uint32{}
	for n := range t.kinds {
		k := &t.kinds[n]
		name := bookName{k.source, k.side}
		at, ok := all[name]
		if !ok {
			at = uint32(len(s.list))
			all[name] = at
			s.list = append(s.list, Source{Source: k.source, Side: tallystick.Side(k.side), First: maxTime, Last: minTime})
		}
		s.of[n] = at
	}
	return s
}

func (s *sources) take(r *row) {
	one := &s.list[s.of[r.kind]]
	one.Records++
	one.First, one.Last, one.LastSeq = min(one.First, r.at), max(one.Last, r.at), max(one.LastSeq, r.seq)
	if r.seq > 0 && (one.FirstSeq == 0 || r.seq < one.FirstSeq) {
		one.FirstSeq = r.seq
	}
}

// used returns the sources that have records, in their order.
func (s *sources) used() []Source {
	s.list = slices.DeleteFunc(s.list, func(one Source) bool { return one.Records == 0 })
	slices.SortFunc(s.list, func(a, b Source) int { return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Side, b.Side)) })
	return s.list
}

// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"slices"

	"github.com/tallystick/tallystick"
)

// A loss is what a book says that it could not write down. It names no
// credential, so it may be of any that the book is about.
type loss struct {
	seq      uint64
	from, to int64 // microseconds
	count    int64
}

func compareLosses(a, b loss) int {
	return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.seq, b.seq), cmp.Compare(a.count, b.count))
}

// lose takes a loss.
func (b *books) lose(u *tallystick.Use) {
	one := &b.list[b.number(u.Source)]
	one.losses = append(one.losses, loss{seq: u.Seq, from: micro(u.Time), to: max(micro(u.Until), micro(u.Time)), count: u.Count})
}

// settleLosses counts the losses, each once however often it was read, and makes
// spans of them that do not meet.
func (b *book) settleLosses() {
	slices.SortFunc(b.losses, compareLosses)
	var spans []loss
	for _, l := range slices.Compact(b.losses) {
		b.lost += l.count
		b.addNumber(l.seq)
		if n := len(spans); n > 0 && l.from <= spans[n-1].to {
			spans[n-1].to = max(spans[n-1].to, l.to)
		} else {
			spans = append(spans, l)
		}
	}
	b.losses = spans
}

// lostIn says whether the book lost uses of a time.
func (b *book) lostIn(from, to int64) bool {
	i, _ := slices.BinarySearchFunc(b.losses, from, func(l loss, at int64) int { return cmp.Compare(l.to, at) })
	return i < len(b.losses) && b.losses[i].from <= to
}

// lossy returns the books that lost uses: those with records of each credential,
// those without a record of any, and all of them.
func (t *Tally) lossy(holderKinds []bool) (of map[uint32][]uint32, silent, all []uint32) {
	type pair struct{ root, book uint32 }
	of, seen := map[uint32][]uint32{}, map[pair]bool{}
	add := func(p pair) {
		if len(t.books.list[p.book].losses) > 0 && !seen[p] {
			seen[p] = true
			of[p.root] = append(of[p.root], p.book)
		}
	}
	for i := range t.kinds.list {
		if k := &t.kinds.list[i]; holderKinds[i] {
			add(pair{t.names.root(k.name), k.source})
		}
	}
	for _, k := range t.assumed {
		add(pair{t.names.root(t.names.add([]string{k.Credential}, false)), t.books.number(k.Source)})
	}
	for i := range t.books.list {
		b := &t.books.list[i]
		if len(b.losses) == 0 {
			continue
		}
		all = append(all, uint32(i))
		if b.count == 0 && !b.elsewhere {
			silent = append(silent, uint32(i))
		}
	}
	return of, silent, all
}

// mayBeLost says whether a use that is left over may be one that a book of its
// credential lost. A book of other credentials speaks of those; one without a
// record may be of any.
func (s *settlement) mayBeLost(r row) bool {
	root, tolerance := s.credentialOf(r), s.options.Tolerance.Microseconds()
	in := func(book uint32) bool {
		return s.books.list[book].lostIn(r.at()-tolerance, r.until()+tolerance)
	}
	if _, known := s.known[root]; !known {
		return slices.ContainsFunc(s.allLossy, in)
	}
	return slices.ContainsFunc(s.lossyOf[root], in) || slices.ContainsFunc(s.silentLossy, in)
}

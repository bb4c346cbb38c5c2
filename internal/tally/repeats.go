// SPDX-License-Identifier: Apache-2.0

package tally

import "cmp"

// A repeated is a record without a name of its own that is there more than once.
//
// Some logs write the same line for each of several uses within a second. So a
// record without a name that its file has n times is n records, and a file that
// has it as often adds none. Files are written one after the other, so it is
// enough to know which was the last that had the record, and how often.
type repeated struct {
	file  uint64
	times int      // in that file
	kept  []uint32 // as many as any file had
}

// dropRepeats keeps one of each record. That is done when all have come, list by
// list: to look each up as it comes is to wait for memory each time.
func (t *Tally) dropRepeats(s *side) {
	p := newParts(s.len(), t.secret)
	var lists spread
	for round := range p.rounds {
		p.spread(&lists, s, columnCheck, round)
		for n := range p.inRound() {
			t.markRepeats(s, p, lists.list(n))
		}
	}
	s.drop(columnCheck)
	if s.double > 0 {
		s.dropMarked()
	}
}

// markRepeats finds the repeated records of a list.
func (t *Tally) markRepeats(s *side, p *parts, list []keyed) {
	repeats := map[uint32]*repeated{}
	p.clear(list)
	for n, key := range list {
		place := p.find(list, key.hash)
		if *place == 0 {
			*place = uint32(n + 1)
			continue
		}
		first := s.at(list[*place-1].i)
		if r := s.at(key.i); r.flags()&flagNamed != 0 {
			t.merge(first, r)
		} else {
			t.repeat(repeats, first, r)
		}
	}
}

// repeat takes a further record of those without a name.
func (t *Tally) repeat(repeats map[uint32]*repeated, first, r row) {
	all := repeats[first.i]
	if all == nil {
		all = &repeated{file: first.where() >> FileShift, times: 1, kept: []uint32{first.i}}
		repeats[first.i] = all
	}
	if file := r.where() >> FileShift; file != all.file {
		all.file, all.times = file, 0
	}
	all.times++
	if all.times > len(all.kept) {
		all.kept = append(all.kept, r.i)
		r.s.put(columnTie, r.i, uint64(fold(addNumber(uint64(r.tie()), int64(all.times)))))
		return
	}
	kept := r.s.at(all.kept[all.times-1])
	r.s.put(columnWhere, kept.i, r.where())
	t.merge(kept, r)
}

// merge makes one of two records that are the same.
func (t *Tally) merge(kept, r row) {
	s := r.s
	s.double++
	if t.compare(r, kept) < 0 {
		tie := kept.tie()
		s.move(kept.i, r.i)
		s.put(columnTie, kept.i, uint64(tie))
	}
	if s == &t.holder {
		t.books.list[t.kinds.list[r.kind()].source].remove(r.flags()&flagNumbered != 0)
	}
	s.put(columnFlags, r.i, flagRepeated)
}

// dropMarked closes the gaps that merge has left.
func (s *side) dropMarked() {
	kept := uint32(0)
	for i := range uint32(s.size) {
		if s.at(i).flags()&flagRepeated != 0 {
			continue
		}
		if kept != i {
			s.move(kept, i)
		}
		kept++
	}
	s.cut(int(kept))
}

// compare orders two records of one id by what they say, so that it does not
// matter which was read first. The one that counts more uses comes before.
func (t *Tally) compare(a, b row) int {
	var x, y extra
	if more := a.more(); more != nil {
		x = *more
	}
	if more := b.more(); more != nil {
		y = *more
	}
	return cmp.Or(
		cmp.Compare(y.count, x.count), cmp.Compare(a.at(), b.at()), cmp.Compare(x.until, y.until), cmp.Compare(x.parent, y.parent),
		cmp.Compare(a.uti(), b.uti()), cmp.Compare(a.ref(), b.ref()), cmp.Compare(a.corr(), b.corr()), cmp.Compare(a.addr(), b.addr()),
		cmp.Compare(t.kinds.list[a.kind()].hash, t.kinds.list[b.kind()].hash),
	)
}

// compareTies orders records that agree in what matters by what else they say, so
// that it does not matter which was read first.
func (t *Tally) compareTies(a, b row) int {
	for _, name := range [...]int{columnTie, columnRef, columnUTI, columnCorr, columnAddr} {
		if c := cmp.Compare(a.s.get(name, a.i), b.s.get(name, b.i)); c != 0 {
			return c
		}
	}
	return cmp.Compare(t.kinds.list[a.kind()].hash, t.kinds.list[b.kind()].hash)
}

// SPDX-License-Identifier: Apache-2.0

package tally

import "math/bits"

// A keyed is a record by a value that it has, scrambled.
type keyed struct {
	hash uint64
	i    uint32
}

// Parts are records by a value that they have, in lists so short that a table of
// one fits in the cache of a core: a table of all records would wait for memory at
// nearly every look. There are as many rounds as it takes for the lists of one to
// be small beside the records.
type parts struct {
	lists  uint // of all rounds, as a power of two
	rounds int
	secret uint64
	table  []uint32 // scratch: places in a list and one more, 0 free
}

const (
	// listSize is how many records a list has, at most about.
	listSize = 1 << 14
	// roundLists is how many lists are made in one round.
	roundLists = 1 << 7
)

// newParts returns parts for n records.
func newParts(n int, secret uint64) *parts {
	lists := uint(bits.Len(uint(n / listSize)))
	return &parts{lists: lists, rounds: max(1, 1<<lists/roundLists), secret: secret}
}

// scramble makes a hash of a value, so that nobody who chose values of others'
// hashes fills one list or one end of a table. No two values have one.
func (p *parts) scramble(v uint64) uint64 {
	v = (v ^ p.secret) * (p.secret | 1) // odd, so that it can be undone
	v = (v ^ v>>32) * prime1
	return v ^ v>>32
}

// A spread is the lists of one round.
type spread struct {
	all  []keyed
	ends [roundLists]uint32
}

// list returns one of them. Records are in it in their order.
func (s *spread) list(n int) []keyed {
	from := uint32(0)
	if n > 0 {
		from = s.ends[n-1]
	}
	return s.all[from:s.ends[n]]
}

// inRound is how many lists a round has.
func (p *parts) inRound() int { return min(1<<p.lists, roundLists) }

// spread fills the lists of a round with the records whose value is not 0.
func (p *parts) spread(to *spread, s *side, name, round int) {
	first := uint64(round * roundLists)
	var next [roundLists]uint32
	s.each(name, func(_ uint32, v uint64) {
		if list := p.scramble(v)>>(64-p.lists) - first; v != 0 && list < roundLists {
			next[list]++
		}
	})
	sum := uint32(0)
	for n, count := range next {
		next[n] = sum
		sum += count
	}
	if int(sum) > cap(to.all) {
		to.all = make([]keyed, sum+sum/16)
	}
	to.all = to.all[:sum]
	s.each(name, func(i uint32, v uint64) {
		hash := p.scramble(v)
		if list := hash>>(64-p.lists) - first; v != 0 && list < roundLists {
			to.all[next[list]] = keyed{hash, i}
			next[list]++
		}
	})
	to.ends = next
}

// each calls do with the values of a column.
func (s *side) each(name int, do func(i uint32, v uint64)) {
	for n, chunk := range s.chunks {
		from := uint32(n * chunkSize)
		c := &chunk[name]
		for i := range min(chunkSize, uint32(s.size)-from) {
			do(from+i, c.get(i))
		}
	}
}

// clear empties the table for a list.
func (p *parts) clear(list []keyed) {
	size := 1 << bits.Len(uint(2*len(list)))
	if size > len(p.table) {
		p.table = make([]uint32, size)
		return
	}
	clear(p.table)
}

// find returns the place in the table of the record of a list with a hash, or the
// free one for it.
func (p *parts) find(list []keyed, hash uint64) *uint32 {
	mask := uint32(len(p.table) - 1)
	for at := uint32(hash) & mask; ; at = (at + 1) & mask {
		if n := p.table[at]; n == 0 || list[n-1].hash == hash {
			return &p.table[at]
		}
	}
}

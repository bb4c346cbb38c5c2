// SPDX-License-Identifier: Apache-2.0

package tally

// The values of a record, each in a column.
const (
	columnAt    = iota // microseconds since 1970
	columnTie          // see tieOf
	columnCheck        // see Writer.identify; until repeats are dropped
	columnUTI
	columnRef
	columnWhere
	columnCorr
	columnAddr
	columnKind
	columnExtra
	columnFlags
	columnLink // what settling notes: see settlement.indexTokens
	columns
)

// The flags of a record.
const (
	flagNamed    = 1 << iota // the same again is a duplicate, and not one more
	flagNumbered             // it has a number in its book
	flagRepeated             // it is a duplicate
)

// A side is the records of one side, in chunks: one slice would have to be copied
// as it grows, and be there twice meanwhile.
type side struct {
	chunks []*[columns]column
	size   int
	extras []extra
	double int64 // records that were there already
}

// len returns the number of records.
func (s *side) len() int { return s.size }

// at returns a record by its number.
func (s *side) at(i uint32) row { return row{s, i} }

func (s *side) get(name int, i uint32) uint64 {
	return s.chunks[i/chunkSize][name].get(i % chunkSize)
}

func (s *side) put(name int, i uint32, v uint64) {
	s.chunks[i/chunkSize][name].put(i%chunkSize, v)
}

// drop forgets the values of a column.
func (s *side) drop(name int) {
	for _, chunk := range s.chunks {
		chunk[name] = column{}
	}
}

// add adds the first n records of a batch.
func (s *side) add(b *batch) {
	for i, at := range b.values[columnExtra][:b.size] {
		if at != 0 {
			b.values[columnExtra][i] += uint64(len(s.extras))
		}
	}
	s.extras = append(s.extras, b.extras...)
	for from := 0; from < b.size; {
		at := s.size % chunkSize
		if at == 0 {
			chunk := new([columns]column)
			for name := range chunk {
				chunk[name].base = b.values[name][from]
			}
			s.chunks = append(s.chunks, chunk)
		}
		chunk, n := s.chunks[s.size/chunkSize], min(b.size-from, chunkSize-at)
		for name := range chunk {
			chunk[name].putAll(uint32(at), b.values[name][from:from+n])
		}
		s.size, from = s.size+n, from+n
	}
}

// move makes the record at to the one at from.
func (s *side) move(to, from uint32) {
	for name := range columns {
		s.put(name, to, s.get(name, from))
	}
}

// cut drops the records from n on.
func (s *side) cut(n int) {
	s.size = n
	s.chunks = s.chunks[:(n+chunkSize-1)/chunkSize]
}

// A row is a record of a side.
type row struct {
	s *side
	i uint32
}

func (r row) at() int64     { return int64(r.s.get(columnAt, r.i)) }
func (r row) tie() uint32   { return uint32(r.s.get(columnTie, r.i)) }
func (r row) uti() uint64   { return r.s.get(columnUTI, r.i) }
func (r row) ref() uint64   { return r.s.get(columnRef, r.i) }
func (r row) where() uint64 { return r.s.get(columnWhere, r.i) }
func (r row) corr() uint32  { return uint32(r.s.get(columnCorr, r.i)) }
func (r row) addr() uint32  { return uint32(r.s.get(columnAddr, r.i)) }
func (r row) kind() uint32  { return uint32(r.s.get(columnKind, r.i)) }
func (r row) link() uint32  { return uint32(r.s.get(columnLink, r.i)) }
func (r row) flags() uint64 { return r.s.get(columnFlags, r.i) }

// more returns what few records have.
func (r row) more() *extra {
	if at := r.s.get(columnExtra, r.i); at != 0 {
		return &r.s.extras[at-1]
	}
	return nil
}

// count is how many uses a record stands for.
func (r row) count() int64 {
	if x := r.more(); x != nil {
		return x.count
	}
	return 1
}

// until is when the last of them was.
func (r row) until() int64 {
	if x := r.more(); x != nil {
		return x.until
	}
	return r.at()
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"math"
	"time"
)

// A row is a use in 128 bytes without a pointer: two lines of a cache, in blocks
// that begin at a page. What rows have in common is in the dictionaries of their
// table, and what few have is an extra.
type row struct {
	at       int64 // microseconds since 1970
	seq      uint64
	identity uint64
	nanos    uint16 // of the microsecond
	port     uint16
	forms    [4]form
	ids      [4]cell // record, uti, correlation, request

	kind, names                                 uint32
	address, agent, operation, resource, detail uint32
	extra                                       uint32 // number of the extra and one more, 0 none
}

// The identifiers of rows and extras, in the order of their cells.
const (
	idRecord = iota
	idUTI
	idCorrelation
	idRequest
	idSession
	idQueue
	idSerial
	idParent
	idCells
)

// An extra is what few rows have.
type extra struct {
	until      int64
	count      int64
	port       int64   // that is no port, and was told all the same
	ids        [4]cell // session, queue, serial, parent
	hash       [32]byte
	otherIDs   cell // place of a JSON object of strings
	other      cell // place of a JSON object
	untilNanos uint16
	forms      [4]form
	hasUntil   bool // it is not the time
	hasCount   bool // it is not 1
	hasPort    bool
	hasHash    bool // the member "hash" of a holder's line
	hasIDs     bool
	hasOther   bool
}

// A kind is what the rows of one source and relying party have in common.
type kind struct {
	source, side, level, holder, relyingParty, outcome string
}

// compare orders rows by time, and rows of one time in a way that does not
// depend on where they are kept.
func (r *row) compare(o *row) int {
	return cmp.Or(cmp.Compare(r.at, o.at), cmp.Compare(r.nanos, o.nanos), cmp.Compare(r.seq, o.seq), cmp.Compare(r.identity, o.identity))
}

// split returns a time as rows have it. Both parts fit for every year that RFC
// 3339 can write.
func split(t time.Time) (at int64, nanos uint16) {
	n := t.Nanosecond()
	return t.Unix()*1e6 + int64(n/1e3), uint16(n % 1e3)
}

func join(at int64, nanos uint16) time.Time {
	return time.UnixMicro(at).UTC().Add(time.Duration(nanos))
}

const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// blocks is a list that grows without moving what is in it.
type blocks[T any] struct {
	list []*[blockSize]T
	n    int
}

const blockSize = 1024

// next returns the place for one more.
func (b *blocks[T]) next() *T {
	if b.n == len(b.list)*blockSize {
		b.list = append(b.list, new([blockSize]T))
	}
	b.n++
	return b.at(b.n - 1)
}

func (b *blocks[T]) at(i int) *T { return &b.list[uint(i)/blockSize][uint(i)%blockSize] }

// cut goes back to n.
func (b *blocks[T]) cut(n int) {
	var zero T
	for ; b.n > n; b.n-- {
		*b.at(b.n - 1) = zero
	}
}

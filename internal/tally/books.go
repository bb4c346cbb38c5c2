// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// books are those of the holders: what is closed, and what is in them.
type books struct {
	numbers map[string]uint32
	list    []book
}

type book struct {
	source      string
	closed      int64 // microseconds; never is noMark
	first, last int64
	count       int64
	numbered    int64 // records with a sequence number
	low, high   uint64
	losses      []loss
	lost        int64 // uses, of all losses
	elsewhere   bool  // it has records that the tally is not given
}

// noMark is earlier than any time that a record has.
const noMark = math.MinInt64

func newBooks() books { return books{numbers: map[string]uint32{}} }

// number returns the number of a source's book.
func (b *books) number(source string) uint32 {
	if i, ok := b.numbers[source]; ok {
		return i
	}
	source = strings.Clone(source)
	b.list = append(b.list, book{source: source, closed: noMark, first: math.MaxInt64, last: noMark})
	b.numbers[source] = uint32(len(b.list) - 1)
	return uint32(len(b.list) - 1)
}

// close takes a mark; the latest of a book counts.
func (b *books) close(m tallystick.ClosingMark) {
	if m.Side != tallystick.SideHolder {
		return // what waits is the verdict on a relying use, and it waits for holders
	}
	one := &b.list[b.number(m.Source)]
	one.closed = max(one.closed, micro(m.Closed))
}

// span takes note of the time of a record, or of one of its copies.
func (b *book) span(at int64) { b.first, b.last = min(b.first, at), max(b.last, at) }

// add counts a record.
func (b *book) add(seq uint64) {
	b.count++
	b.addNumber(seq)
}

// addNumber takes note of the number of a record, 0 being none.
func (b *book) addNumber(seq uint64) {
	if seq == 0 {
		return
	}
	if b.numbered == 0 {
		b.low, b.high = seq, seq
	}
	b.numbered++
	b.low, b.high = min(b.low, seq), max(b.high, seq)
}

// remove takes back a record that was there already.
func (b *book) remove(numbered bool) {
	b.count--
	if numbered {
		b.numbered--
	}
}

// result returns the book for people.
func (b *book) result() Book {
	r := Book{Source: b.source, Records: b.count, Lost: b.lost}
	if b.count > 0 {
		r.First, r.Last = fromMicro(b.first), fromMicro(b.last)
	}
	if b.closed != noMark {
		r.Closed = fromMicro(b.closed)
	}
	if span := b.high - b.low + 1; b.numbered > 0 && span > uint64(b.numbered) && span < math.MaxInt64 {
		r.Missing = int64(span) - b.numbered
	}
	return r
}

// A credential is what the holders' books say about one credential as a whole.
type credential struct {
	closed  int64 // its books are all closed up to here
	first   int64 // the first record of its books
	utis    bool  // its records carry token ids
	keyUses bool  // there are records of signatures, requests or tokens
	calls   bool  // there are records of calls
	// requests says that there are records of requests or tokens.
	requests bool
}

// credentials gathers what the kinds say about each credential that a holder
// has a record of. The rest is in nobody's book, and any book could still show it.
func (t *Tally) credentials(holderKinds []bool) (known map[uint32]*credential, unknown credential) {
	known = map[uint32]*credential{}
	unknown = credential{closed: math.MaxInt64, first: math.MaxInt64}
	for i := range t.books.list {
		unknown.closed = min(unknown.closed, t.books.list[i].closed)
	}
	if len(t.books.list) == 0 {
		unknown.closed = noMark
	}
	for i := range t.kinds.list {
		k := &t.kinds.list[i]
		if !holderKinds[i] {
			continue
		}
		root := t.names.root(k.name)
		c, ok := known[root]
		if !ok {
			c = &credential{closed: math.MaxInt64, first: math.MaxInt64}
			known[root] = c
		}
		b := &t.books.list[k.source]
		c.closed, c.first = min(c.closed, b.closed), min(c.first, b.first)
		c.utis = c.utis || k.utis
		c.calls, c.keyUses = c.calls || k.call(), c.keyUses || !k.call()
		c.requests = c.requests || !k.call() && !k.signature()
	}
	t.addAssumed(known)
	if t.options.CloseAtEnd {
		unknown.closed = math.MaxInt64
		for _, c := range known {
			c.closed = math.MaxInt64
		}
	}
	return known, unknown
}

// addAssumed adds what is known of books beside their records.
func (t *Tally) addAssumed(known map[uint32]*credential) {
	for _, k := range t.assumed {
		root := t.names.root(t.names.add([]string{k.Credential}, false))
		c, ok := known[root]
		if !ok {
			c = &credential{closed: math.MaxInt64, first: math.MaxInt64}
			known[root] = c
		}
		b := &t.books.list[t.books.number(k.Source)]
		c.closed, c.first = min(c.closed, b.closed), min(c.first, micro(k.First))
		c.utis, c.calls, c.requests = c.utis || k.UTIs, c.calls || k.Calls, c.requests || k.Requests
		c.keyUses = c.keyUses || k.Requests || k.Signatures
	}
}

// closedPast says whether the book is closed past a time and the tolerance.
func (c *credential) closedPast(at int64, tolerance time.Duration) bool {
	return c.closed == math.MaxInt64 || c.closed > at+tolerance.Microseconds()
}

// bookList returns the books by name.
func (t *Tally) bookList() []Book {
	var list []Book
	for i := range t.books.list {
		list = append(list, t.books.list[i].result())
	}
	slices.SortFunc(list, func(a, b Book) int { return cmp.Compare(a.Source, b.Source) })
	return list
}

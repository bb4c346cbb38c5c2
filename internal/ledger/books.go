// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A Book is what is known of one source on one side.
type Book struct {
	Source  string          `json:"source"`
	Side    tallystick.Side `json:"side"`
	Records int64           `json:"records"` // that were kept, also those that have expired since
	// First and Last are the times of its earliest and its latest record; zero
	// when there is none.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Closed is the latest closing mark: nothing earlier will still come.
	Closed time.Time `json:"closed,omitzero"`
	// AfterClose counts records that came although a mark had said that none
	// would, and AfterCloseAt is the time of the latest of them.
	AfterClose   int64     `json:"after_close,omitempty"`
	AfterCloseAt time.Time `json:"after_close_at,omitzero"`
	// Heard is when the source last said anything, a mark or a record that was
	// there already included.
	Heard time.Time `json:"heard,omitzero"`
	// Late is how long after its time the last new record came, and MostLate the
	// longest that any took. Records with a time in the future are not late.
	Late     time.Duration `json:"late,omitempty"`
	MostLate time.Duration `json:"most_late,omitempty"`

	// FirstSeq and LastSeq are the lowest and the highest number of its records,
	// and LastSeq at least what a closing mark says; 0 when it numbers none.
	FirstSeq uint64 `json:"first_seq,omitempty"`
	LastSeq  uint64 `json:"last_seq,omitempty"`
	// Missing are the numbers that no record came with; a late one fills its gap.
	Missing []Span `json:"missing,omitempty"`
	// MissingCount counts them, and those of gaps that are no longer told apart.
	MissingCount uint64 `json:"missing_count,omitempty"`
	// Twice counts numbers that came again with different content: the book was
	// edited, or its writer started again from one. TwiceAt is the latest number.
	Twice   int64  `json:"twice,omitempty"`
	TwiceAt uint64 `json:"twice_at,omitempty"`
	Chain   Chain  `json:"chain,omitzero"`
}

// A book is a Book as it is kept and stored.
type book struct {
	Source       string `json:"source"`
	Side         string `json:"side"`
	Records      int64  `json:"records,omitempty"`
	First        int64  `json:"first,omitempty"` // microseconds, as all times here; valid when there are records
	Last         int64  `json:"last,omitempty"`
	Closed       *int64 `json:"closed,omitempty"`
	AfterClose   int64  `json:"after_close,omitempty"`
	AfterCloseAt int64  `json:"after_close_at,omitempty"`
	Heard        int64  `json:"heard,omitempty"`
	Late         int64  `json:"late,omitempty"`
	MostLate     int64  `json:"most_late,omitempty"`
	Seqs         spans  `json:"seqs,omitzero"`
	Told         uint64 `json:"told,omitempty"` // the last number that a closing mark named
	Twice        int64  `json:"twice,omitempty"`
	TwiceAt      uint64 `json:"twice_at,omitempty"`
	Chain        chain  `json:"chain,omitzero"`
}

// books are all of a ledger, by source and side.
type books map[bookName]*book

type bookName struct{ source, side string }

func (b books) of(source, side string) *book {
	name := bookName{source, side}
	if one, ok := b[name]; ok {
		return one
	}
	name = bookName{strings.Clone(source), strings.Clone(side)}
	one := &book{Source: name.source, Side: name.side}
	b[name] = one
	return one
}

// clone copies all that changes.
func (b books) clone() books {
	c := make(books, len(b))
	for name, one := range b {
		copied := *one
		copied.Seqs.List = slices.Clone(one.Seqs.List)
		copied.Chain = one.Chain.clone()
		c[name] = &copied
	}
	return c
}

// note takes a new record.
func (b *book) note(r *row, received int64) {
	if b.Records == 0 {
		b.First, b.Last = r.at, r.at
	}
	b.Records++
	b.First, b.Last = min(b.First, r.at), max(b.Last, r.at)
	b.Heard = max(b.Heard, received)
	b.Late = max(0, received-r.at)
	if r.at < 0 { // the difference to a time before 1970 may not fit, and says nothing
		b.Late = 0
	}
	b.MostLate = max(b.MostLate, b.Late)
	if b.Closed != nil && r.at < *b.Closed {
		b.AfterClose++
		b.AfterCloseAt = max(b.AfterCloseAt, r.at)
	}
	if r.seq > 0 && !b.Seqs.add(r.seq) {
		b.Twice++
		b.TwiceAt = r.seq
	}
}

// close takes a closing mark; the latest counts.
func (b *book) close(at int64, last uint64, received int64) {
	if b.Closed == nil || at > *b.Closed {
		b.Closed = &at
	}
	b.Told = max(b.Told, last)
	b.Heard = max(b.Heard, received)
}

// book returns the book for readers.
func (b *book) book() Book {
	out := Book{
		Source: b.Source, Side: tallystick.Side(b.Side), Records: b.Records, AfterClose: b.AfterClose,
		Late: time.Duration(b.Late) * time.Microsecond, MostLate: time.Duration(b.MostLate) * time.Microsecond,
		Twice: b.Twice, TwiceAt: b.TwiceAt, Chain: b.Chain.public(),
	}
	if b.Records > 0 {
		out.First, out.Last = join(b.First, 0), join(b.Last, 0)
	}
	if b.Closed != nil {
		out.Closed = join(*b.Closed, 0)
	}
	if b.AfterClose > 0 {
		out.AfterCloseAt = join(b.AfterCloseAt, 0)
	}
	if b.Heard != 0 {
		out.Heard = join(b.Heard, 0)
	}
	out.LastSeq = b.Told
	if n := len(b.Seqs.List); n > 0 {
		out.FirstSeq, out.LastSeq = b.Seqs.List[0].From, max(b.Told, b.Seqs.List[n-1].To)
	}
	out.Missing = b.Seqs.gaps(b.Told)
	for _, gap := range out.Missing {
		out.MissingCount += gap.To - gap.From + 1
	}
	out.MissingCount += b.Seqs.Forgotten
	return out
}

// public returns all books by source and side.
func (b books) public() []Book {
	var list []Book
	for one := range maps.Values(b) {
		list = append(list, one.book())
	}
	slices.SortFunc(list, func(x, y Book) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Side, y.Side))
	})
	return list
}

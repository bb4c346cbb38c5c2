// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/tallystick/tallystick"
)

// A Batch is what is appended at once.
type Batch struct {
	Uses  []tallystick.Use
	Marks []Mark
	// Lines are the lines of holders' books that the uses and marks were read
	// from, in the order of the book, where they have hashes to be checked.
	Lines []Line
}

// Appended says what became of a batch.
type Appended struct {
	Added      int
	Duplicates int // were there already, or earlier in the batch
	Expired    int // older than what has expired, and not taken in
	// Segment is the number of the segment that the records which were added will
	// be in; 0 when nothing was written.
	Segment uint32

	added []uint64 // a bit for each use of the batch
}

// IsNew says whether use i of the batch was added: whoever works on the uses of
// batches sees each record once that way.
func (a *Appended) IsNew(i int) bool { return i/64 < len(a.added) && a.added[i/64]>>(i%64)&1 != 0 }

// A request is a batch that waits to be written.
type request struct {
	batch  *Batch
	chains []bookChain
	done   bool // with result and err
	result Appended
	err    error
}

var errClosed = errors.New("the ledger is closed")

// maxWaiting is how many full tables may wait to be sealed before Append waits.
const maxWaiting = 2

// Append takes a batch in. When it returns nil, all of it is on the disk and
// found by Scan. When it returns an error, some of it may be or may come to be
// there: append it again, what is there already changes nothing. ErrNoSpace says
// that the disk is full; the ledger goes on when there is room. The strings of
// the batch are not kept; those that are not UTF-8 have what is wrong replaced by
// U+FFFD.
//
// Calls that wait at the same time share one fsync. One of them also seals, when
// a log has become full.
func (l *Ledger) Append(ctx context.Context, batch Batch) (Appended, error) {
	if err := ctx.Err(); err != nil {
		return Appended{}, err
	}
	if err := l.writable(); err != nil {
		return Appended{}, err
	}
	if err := l.makeRoom(); err != nil {
		return Appended{}, fmt.Errorf("couldn't append to the ledger: %w", err)
	}
	r := &request{batch: &batch, chains: follow(batch.Lines)}
	l.queueing.Lock()
	l.queue = append(l.queue, r)
	l.queueing.Unlock()

	// Whoever gets the lock first writes for all that wait by then.
	l.committing.Lock()
	if !r.done {
		l.queueing.Lock()
		group := l.queue
		l.queue = nil
		l.queueing.Unlock()
		l.commit(group)
	}
	l.committing.Unlock()
	if r.err != nil {
		return r.result, fmt.Errorf("couldn't append to the ledger: %w", r.err)
	}
	l.sealWaiting(ctx)
	return r.result, nil
}

// makeRoom waits while too many tables are not sealed yet.
func (l *Ledger) makeRoom() error {
	for {
		l.mu.Lock()
		waiting := len(l.full)
		l.mu.Unlock()
		if waiting < maxWaiting {
			return nil
		}
		l.sealing.Lock()
		err := l.sealOldest()
		l.sealing.Unlock()
		if err != nil {
			return err
		}
	}
}

// sealWaiting seals what is full, unless another goroutine does. The records are
// safe whether or not it works; the error is that of the next call that needs
// the room.
func (l *Ledger) sealWaiting(ctx context.Context) {
	l.mu.Lock()
	waiting := len(l.full)
	l.mu.Unlock()
	if waiting == 0 || !l.sealing.TryLock() {
		return
	}
	defer l.sealing.Unlock()
	for range waiting {
		if l.sealOldest() != nil {
			return
		}
	}
	_ = l.tell(ctx) // what could not be told is told again
}

// commit writes a group of requests as one frame.
func (l *Ledger) commit(group []*request) {
	err := errClosed
	if !l.closed {
		err = l.rotateFull()
	}
	if err == nil {
		err = l.write(group)
	}
	for _, r := range group {
		r.done, r.err = true, err
		if err != nil {
			r.result = Appended{}
		}
	}
}

// rotateFull begins a new log when the present one has become large. When it
// cannot, the present one goes on for as much again.
func (l *Ledger) rotateFull() error {
	size, n := l.wal.size, l.table.rows.n
	if size < l.options.SealBytes && n < l.options.SealRecords {
		return nil
	}
	err := l.rotate()
	if size < 2*l.options.SealBytes && n < 2*l.options.SealRecords {
		return nil
	}
	return err
}

// rotate sets the table aside and begins a new log.
func (l *Ledger) rotate() error {
	full := &fullTable{table: l.table, number: l.number, wal: l.wal}
	if err := l.startLog(); err != nil {
		return err
	}
	full.books = l.books.clone()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = append(l.full[:len(l.full):len(l.full)], full)
	l.visible, l.logBytes = l.table.snapshot(), l.wal.size
	return nil
}

// write puts a group into the table and on the disk, or nothing of it.
func (l *Ledger) write(group []*request) error {
	now := l.options.Now()
	received, _ := split(now)
	before := l.table.mark()
	e := newEncoder(l.table, l.wal.body(), received)
	elsewhere := l.newElsewhere()
	for _, r := range group {
		if err := l.encode(e, r, elsewhere); err != nil {
			l.table.back(before)
			return err
		}
	}
	if err := elsewhere.err; err != nil {
		l.table.back(before)
		return err
	}
	if e.items == 0 {
		l.table.back(before)
		l.heard(group, received)
		return nil
	}
	if err := l.wal.append(e.out); err != nil {
		l.table.back(before)
		return err
	}
	if before.rows == 0 {
		l.started = now
	}
	l.note(group, before.rows, received)
	visible := l.table.snapshot()
	l.mu.Lock()
	l.visible, l.logBytes = visible, l.wal.size
	l.mu.Unlock()
	for _, r := range group {
		r.result.Segment = l.number
	}
	return nil
}

// encode puts a request into the table and the frame.
func (l *Ledger) encode(e *encoder, r *request, elsewhere *elsewhere) error {
	r.result = Appended{added: make([]uint64, (len(r.batch.Uses)+63)/64)}
	var group [groupSize]*tallystick.Use
	var places [groupSize]int // of the group in the batch
	n := 0
	for i := range r.batch.Uses {
		u := &r.batch.Uses[i]
		if elsewhere.horizon > minTime && micro(u.Time, minTime+1) < elsewhere.horizon {
			r.result.Expired++
		} else {
			group[n], places[n] = u, i
			n++
		}
		if n == groupSize || n > 0 && i == len(r.batch.Uses)-1 {
			from := l.table.rows.n
			added := l.table.add(group[:n], elsewhere.has, elsewhere.latest)
			for ; added != 0; added &= added - 1 {
				at := places[bits.TrailingZeros(added)]
				r.result.added[at/64] |= 1 << (at % 64)
			}
			for row := from; row < l.table.rows.n; row++ {
				e.row(l.table.rows.at(row))
			}
			r.result.Added += l.table.rows.n - from
			r.result.Duplicates += n - (l.table.rows.n - from)
			n = 0
		}
	}
	for i := range r.batch.Marks {
		e.closing(&r.batch.Marks[i])
	}
	for i := range r.chains {
		if err := e.chain(&r.chains[i]); err != nil {
			return err
		}
	}
	return nil
}

// note brings the books up to date with what was written.
func (l *Ledger) note(group []*request, from int, received int64) {
	l.bookLock.Lock()
	defer l.bookLock.Unlock()
	for i := from; i < l.table.rows.n; i++ {
		r := l.table.rows.at(i)
		one := &l.table.books[r.kind]
		if *one == nil {
			*one = l.books.of(l.table.kinds[r.kind].source, l.table.kinds[r.kind].side)
		}
		(*one).note(r, received)
	}
	for _, r := range group {
		for i := range r.batch.Marks {
			m := &r.batch.Marks[i]
			at, _ := split(m.Closed)
			l.books.of(m.Source, string(m.Side)).close(at, m.Last, received)
		}
		for i := range r.chains {
			c := &r.chains[i]
			l.books.of(c.Source, c.Side).Chain.merge(c)
		}
	}
}

// heard notes that sources have said something, although it was known.
func (l *Ledger) heard(group []*request, received int64) {
	l.bookLock.Lock()
	defer l.bookLock.Unlock()
	var last *book
	for _, r := range group {
		for i := range r.batch.Uses {
			u := &r.batch.Uses[i]
			if last == nil || last.Source != u.Source || last.Side != string(u.Side) {
				one, ok := l.books[bookName{u.Source, string(u.Side)}]
				if !ok {
					continue // all of it has expired
				}
				last = one
			}
			last.Heard = max(last.Heard, received)
		}
	}
}

// elsewhere asks the tables that are full and the sealed segments for a record.
type elsewhere struct {
	ledger   *Ledger
	full     []*fullTable
	segments []Segment
	latest   int64 // time of the last record in any of them
	horizon  int64
	err      error
}

func (l *Ledger) newElsewhere() *elsewhere {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &elsewhere{ledger: l, full: l.full, segments: l.manifest.Segments, latest: minTime, horizon: l.manifest.Horizon}
	for _, f := range e.full {
		e.latest = max(e.latest, f.maxAt)
	}
	for i := range e.segments {
		e.latest = max(e.latest, e.segments[i].Last)
	}
	return e
}

// has says whether a record is in one of them. The time of a record is part of
// its identity, so only those of that time are asked.
func (e *elsewhere) has(at int64, identity uint64) bool {
	for _, f := range e.full {
		if f.minAt <= at && at <= f.maxAt && f.seen.has(identity) {
			return true
		}
	}
	for i := len(e.segments) - 1; i >= 0; i-- {
		s := &e.segments[i]
		if at < s.First || s.Last < at || e.err != nil {
			continue
		}
		if ids := e.identities(s); ids != nil && ids.has(identity) {
			return true
		}
	}
	return false
}

// identities returns those of a segment, nil when it has expired meanwhile.
func (e *elsewhere) identities(s *Segment) *identities {
	o, err := e.ledger.segment(s)
	if o == nil {
		e.err = err
		return nil
	}
	defer e.ledger.cache.giveBack(o)
	ids, err := o.identities()
	e.err = err
	return ids
}

// Seal seals what is in the log now, however little that is. It returns when all
// of it is in segments, with the error of Options.Sealed if it has one.
func (l *Ledger) Seal(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), l.writable()); err != nil {
		return err
	}
	l.committing.Lock()
	var err error
	if l.closed {
		err = errClosed
	} else if l.table.rows.n > 0 {
		err = l.rotate()
	}
	l.committing.Unlock()
	if err != nil {
		return fmt.Errorf("couldn't seal: %w", err)
	}
	l.sealing.Lock()
	defer l.sealing.Unlock()
	for {
		l.mu.Lock()
		waiting := len(l.full)
		l.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		if waiting == 0 {
			return l.tell(ctx)
		}
		if err := l.sealOldest(); err != nil {
			return err
		}
	}
}

// micro returns the microsecond of a time; the zero time is unset.
func micro(t time.Time, unset int64) int64 {
	if t.IsZero() {
		return unset
	}
	at, _ := split(t)
	return at
}

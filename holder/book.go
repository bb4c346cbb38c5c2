// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// Config says whose uses a book holds, and where they go: to File or to URL.
type Config struct {
	// Source names the book. It has one writer: two programs, or two processes
	// of one, have two sources. A server takes it under this name alone, so that
	// the name in the URL is the same.
	Source string
	// Holder is the workload or product whose uses these are.
	Holder string
	// Credential holds the names of the credential for uses that bring none of
	// their own, each "kind:value" as tallystick.NormalName reads it.
	Credential []string

	// File takes the records; it is made when it is not there, and held under a
	// lock while the book is open.
	File string
	// URL takes the records by HTTP POST, with Token as a bearer token; what was
	// not taken yet is kept in the directory Spool, of at most SpoolBytes (64 MiB
	// when it is 0).
	URL        string
	Token      string
	Spool      string
	SpoolBytes int64
	// Client sends them; nil is http.DefaultClient. It must not use a Transport of
	// this book.
	Client *http.Client

	// Memory is how many records may wait in memory; 0 is 10,000.
	Memory int
	// Close is how often a closing mark is written; 0 is every 10 seconds.
	Close time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

const (
	defaultMemory = 10_000
	defaultClose  = 10 * time.Second
	writeEvery    = 200 * time.Millisecond
	// longestUse bounds how long a use that was begun and not ended keeps the
	// book from being closed.
	longestUse = 10 * time.Minute
	maxLines   = 100             // written at once; a spool of any size has room for them
	closeTime  = 5 * time.Second // for sending what is left at the end
)

// A Book takes uses. Its methods are safe for several goroutines.
type Book struct {
	config Config
	out    output
	wake   chan struct{}

	queue   []tallystick.Use // owned by Run; what it took from waiting
	pending []byte           // owned by Run; lines that are not written yet
	after   chain            // owned by Run; where the book stands behind them

	mu      sync.Mutex
	waiting []tallystick.Use // guarded by mu
	counts  counts           // guarded by mu
	lost    lost             // guarded by mu; not written yet
	allLost int64            // guarded by mu
	begun   map[*Began]bool  // guarded by mu; uses that have not ended
	err     error            // guarded by mu
}

// An output keeps lines. What append has returned nil for survives a crash. run
// carries them further, if there is anywhere to, until ctx ends, and sendError
// says why it does not get on; malformed is how many lines could not be used
// where they went, and why. close comes after it.
type output interface {
	append(lines []byte) error
	run(ctx context.Context)
	sendError() error
	malformed() (int64, error)
	close(ctx context.Context) error
}

// Open makes a book ready. A file that another process writes, or that holds
// the records of another source, is an error.
func Open(c Config) (*Book, error) {
	if c.Source == "" {
		return nil, fmt.Errorf("%w: a book has a source", tallystick.ErrInvalid)
	}
	if (c.File == "") == (c.URL == "") || (c.URL == "") != (c.Spool == "") {
		return nil, fmt.Errorf("%w: a book has a file, or a URL with a spool directory", tallystick.ErrInvalid)
	}
	if c.SpoolBytes != 0 && c.SpoolBytes < segmentBytes {
		return nil, fmt.Errorf("%w: a spool has at least %d bytes", tallystick.ErrInvalid, segmentBytes)
	}
	c.Memory, c.Close = cmp.Or(c.Memory, defaultMemory), cmp.Or(c.Close, defaultClose)
	if c.Now == nil {
		c.Now = time.Now
	}
	out, last, err := openOutput(c)
	if err != nil {
		return nil, err
	}
	return &Book{
		config: c, out: out, after: last,
		counts: counts{}, begun: map[*Began]bool{}, wake: make(chan struct{}, 1),
	}, nil
}

func openOutput(c Config) (output, chain, error) {
	if c.File != "" {
		return openFile(c.File, c.Source)
	}
	return openSpool(c)
}

// Record takes one use that has happened. What is not set is filled in: the
// source, the side, the time, the holder and the names of the credential.
func (b *Book) Record(u tallystick.Use) {
	b.complete(&u)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.waiting) < b.config.Memory:
		b.waiting = append(b.waiting, u)
	case !b.counts.add(&u):
		b.lost.add(&u)
		b.allLost += u.Count
	}
	if len(b.waiting) > b.config.Memory/2 {
		select {
		case b.wake <- struct{}{}:
		default: // it wakes already
		}
	}
}

func (b *Book) complete(u *tallystick.Use) {
	u.Source, u.Side, u.Count = b.config.Source, tallystick.SideHolder, max(u.Count, 1)
	u.Holder = cmp.Or(u.Holder, b.config.Holder)
	if u.Time.IsZero() {
		u.Time = b.config.Now()
	}
	if u.Until.Before(u.Time) {
		u.Until = u.Time
	}
	if len(u.Credential) == 0 {
		u.Credential = b.config.Credential
	}
}

// A Began is a use that has begun: while it lasts the book is not closed past
// its beginning, so that the record cannot come late.
type Began struct {
	book  *Book
	start time.Time
}

// Begin notes that a use begins now. End must be called.
func (b *Book) Begin() *Began {
	began := &Began{book: b, start: b.config.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun[began] = true
	return began
}

// End records the use with the time of its beginning. Nil is a use that was not
// made after all.
func (u *Began) End(use *tallystick.Use) {
	if use != nil {
		use.Time = u.start
		u.book.Record(*use)
	}
	u.book.mu.Lock()
	defer u.book.mu.Unlock()
	delete(u.book.begun, u)
}

// closedTo returns up to when nothing more can come.
func (b *Book) closedTo(now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	closed := now
	for began := range b.begun {
		if began.start.Before(closed) && now.Sub(began.start) < longestUse {
			closed = began.start
		}
	}
	return closed
}

// Run writes the records until ctx ends, then what is left, and a last closing
// mark. It returns what kept the last records from being written, or from being
// sent, if anything did, and what a server expected of lines that it could not
// use. A book runs once.
func (b *Book) Run(ctx context.Context) error {
	carry, stop := context.WithCancel(ctx)
	carried := make(chan struct{})
	go func() {
		defer close(carried)
		b.out.run(carry)
	}()
	write, closing := time.NewTicker(writeEvery), time.NewTicker(b.config.Close)
	defer write.Stop()
	defer closing.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-b.wake:
			b.note(b.write(false))
		case <-write.C:
			b.note(b.write(false))
		case <-closing.C:
			b.note(b.write(true))
		}
	}
	err := b.write(true)
	stop()
	<-carried
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	return errors.Join(err, b.out.close(last))
}

// A Status is how a book is doing.
type Status struct {
	Waiting int   // records in memory
	Lost    int64 // uses that will be known of by their number alone, since the book was opened
	Err     error // why the last records could not be written; nil when they were
	// SendErr is why the URL does not take records, such as "the server answers
	// 401 Unauthorized"; nil when it took the last ones. They wait in the spool
	// meanwhile, until it is full. One that takes no line of the book, because its
	// source has another name than the book, is such an error: nothing is lost.
	SendErr error
	// Malformed is how many lines the server has read and could not use, since the
	// book was opened. They are not sent again. MalformedErr says what it expected
	// instead of the last ones, and Run returns it too.
	Malformed    int64
	MalformedErr error
}

// Status returns how the book is doing, for the program's own monitoring.
func (b *Book) Status() Status {
	sendErr := b.out.sendError()
	malformed, why := b.out.malformed()
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{Waiting: len(b.waiting), Lost: b.allLost, Err: b.err, SendErr: sendErr, Malformed: malformed, MalformedErr: why}
}

// note keeps why writing failed. What was not written is kept and tried again.
func (b *Book) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// write hands what waits to the output, maxLines at a time.
func (b *Book) write(closing bool) error {
	// The mark is taken before the records: a use that ends in between began
	// before it, and holds it back.
	closed := b.closedTo(b.config.Now())
	for {
		uses, lost := b.pendingUses()
		if len(b.pending) == 0 && len(uses) == 0 && lost.n == 0 {
			break
		}
		b.encode(uses, lost)
		if err := b.flush(); err != nil {
			return err
		}
	}
	if !closing {
		return nil
	}
	b.pending = b.after.appendClosing(b.pending, b.config.Source, closed)
	return b.flush()
}

// pendingUses takes what waits, unless lines are left that could not be written
// before: these go first, unchanged, because their numbers are given.
func (b *Book) pendingUses() ([]tallystick.Use, lost) {
	if len(b.pending) > 0 {
		return nil, lost{}
	}
	var gone lost
	if len(b.queue) == 0 {
		b.mu.Lock()
		b.queue = append(b.waiting, b.counts.take()...)
		b.waiting = nil
		gone, b.lost = b.lost, lost{}
		b.mu.Unlock()
	}
	n := min(len(b.queue), maxLines)
	uses := b.queue[:n]
	b.queue = b.queue[n:]
	return uses, gone
}

func (b *Book) encode(uses []tallystick.Use, l lost) {
	for i := range uses {
		b.pending = b.after.appendUse(b.pending, &uses[i])
	}
	if l.n > 0 {
		b.pending = b.after.appendLost(b.pending, b.config.Source, l)
	}
}

// flush writes the lines that are pending.
func (b *Book) flush() error {
	if err := b.out.append(b.pending); err != nil {
		return fmt.Errorf("couldn't write down uses: %w", err)
	}
	b.pending = b.pending[:0]
	return nil
}

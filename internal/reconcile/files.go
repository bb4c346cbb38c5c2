// SPDX-License-Identifier: Apache-2.0

// Package reconcile runs a tally over files: it opens them, reads them with
// several goroutines, follows the hashes of holders' books, and reads what is not
// matched again for its details. What the verdicts are is decided by package tally.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/uses"
)

// An Input is a file of one side.
type Input struct {
	Path   string // "-" is standard input
	Format string // "" is recognised
	Side   tallystick.Side
}

// A Malformed is a record that could not be used.
type Malformed struct {
	File     string
	Line     int
	Expected string
}

// Files is a tally over files.
type Files struct {
	Result tally.Result
	// Malformed names the first records of each file that could not be used;
	// the summary counts all.
	Malformed []Malformed
	// Other counts records that say nothing about uses of credentials.
	Other int64
	// HolderMalformed counts those of the holders' files among the malformed
	// ones: each may be a use that is missed there.
	HolderMalformed int64
	// Broken names the first places of each file where a holder's book does not
	// follow from itself; BrokenCount counts all. They change no verdict.
	Broken      []Broken
	BrokenCount int64
	// Unread has an error for each file that could not be read to its end. What
	// was read of it counts.
	Unread []error

	logs []*uses.Log
}

// ErrNothingRead is that a file has records, and none of them could be read.
var ErrNothingRead = errors.New("no record could be read")

type unreadError struct{ file, format string }

func (e *unreadError) Error() string {
	return fmt.Sprintf("no record of %s could be read as %s", e.file, e.format)
}

// Unwrap makes it ErrNothingRead.
func (e *unreadError) Unwrap() error { return ErrNothingRead }

// maxMalformed bounds how many malformed records of a file are named.
const maxMalformed = 1000

// Run reads files and settles what is in them. The error is about a file
// that cannot be opened or recognised, or about ctx. Close releases the files.
func Run(ctx context.Context, options tally.Options, inputs []Input, stdin io.Reader, now time.Time) (*Files, error) {
	f := &Files{}
	t := tally.New(options)
	settings := uses.Settings{Near: time.Time{}}
	for _, in := range inputs {
		settings.Side = in.Side
		if in.Path == "-" {
			settings.Near = now
		}
		log, err := uses.Open(in.Path, in.Format, settings, stdin)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		settings.Near = time.Time{}
		f.logs = append(f.logs, log)
	}
	if len(f.logs) > 1<<16 {
		return nil, errors.Join(fmt.Errorf("%w: more than 65536 files", tallystick.ErrInvalid), f.Close())
	}
	var malformed int64
	for i, log := range f.logs {
		n, err := f.read(ctx, t, log, uint64(i)<<offsetBits)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		malformed += n
	}
	var err error
	if f.Result, err = t.Settle(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.Result.Summary.Malformed = malformed
	return f, nil
}

// Close releases the files.
func (f *Files) Close() error {
	var err error
	for _, log := range f.logs {
		err = errors.Join(err, log.Close())
	}
	return err
}

// offsetBits is how many bits of a where are the offset in the file.
const offsetBits = 48

// A reading is the reading of one file by several goroutines.
type reading struct {
	mu        sync.Mutex // guards what follows
	read      int64      // records that could be used
	malformed []Malformed
	count     int64
	other     int64
}

// read adds what is in a file, and returns how many records were malformed.
func (f *Files) read(ctx context.Context, t *tally.Tally, log *uses.Log, where uint64) (int64, error) {
	var r reading
	workers := runtime.GOMAXPROCS(0)
	if log.Following() {
		workers = 1
	}
	books := newBooks(log)
	next, stop, ended := r.blocks(ctx, log, books)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			w := t.Writer()
			defer w.Flush()
			read := log.Reader()
			for block := next(); block != nil; block = next() {
				r.block(log, block, read, w, where)
				block.Release()
			}
		})
	}
	group.Wait()
	stop()
	err := *ended
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err == nil && r.count > 0 && r.read == 0 {
		err = &unreadError{log.Name, log.Format.Name}
	}
	if err != nil {
		f.Unread = append(f.Unread, err)
	}
	if log.Side() == tallystick.SideHolder {
		f.HolderMalformed += r.count
	}
	slices.SortFunc(r.malformed, func(a, b Malformed) int { return cmp.Compare(a.Line, b.Line) })
	f.Malformed = append(f.Malformed, r.malformed[:min(len(r.malformed), maxMalformed)]...)
	f.Other += r.other
	f.Broken = append(f.Broken, books.broken...)
	f.BrokenCount += books.count
	return r.count, nil
}

// blocks returns what gives the blocks of a file in their order, to any number of
// goroutines, nil at the end; stop is called after it. Who asks for a block reads
// it, so that it is in the cache of the core that goes on with it. Ended is then
// why no more was read.
func (r *reading) blocks(ctx context.Context, log *uses.Log, books *books) (next func() *uses.Block, stop func(), ended *error) {
	var turn sync.Mutex
	ended = new(error)
	pull, stop := iter.Pull(func(yield func(*uses.Block) bool) {
		*ended = log.Blocks(func(b *uses.Block) error {
			books.follow(b)
			if ctx.Err() == nil && yield(b) {
				return nil
			}
			return context.Canceled
		}, func(line int, err error) { r.wrong(log, line, err) })
	})
	return func() *uses.Block {
		turn.Lock()
		defer turn.Unlock()
		block, _ := pull()
		return block
	}, stop, ended
}

// A counting sink knows whether a record said anything.
type counting struct {
	*tally.Writer
	said bool
}

func (c *counting) Use(u *tallystick.Use)          { c.said = true; c.Writer.Use(u) }
func (c *counting) Close(m tallystick.ClosingMark) { c.said = true; c.Writer.Close(m) }
func (c *counting) Lost(u *tallystick.Use)         { c.said = true; c.Writer.Lost(u) }

// block reads the records of a block.
func (r *reading) block(log *uses.Log, b *uses.Block, read uses.ReadFunc, w *tally.Writer, where uint64) {
	sink := counting{Writer: w}
	other, good := int64(0), int64(0)
	b.Each(func(record string, offset int64, line int) {
		w.At(where | uint64(offset))
		sink.said = false
		if err := read(record, &sink); err != nil {
			r.wrong(log, line, err)
			return
		}
		good++
		if !sink.said {
			other++
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += good
	r.other += other
}

// wrong takes note of a malformed record. More are kept than are named, so that
// those that are named are the first of the file in all but strange cases.
func (r *reading) wrong(log *uses.Log, line int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if len(r.malformed) < 100*maxMalformed {
		r.malformed = append(r.malformed, Malformed{log.Name, line, err.Error()})
	}
}

// A Verdict is an item with what its record says.
type Verdict struct {
	tally.Item
	Use  *tallystick.Use
	File string
}

// chunk is how many verdicts are in memory at a time.
const chunk = 100_000

// Each calls do with every use that is not matched, by time. It reads their
// records again.
func (f *Files) Each(ctx context.Context, do func(Verdict) error) error {
	for items := range slices.Chunk(f.Result.Items, chunk) {
		found, err := f.details(ctx, items)
		if err != nil {
			return err
		}
		for i, item := range items {
			if found[i] == nil {
				return fmt.Errorf("couldn't read %s again: it was changed meanwhile", f.logs[item.Where>>offsetBits].Name)
			}
			if err := do(Verdict{item, found[i], f.logs[item.Where>>offsetBits].Name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// details returns the uses of items, in their order.
func (f *Files) details(ctx context.Context, items []tally.Item) ([]*tallystick.Use, error) {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(items[a].Where, items[b].Where) })
	found := make([]*tallystick.Use, len(items))
	for len(order) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file := items[order[0]].Where >> offsetBits
		n := 1
		for n < len(order) && items[order[n]].Where>>offsetBits == file {
			n++
		}
		offsets := make([]int64, n)
		at := map[int64]int{}
		for i, item := range order[:n] {
			offsets[i] = int64(items[item].Where & (1<<offsetBits - 1))
			at[offsets[i]] = item
		}
		err := f.logs[file].Details(offsets, func(offset int64, u *tallystick.Use) error {
			if i, ok := at[offset]; ok && found[i] == nil {
				found[i] = u
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		order = order[n:]
	}
	return found, nil
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// Bounds of a batch: what is over one of them is handed over.
const (
	batchRecords = 4096
	batchBytes   = 4 << 20
	batchTime    = 250 * time.Millisecond
)

// maxWrong is how many malformed records of a source are named.
const maxWrong = 20

// A feed gathers what is read of one source until it is handed over. It is used
// by one goroutine.
type feed struct {
	*Sources
	source store.Source

	batch    ledger.Batch
	changes  []tallystick.Change
	raw      [][]byte
	size     int       // bytes of raw records
	records  int       // that were read, whatever they said
	began    time.Time // when the first of them came
	earliest time.Time // of the batch, for the archive
	latest   time.Time
	newest   time.Time // of all that was read

	progress store.SourceProgress // since it was stored last
	wrong    []string             // the newest malformed records
	kept     bool                 // the batch is in the archive

	repeats *repeats // of the file that is being read; nil for what is delivered, which may come twice
}

func (s *Sources) newFeed(one store.Source) *feed {
	return &feed{Sources: s, source: one, wrong: slices.Clone(one.Wrong)}
}

// settings are those of the source's format.
func (f *feed) settings(near time.Time) uses.Settings {
	return uses.Settings{Side: f.source.Side, Near: near}
}

// read takes one record. The error says what was expected of a malformed one;
// the caller says where it is.
func (f *feed) read(stream *uses.Stream, record string) error {
	f.received(record)
	t := taker{feed: f, free: stream.Format.Name == "use"}
	before := len(f.batch.Uses) + len(f.batch.Marks)
	err := stream.Read(record, &t)
	if err == nil {
		err = t.wrong
	}
	if err != nil {
		return err
	}
	if t.free && f.source.Side == tallystick.SideHolder && holder.IsChained(record) && len(f.batch.Uses)+len(f.batch.Marks) > before {
		f.line(record, &t)
	}
	return nil
}

// received keeps a record as it came.
func (f *feed) received(record string) {
	if f.records == 0 {
		f.began = f.Now()
	}
	f.records++
	f.size += len(record)
	if f.Archive != nil && f.source.KeepRaw > 0 {
		f.raw = append(f.raw, []byte(record))
	}
}

// line passes a line of a holder's book on, for its hash.
func (f *feed) line(record string, t *taker) {
	l := ledger.Line{Source: t.book, Side: f.source.Side, Seq: t.seq, Mark: t.mark, Text: []byte(record)}
	if t.mark {
		var mark struct{ Last uint64 }
		if json.Unmarshal(l.Text, &mark) != nil {
			return
		}
		l.Seq = mark.Last
		f.batch.Marks[len(f.batch.Marks)-1].Last = mark.Last
	}
	f.batch.Lines = append(f.batch.Lines, l)
}

// malformed takes note of a record that could not be used: where it is, and what
// was expected there.
func (f *feed) malformed(where string, line int64, err error) {
	f.progress.Malformed++
	f.wrong = append(f.wrong, fmt.Sprintf("%s:%d: %s", where, line, expected(err)))
	f.wrong = f.wrong[max(0, len(f.wrong)-maxWrong):]
	f.progress.Wrong = f.wrong
}

// expected is what an error says of what should have been there, without what is
// there instead: that may be a secret.
func expected(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", and it is ")
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}

// full says that the batch is to be handed over.
func (f *feed) full() bool {
	return f.records >= batchRecords || f.size >= batchBytes || f.records > 0 && f.Now().Sub(f.began) >= batchTime
}

// mark closes the book up to a time.
func (f *feed) mark(closed time.Time) {
	f.batch.Marks = append(f.batch.Marks, ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: f.source.Name, Side: f.source.Side, Closed: closed}})
}

// empty says that there is nothing to hand over.
func (f *feed) empty() bool {
	return f.records == 0 && len(f.batch.Uses)+len(f.batch.Marks)+len(f.changes) == 0
}

// hand hands the batch over. When it returns nil all of it is durable, and the
// feed is empty. After an error it goes on where it stood when it is called again.
func (f *feed) hand(ctx context.Context) (ledger.Appended, error) {
	if f.empty() {
		return ledger.Appended{}, nil
	}
	if !f.kept && len(f.raw) > 0 {
		now := f.Now()
		if f.earliest.IsZero() { // records that say nothing of a use belong to the time at which they came
			f.earliest, f.latest = now, now
		}
		if err := f.Archive.Append(ctx, f.source.ID, f.earliest, f.latest, f.raw); err != nil {
			return ledger.Appended{}, err
		}
	}
	f.kept = true
	result, err := f.Appender.Append(ctx, f.source.Name, f.batch, f.changes)
	if err != nil {
		return ledger.Appended{}, err
	}
	f.progress.Records += int64(result.Added)
	f.progress.Duplicates += int64(result.Duplicates)
	if f.records > 0 {
		f.progress.Heard = f.Now()
	}
	f.forget()
	return result, nil
}

// forget empties the batch; the next one is likely to be as large.
func (f *feed) forget() {
	f.batch = ledger.Batch{Uses: make([]tallystick.Use, 0, len(f.batch.Uses))}
	f.changes, f.raw, f.size, f.records, f.kept = nil, nil, 0, 0, false
	f.earliest, f.latest = time.Time{}, time.Time{}
}

// store stores what was handed over, and from where reading goes on, also while we
// stop: what is durable would come again otherwise, and be counted as a duplicate.
func (f *feed) store(ctx context.Context, position string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	p := f.progress
	p.Position = position
	if err := f.DB.AdvanceSource(ctx, f.source.ID, p); err != nil {
		return err
	}
	f.progress = store.SourceProgress{}
	return nil
}

// A taker takes what one record says; it is the uses.Sink of a source.
type taker struct {
	*feed
	free  bool // the record names its book itself
	book  string
	seq   uint64
	mark  bool
	wrong error
}

var errOtherBook = errors.New("expected a record whose source is the name of this source, or none")

// own gives a record the name of the source. An import, which an administrator
// has chosen, may bring the books of others.
func (t *taker) own(book *string, side tallystick.Side) bool {
	if t.free && t.source.Once && *book != "" {
		t.book = strings.Clone(*book)
		return true
	}
	if t.free && *book != "" && *book != t.source.Name {
		t.wrong = errOtherBook
		return false
	}
	*book, t.book = t.source.Name, t.source.Name
	return side == t.source.Side
}

// Use takes a use; one of the other side says nothing in this book.
func (t *taker) Use(u *tallystick.Use) { t.keep(u, t.repeats) }

func (t *taker) keep(u *tallystick.Use, counted *repeats) {
	k := uses.Keep(u)
	if !t.own(&k.Source, k.Side) {
		return
	}
	t.seq = k.Seq
	t.at(k.Time)
	if k.Until.After(k.Time) {
		t.at(k.Until)
	}
	if counted != nil {
		counted.number(k)
	}
	t.batch.Uses = append(t.batch.Uses, *k)
}

// Lost takes what a holder could not write down, which is kept as a use that
// says so. The tally counts a loss once, however often it stands there.
func (t *taker) Lost(u *tallystick.Use) { t.keep(u, nil) }

// Close takes a closing mark.
func (t *taker) Close(m tallystick.ClosingMark) {
	if !t.own(&m.Source, m.Side) {
		return
	}
	m.Source, t.mark = t.book, true
	t.batch.Marks = append(t.batch.Marks, ledger.Mark{ClosingMark: m})
}

// Change takes a change of who gets in; it is what uses.ChangeSink asks for.
func (t *taker) Change(c *tallystick.Change) {
	k := *c
	k.Source = t.source.Name
	// Who takes a change back has these written into the directory. Only a driver has seen them there
	// itself; a sender could make them up.
	if t.source.Kind != store.SourceDriver {
		k.Values = nil
	}
	t.at(k.Time)
	t.changes = append(t.changes, k)
}

// at takes note of a record's time.
func (t *taker) at(when time.Time) {
	f := t.feed
	if f.earliest.IsZero() || when.Before(f.earliest) {
		f.earliest = when
	}
	if f.latest.IsZero() || when.After(f.latest) {
		f.latest = when
	}
	if when.After(f.newest) && !when.After(f.Now()) { // what claims to be of the future closes no book
		f.newest = when
	}
}

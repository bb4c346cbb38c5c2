// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"hash/maphash"

	"github.com/tallystick/tallystick"
)

// A Writer takes records for a tally. One goroutine uses it; any number of
// writers may write to one tally at the same time.
type Writer struct {
	t      *Tally
	where  uint64
	key    []byte
	known  knownKinds // that were met, so that the lock of the tally is seldom needed
	class  class
	batch  batch
	warmed uint64 // what nobody needs, of a place that is wanted soon
}

// A batch is records of one side on their way to the tally.
type batch struct {
	size   int
	holder bool
	values [columns][batchSize]uint64
	seqs   [batchSize]uint64
	extras []extra
}

// batchSize is how many records are added under one lock.
const batchSize = 256

// Writer returns a writer.
func (t *Tally) Writer() *Writer {
	return &Writer{t: t}
}

// FileShift is where in the argument of Writer.At the number of the file begins.
const FileShift = 48

// At says what the next uses are called in the result. The bits from FileShift
// say which file they are from. Of a log whose records have no ids, equal ones in
// one file are several uses, and in another file they are the same again: all of
// one file is written and flushed before the next.
func (w *Writer) At(where uint64) { w.where = where }

// Use takes a use; nothing of it is kept.
func (w *Writer) Use(u *tallystick.Use) {
	b := &w.batch
	if holder := u.Side == tallystick.SideHolder; b.size == batchSize || holder != b.holder {
		w.Flush()
		b.holder = holder
	}
	secret := w.class.hash(w.t.seed, u)
	w.warmed += w.known.warm(secret)
	check := w.identify(u, secret)
	i, v := b.size, &b.values
	b.size++
	b.seqs[i] = u.Seq
	v[columnAt][i], v[columnWhere][i] = uint64(micro(u.Time)), w.where
	v[columnTie][i], v[columnCheck][i] = uint64(tieOf(u, w.key)), check
	v[columnUTI][i], v[columnRef][i] = hashUTI(u.IDs.UTI), hashOf(refOf(u))
	if !b.holder {
		v[columnRef][i] = uint64(fold(v[columnRef][i])) // with which it is compared
	}
	v[columnCorr][i], v[columnAddr][i] = uint64(looseHash(u.IDs.Correlation)), uint64(looseHash(u.Address))
	v[columnFlags][i], v[columnExtra][i] = flagsOf(u), 0
	v[columnKind][i] = uint64(w.kind(u, secret))
	if u.Count > 1 || u.IDs.Parent != "" {
		b.extras = append(b.extras, extra{until: max(micro(u.Until), micro(u.Time)), count: u.Count, parent: hashOf(u.IDs.Parent), loose: looseHash(u.IDs.Parent)})
		v[columnExtra][i] = uint64(len(b.extras))
	}
}

// identify returns a hash with the tally's secret of what two copies of one record
// have in common, and leaves in w.key what makes a record without an id itself,
// beside its kind: the hash of that, which is secret, is made already.
func (w *Writer) identify(u *tallystick.Use, secret uint64) uint64 {
	if u.ID != "" {
		return max(mix(w.class.named^prime2, maphash.String(w.t.seed, u.ID)), 1)
	}
	w.key = appendRest(w.key[:0], u)
	return max(mix(secret^prime2, maphash.Bytes(w.t.seed, w.key)), 1)
}

func flagsOf(u *tallystick.Use) (flags uint64) {
	if IsNamed(u) {
		flags |= flagNamed
	}
	if u.Seq != 0 {
		flags |= flagNumbered
	}
	return flags
}

// kind returns the number of a use's kind.
func (w *Writer) kind(u *tallystick.Use, secret uint64) uint32 {
	if k := w.known.find(secret); k.secret == secret {
		return k.number
	}
	w.key = kindKey(w.key[:0], u)
	w.t.mu.Lock()
	number := w.t.kindOf(w.key, u)
	w.t.mu.Unlock()
	w.known.put(knownKind{secret, number})
	return number
}

// Close takes a closing mark.
func (w *Writer) Close(m tallystick.ClosingMark) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.books.close(m)
}

// Lost takes what a holder's book lost.
func (w *Writer) Lost(u *tallystick.Use) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.books.lose(u)
}

// Know takes what is known of a book beside the records that are written: of a
// tally over a part of all records, so that it comes to the same verdicts.
func (w *Writer) Know(k Known) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.books.number(k.Source)
	w.t.assumed = append(w.t.assumed, k)
}

// Elsewhere says that a book has records of uses which the tally is not given, so
// that what it lost is of the credentials that it is about.
func (w *Writer) Elsewhere(source string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.books.list[w.t.books.number(source)].elsewhere = true
}

// Join makes one credential of all names.
func (w *Writer) Join(names []string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.names.add(names, true)
}

// Flush hands over what was taken; call it at the end.
func (w *Writer) Flush() {
	b := &w.batch
	if b.size == 0 {
		return
	}
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	if b.holder {
		w.t.holder.add(b)
		for i, seq := range b.seqs[:b.size] {
			book := &w.t.books.list[w.t.kinds.list[b.values[columnKind][i]].source]
			book.span(int64(b.values[columnAt][i]))
			book.add(seq)
		}
	} else {
		w.t.relying.add(b)
	}
	b.size, b.extras = 0, b.extras[:0]
}

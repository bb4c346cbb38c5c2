// SPDX-License-Identifier: Apache-2.0

package tally

import "github.com/tallystick/tallystick"

// A Writer takes records for a tally. One goroutine uses it; any number of
// writers may write to one tally at the same time.
type Writer struct {
	t      *Tally
	where  uint64
	key    []byte
	known  knownKinds // that were met, so that the lock of the tally is seldom needed
	class  class
	warmed uint32 // what nobody needs, of slots that are wanted soon
	batch  []entry
}

// An entry is a record on its way to the tally.
type entry struct {
	record
	seq    uint64
	more   extra
	holder bool
	named  bool // the same again is a duplicate, and not one more
}

// batchSize is how many records are added under one lock.
const batchSize = 512

// Writer returns a writer.
func (t *Tally) Writer() *Writer {
	return &Writer{t: t, batch: make([]entry, 0, batchSize)}
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
	w.batch = w.batch[:len(w.batch)+1] // it has room, and an old entry there is written over
	e := &w.batch[len(w.batch)-1]
	e.seq, e.holder, e.named, e.more = u.Seq, u.Side == tallystick.SideHolder, isNamed(u), extra{}
	e.compress(u, w.where)
	secret := w.class.hash(w.t.seed, u)
	e.kind = w.kind(u, secret)
	if u.ID != "" {
		w.key = e.identifyNamed(w.key, w.t.seed, u)
	} else {
		w.key = e.identify(w.key, w.t.seed, u, w.known.hashes[e.kind], secret)
	}
	if u.Count > 1 || u.IDs.Parent != "" {
		e.more = extra{until: max(micro(u.Until), e.at), count: u.Count, parent: hashOf(u.IDs.Parent), loose: looseHash(u.IDs.Parent)}
	}
	if len(w.batch) == batchSize {
		w.Flush()
	}
}

// kind returns the number of a use's kind.
func (w *Writer) kind(u *tallystick.Use, secret uint64) uint32 {
	if k := w.known.find(secret); k.secret == secret {
		return k.number
	}
	w.key = kindKey(w.key[:0], u)
	w.t.mu.Lock()
	number := w.t.kindOf(w.key, u)
	hash := w.t.kinds.list[number].hash
	w.t.mu.Unlock()
	w.known.put(knownKind{secret, number}, hash)
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

// Join makes one credential of all names.
func (w *Writer) Join(names []string) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.names.add(names, true)
}

// Flush hands over what was taken; call it at the end.
func (w *Writer) Flush() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for i := range w.batch {
		w.warmed += w.t.sideOf(&w.batch[i]).ids.warm(w.batch[i].id)
	}
	for i := range w.batch {
		w.t.take(&w.batch[i])
	}
	w.batch = w.batch[:0]
}

func (t *Tally) sideOf(e *entry) *side {
	if e.holder {
		return &t.holder
	}
	return &t.relying
}

// take adds a record.
func (t *Tally) take(e *entry) {
	s := t.sideOf(e)
	if file := e.where >> FileShift; file != t.file {
		t.file = file
		clear(t.repeats)
	}
	isNew := t.insert(s, e)
	if !e.holder {
		return
	}
	book := &t.books.list[t.kinds.list[e.kind].source]
	book.span(e.at)
	if isNew {
		book.add(e.seq)
	}
}

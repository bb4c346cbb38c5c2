// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"encoding/json"

	"github.com/tallystick/tallystick"
)

// The body of a frame is the time at which it was received and items. Numbers
// are varints, texts have their length before them. Dictionaries grow by items
// of their own; the n-th of a kind in a log has the number n, as in the table
// that the log is of, so that a row names what it shares in a byte or two.
const (
	itemString byte = iota + 1
	itemKind
	itemList
	itemRow
	itemClosing
	itemChain
)

// A Mark is a closing mark and, if it says so, the number of the last record
// before it: a book whose end was cut off shows by that.
type Mark struct {
	tallystick.ClosingMark
	Last uint64
}

// An encoder writes the body of a frame beside the table that it is about.
type encoder struct {
	t                     *table
	out                   []byte
	kinds, strings, lists int // that the log has
	at                    int64
	items                 int
}

func newEncoder(t *table, buffer []byte, received int64) *encoder {
	return &encoder{
		t: t, out: binary.AppendVarint(buffer, received),
		kinds: len(t.kinds), strings: len(t.strings), lists: len(t.lists),
	}
}

func appendText(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// definitions writes what the table has and the log does not.
func (e *encoder) definitions() {
	for ; e.strings < len(e.t.strings); e.strings++ {
		e.out = appendText(append(e.out, itemString), e.t.strings[e.strings])
	}
	for ; e.kinds < len(e.t.kinds); e.kinds++ {
		e.out = append(e.out, itemKind)
		k := &e.t.kinds[e.kinds]
		for _, s := range []string{k.source, k.side, k.level, k.holder, k.relyingParty, k.outcome} {
			e.out = appendText(e.out, s)
		}
	}
	for ; e.lists < len(e.t.lists); e.lists++ {
		names := e.t.lists[e.lists].names
		e.out = binary.AppendUvarint(append(e.out, itemList), uint64(len(names)))
		for _, name := range names {
			e.out = appendText(e.out, name)
		}
	}
}

// The bits of a row that say what follows.
const (
	hasAddress = 1 << iota
	hasAgent
	hasOperation
	hasResource
	hasDetail
	hasSeq
	hasPort
	hasNanos
	hasExtra
	hasID0 // and three more
)

func (e *encoder) row(r *row) {
	if e.strings < len(e.t.strings) || e.kinds < len(e.t.kinds) || e.lists < len(e.t.lists) {
		e.definitions()
	}
	e.items++
	b := append(e.out, itemRow)
	b = binary.AppendVarint(b, r.at-e.at)
	e.at = r.at
	b = binary.AppendUvarint(b, uint64(r.kind))
	b = binary.AppendUvarint(b, uint64(r.names))
	b = binary.LittleEndian.AppendUint64(b, r.identity)
	bits, bitsAt := 0, len(b)
	b = append(b, 0, 0)
	for i, n := range [...]uint64{
		uint64(r.address), uint64(r.agent), uint64(r.operation), uint64(r.resource), uint64(r.detail), r.seq, uint64(r.port), uint64(r.nanos),
	} {
		if n != 0 {
			bits |= 1 << i
			b = binary.AppendUvarint(b, n)
		}
	}
	for i, f := range r.forms {
		if f != formNone {
			bits |= hasID0 << i
			b = e.t.appendCell(b, r.ids[i], f)
		}
	}
	if r.extra > 0 {
		bits |= hasExtra
		b = e.t.appendExtra(b, e.t.extras.at(int(r.extra-1)))
	}
	binary.LittleEndian.PutUint16(b[bitsAt:], uint16(bits))
	e.out = b
}

func (t *table) appendCell(b []byte, c cell, f form) []byte {
	b = append(b, byte(f))
	switch f {
	case formNone:
		return b
	case formText:
		text := t.text.get(c)
		return append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return append(b, c[:]...)
}

// The bits of an extra.
const (
	extraUntil = 1 << iota
	extraCount
	extraHash
	extraIDs
	extraOther
	extraPort
)

func (t *table) appendExtra(b []byte, x *extra) []byte {
	bits, bitsAt := byte(0), len(b)
	b = append(b, 0)
	if x.hasUntil {
		bits |= extraUntil
		b = binary.AppendUvarint(binary.AppendVarint(b, x.until), uint64(x.untilNanos))
	}
	if x.hasCount {
		bits |= extraCount
		b = binary.AppendVarint(b, x.count)
	}
	if x.hasPort {
		bits |= extraPort
		b = binary.AppendVarint(b, x.port)
	}
	if x.hasHash {
		bits |= extraHash
		b = append(b, x.hash[:]...)
	}
	for i := range x.ids {
		b = t.appendCell(b, x.ids[i], x.forms[i])
	}
	if x.hasIDs {
		bits |= extraIDs
		b = t.appendCell(b, x.otherIDs, formText)
	}
	if x.hasOther {
		bits |= extraOther
		b = t.appendCell(b, x.other, formText)
	}
	b[bitsAt] = bits
	return b
}

func (e *encoder) closing(m *Mark) {
	e.items++
	at, _ := split(m.Closed) // earlier by a part of a microsecond: never more than was said
	e.out = appendText(appendText(append(e.out, itemClosing), m.Source), string(m.Side))
	e.out = binary.AppendUvarint(binary.AppendVarint(e.out, at), m.Last)
}

func (e *encoder) chain(c *bookChain) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	e.items++
	e.out = appendText(append(e.out, itemChain), string(text))
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

var errShort = errors.New("an item is not whole")

// A decoder reads the body of a frame into a table and books.
type decoder struct {
	t        *table
	books    books
	in       []byte
	received int64
	at       int64
	bad      bool
}

// readBody applies a frame. What it says is checked: a table that was made from
// it can be read without looking again.
func readBody(t *table, b books, body []byte) error {
	d := &decoder{t: t, books: b, in: body}
	d.received = d.signed()
	for len(d.in) > 0 && !d.bad {
		item := d.in[0]
		d.in = d.in[1:]
		if err := d.item(item); err != nil {
			return err
		}
	}
	if d.bad {
		return errShort
	}
	return nil
}

func (d *decoder) item(item byte) error {
	switch item {
	case itemString:
		s := d.text()
		d.t.addString(s, d.t.key.text(digest{}, s))
	case itemKind:
		k := kind{d.text(), d.text(), d.text(), d.text(), d.text(), d.text()}
		origin, all := d.t.key.kind(&k)
		d.t.addKind(k, origin, all)
	case itemList:
		n := d.number()
		if n > uint64(len(d.in)) {
			return errShort
		}
		var names []string
		for range n {
			names = append(names, d.text())
		}
		d.t.addList(newList(d.t.key, names), d.t.key.list(names))
	case itemRow:
		return d.row()
	case itemClosing:
		source, side, at, last := d.text(), d.text(), d.signed(), d.number()
		if !d.bad {
			d.books.of(source, side).close(at, last, d.received)
		}
	case itemChain:
		var c bookChain
		if err := json.Unmarshal([]byte(d.text()), &c); err != nil {
			return err
		}
		if !c.valid() {
			return errShort
		}
		d.books.of(c.Source, c.Side).Chain.merge(&c)
	default:
		return errors.New("an item of no known kind")
	}
	return nil
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.in)
	if size <= 0 {
		d.bad, d.in = true, nil
		return 0
	}
	d.in = d.in[size:]
	return n
}

func (d *decoder) signed() int64 {
	n, size := binary.Varint(d.in)
	if size <= 0 {
		d.bad, d.in = true, nil
		return 0
	}
	d.in = d.in[size:]
	return n
}

// bytes takes n bytes.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.in)) {
		d.bad, d.in = true, nil
		return nil
	}
	b := d.in[:n]
	d.in = d.in[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes(d.number())) }

// below takes a number that must be less than n.
func (d *decoder) below(n int) uint32 {
	v := d.number()
	if v >= uint64(n) {
		d.bad, d.in = true, nil
		return 0
	}
	return uint32(v)
}

func (d *decoder) row() error {
	t := d.t
	var r row
	r.at = d.at + d.signed()
	d.at = r.at
	r.kind, r.names = d.below(len(t.kinds)), d.below(len(t.lists))
	if b := d.bytes(8); b != nil {
		r.identity = binary.LittleEndian.Uint64(b)
	}
	bits := 0
	if b := d.bytes(2); b != nil {
		bits = int(binary.LittleEndian.Uint16(b))
	}
	for i, ref := range [...]*uint32{&r.address, &r.agent, &r.operation, &r.resource, &r.detail} {
		if bits&(1<<i) != 0 {
			*ref = d.below(len(t.strings))
		}
	}
	if bits&hasSeq != 0 {
		r.seq = d.number()
	}
	if bits&hasPort != 0 {
		r.port = uint16(d.below(1 << 16))
	}
	if bits&hasNanos != 0 {
		r.nanos = uint16(d.below(1000))
	}
	for i := range r.ids {
		if bits&(hasID0<<i) != 0 {
			r.ids[i], r.forms[i] = d.cell()
		}
	}
	var x extra
	if bits&hasExtra != 0 {
		d.extra(&x)
	}
	if d.bad || r.identity == 0 {
		return errShort
	}
	if bits&hasExtra != 0 {
		*t.extras.next() = x
		r.extra = uint32(t.extras.n)
	}
	*t.rows.next() = r
	t.seen.add(r.identity)
	t.minAt, t.maxAt = min(t.minAt, r.at), max(t.maxAt, r.at)
	k := &t.kinds[r.kind]
	d.books.of(k.source, k.side).note(&r, d.received)
	return nil
}

func (d *decoder) cell() (c cell, f form) {
	b := d.bytes(1)
	if b == nil || form(b[0]) >= forms {
		d.bad, d.in = true, nil
		return c, formNone
	}
	switch f = form(b[0]); f {
	case formNone:
		return c, f
	case formText:
		return d.t.text.put(d.text()), f
	}
	copy(c[:], d.bytes(16))
	return c, f
}

func (d *decoder) extra(x *extra) {
	bits := byte(0)
	if b := d.bytes(1); b != nil {
		bits = b[0]
	}
	x.hasUntil, x.hasCount, x.hasHash = bits&extraUntil != 0, bits&extraCount != 0, bits&extraHash != 0
	x.hasIDs, x.hasOther = bits&extraIDs != 0, bits&extraOther != 0
	if x.hasUntil {
		x.until = d.signed()
		x.untilNanos = uint16(d.below(1000))
	}
	x.count = 1
	if x.hasCount {
		x.count = d.signed()
	}
	if x.hasPort = bits&extraPort != 0; x.hasPort {
		x.port = d.signed()
	}
	if x.hasHash {
		copy(x.hash[:], d.bytes(32))
	}
	for i := range x.ids {
		x.ids[i], x.forms[i] = d.cell()
	}
	if x.hasIDs {
		x.otherIDs = d.jsonText()
	}
	if x.hasOther {
		x.other = d.jsonText()
	}
}

// jsonText takes a cell that must be a text.
func (d *decoder) jsonText() cell {
	c, f := d.cell()
	if f != formText {
		d.bad, d.in = true, nil
	}
	return c
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"unsafe"

	"github.com/tallystick/tallystick"
)

// groupSize is how many uses are looked up together: the memory that they need
// is fetched for all of them at once, which is most of what a look-up costs.
const groupSize = 16

// add puts up to groupSize uses into the table, but for those that the table,
// elsewhere or an earlier one of them has already. What is new is in the rows
// behind those that were there.
func (t *table) add(uses []*tallystick.Use, elsewhere func(at int64, identity uint64) bool) {
	rows, extras, text := t.rows.n, t.extras.n, t.text.mark()
	var kinds, lists [groupSize]digest
	var identities [groupSize]uint64
	touched := uint64(0)
	for i, u := range uses {
		kinds[i], lists[i] = t.key.kindOf(u), t.key.list(u.Credential)
	}
	for i := range uses {
		touched += t.kindOf.touch(kinds[i]) + t.listOf.touch(lists[i])
	}
	for i, u := range uses {
		r := t.rows.next()
		t.fill(r, u, kinds[i], lists[i])
		identities[i] = r.identity
	}
	for _, identity := range identities[:len(uses)] {
		touched += t.seen.touch(identity)
	}
	t.touched = touched
	end := rows
	for i := range uses {
		r := t.rows.at(rows + i)
		if t.seen.has(r.identity) || elsewhere(r.at, r.identity) {
			continue
		}
		t.seen.add(r.identity)
		t.minAt, t.maxAt = min(t.minAt, r.at), max(t.maxAt, r.at)
		if end < rows+i {
			*t.rows.at(end) = *r
		}
		end++
	}
	t.rows.cut(end)
	if end == rows {
		t.extras.cut(extras)
		t.text.cut(text)
	}
}

// fill makes a row of a use.
func (t *table) fill(r *row, u *tallystick.Use, kind, list digest) {
	r.kind, r.names = t.kind(u, kind), t.list(u.Credential, list)
	r.address, r.agent = t.string(u.Address), t.string(u.Agent)
	r.operation, r.resource, r.detail = t.string(u.Operation), t.string(u.Resource), t.string(u.Detail)
	r.at, r.nanos = split(u.Time)
	r.seq, r.port = u.Seq, int64(u.Port)
	ids := [4]*string{&u.ID, &u.IDs.UTI, &u.IDs.Correlation, &u.IDs.Request}
	h := uint64(0)
	for i, s := range ids {
		r.ids[i], r.forms[i] = t.cell(*s)
		h = t.idHash(h, &r.ids[i], r.forms[i])
	}
	x := t.fillExtra(r, u)
	r.identity = t.identity(r, h, x)
}

// cell returns the cell of an identifier.
func (t *table) cell(s string) (cell, form) {
	c, f := spelled(s)
	if f == formText {
		c = t.text.put(owned(s))
	}
	return c, f
}

func (t *table) idHash(seed uint64, c *cell, f form) uint64 {
	if f == formText {
		text := t.text.get(*c)
		return t.key.text(digest{seed}, unsafe.String(unsafe.SliceData(text), len(text)))[0]
	}
	return t.key.cell(seed, c, f)
}

// identity hashes what two copies of one record have in common: the id that
// whoever wrote it has given it, or else all that it says. A number in a book is
// not enough, because a writer that was started again may count from one again;
// a number that is told twice with different content is in Books. The time is
// part of it, so that only segments of that time are asked.
func (t *table) identity(r *row, ids, extras uint64) uint64 {
	h := t.key.number(t.key.number(0, uint64(r.at)), uint64(r.nanos))
	if r.forms[idRecord] != formNone {
		h = t.idHash(t.key.number(h, t.origins[r.kind][0]), &r.ids[idRecord], r.forms[idRecord])
		return max(h, 1)
	}
	text := t.stringOf.digests
	h = t.key.number(t.key.number(h, t.kindOf.digests[r.kind][0]), t.listOf.digests[r.names][0])
	h = t.key.number(t.key.number(h, text[r.address][0]), text[r.agent][0]^r.seq)
	h = t.key.number(t.key.number(h, text[r.operation][0]), text[r.resource][0]^uint64(r.port))
	h = t.key.number(t.key.number(h, text[r.detail][0]), ids)
	return max(t.key.number(h, extras), 1)
}

// fillExtra makes the extra of a use that needs one, and returns its hash.
func (t *table) fillExtra(r *row, u *tallystick.Use) uint64 {
	ids := &u.IDs
	if (u.Count == 1) && u.Until.Equal(u.Time) && len(u.Other) == 0 && len(ids.Other) == 0 &&
		ids.Session == "" && ids.Queue == "" && ids.Serial == "" && ids.Parent == "" {
		r.extra = 0
		return 0
	}
	x := t.extras.next()
	*x = extra{}
	r.extra = uint32(t.extras.n)
	h := uint64(3)
	if !u.Until.Equal(u.Time) {
		x.hasUntil = true
		x.until, x.untilNanos = split(u.Until)
		h = t.key.number(t.key.number(h, uint64(x.until)), uint64(x.untilNanos))
	}
	x.hasCount, x.count = u.Count != 1, u.Count
	h = t.key.number(h, uint64(u.Count))
	for i, s := range [4]*string{&ids.Session, &ids.Queue, &ids.Serial, &ids.Parent} {
		x.ids[i], x.forms[i] = t.cell(*s)
		h = t.idHash(h, &x.ids[i], x.forms[i])
	}
	if len(ids.Other) > 0 {
		text := writeStrings(ids.Other)
		x.hasIDs, x.otherIDs = true, t.text.put(text)
		h = t.key.text(digest{h}, text)[0]
	}
	return t.fillOther(x, u.Other, h)
}

// fillOther keeps the members that version 1 does not name. The hash of a line
// is kept as 32 bytes.
func (t *table) fillOther(x *extra, other map[string]string, h uint64) uint64 {
	n := len(other)
	if value, ok := other["hash"]; ok {
		if x.hash, x.hasHash = readHash(value); x.hasHash {
			n--
			h = t.key.text(digest{h}, value)[0]
		}
	}
	if n == 0 {
		return h
	}
	text := owned(writeMembers(other, x.hasHash))
	x.hasOther, x.other = true, t.text.put(text)
	return t.key.text(digest{h}, text)[0]
}

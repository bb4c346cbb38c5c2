// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"unsafe"

	"github.com/tallystick/tallystick"
)

// groupSize is how many uses are looked up together: the memory that they need
// is fetched for all of them at once, which is most of what a look-up costs.
const groupSize = 16

// known are the digests of what most records share with others.
type known struct{ kind, list, address digest }

// add puts up to groupSize uses into the table, but for those that the table,
// elsewhere, which has none that is later than latest, or an earlier one of them
// has already. What is new is in the rows
// behind those that were there, and its bit is set in the answer.
func (t *table) add(uses []*tallystick.Use, elsewhere func(at int64, identity uint64) bool, latest int64) (added uint) {
	rows, extras, text := t.rows.n, t.extras.n, t.text.mark()
	var of [groupSize]known
	touched := uint64(0)
	for _, u := range uses {
		touched += touchTexts(u)
	}
	for i, u := range uses {
		of[i] = known{t.key.kindOf(u), t.key.list(u.Credential), t.key.text(digest{}, u.Address)}
	}
	for i := range uses {
		touched += t.kindOf.touch(of[i].kind) + t.listOf.touch(of[i].list) + t.stringOf.touch(of[i].address)
	}
	for i, u := range uses {
		t.fill(t.rows.next(), u, &of[i])
	}
	for i := range uses {
		touched += t.seen.touch(t.rows.at(rows + i).identity)
	}
	t.touched = touched
	end := rows
	for i := range uses {
		r := t.rows.at(rows + i)
		if r.at <= latest && elsewhere(r.at, r.identity) || !t.seen.add(r.identity) {
			continue
		}
		t.minAt, t.maxAt = min(t.minAt, r.at), max(t.maxAt, r.at)
		if end < rows+i {
			*t.rows.at(end) = *r
		}
		end++
		added |= 1 << i
	}
	t.rows.cut(end)
	if end == rows {
		t.extras.cut(extras)
		t.text.cut(text)
	}
	return added
}

// touchTexts reads a letter of the texts that are hashed soon.
func touchTexts(u *tallystick.Use) (sum uint64) {
	for _, name := range u.Credential {
		if len(name) > 0 {
			sum += uint64(name[0])
		}
	}
	for _, s := range [...]string{u.Holder, u.RelyingParty, u.Address, u.IDs.UTI} {
		if len(s) > 0 {
			sum += uint64(s[0])
		}
	}
	return sum
}

// fill makes a row, which is empty, of a use.
func (t *table) fill(r *row, u *tallystick.Use, of *known) {
	var share shared
	r.kind, share.kind = t.kind(u, of.kind)
	r.names, share.list = t.list(u.Credential, of.list)
	r.address, share.address = t.string(u.Address, of.address)
	share.agent, share.operation, share.resource, share.detail = t.none, t.none, t.none, t.none
	if u.Agent != "" {
		r.agent, share.agent = t.string(u.Agent, t.key.text(digest{}, u.Agent))
	}
	if u.Operation != "" {
		r.operation, share.operation = t.string(u.Operation, t.key.text(digest{}, u.Operation))
	}
	if u.Resource != "" {
		r.resource, share.resource = t.string(u.Resource, t.key.text(digest{}, u.Resource))
	}
	if u.Detail != "" {
		r.detail, share.detail = t.string(u.Detail, t.key.text(digest{}, u.Detail))
	}
	r.at, r.nanos = split(u.Time)
	r.seq = u.Seq
	if isPort(u.Port) {
		r.port = uint16(u.Port)
	}
	h := uint64(0)
	for i, s := range [4]string{u.ID, u.IDs.UTI, u.IDs.Correlation, u.IDs.Request} {
		if s != "" {
			r.forms[i] = t.cell(&r.ids[i], s)
			h = t.idHash(h+uint64(i), &r.ids[i], r.forms[i])
		}
	}
	x := t.fillExtra(r, u)
	r.identity = t.identity(r, &share, h, x)
}

func isPort(n int) bool { return n == int(uint16(n)) }

// cell sets c to the cell of an identifier.
func (t *table) cell(c *cell, s string) form {
	f := formNone
	if *c, f = spelled(s); f == formText {
		*c = t.text.put(owned(s))
	}
	return f
}

func (t *table) idHash(seed uint64, c *cell, f form) uint64 {
	if f == formText {
		text := t.text.get(*c)
		return t.key.text(digest{a: seed}, unsafe.String(unsafe.SliceData(text), len(text))).a
	}
	return t.key.cell(seed, c, f)
}

// shared are halves of the digests of the texts of a row, as they are kept.
type shared struct{ kind, list, address, agent, operation, resource, detail uint64 }

// identity hashes what two copies of one record have in common: the id that
// whoever wrote it has given it, or else all that it says. A number in a book is
// not enough, because a writer that was started again may count from one again;
// a number that is told twice with different content is in Books. The time is
// part of it, so that only segments of that time are asked.
func (t *table) identity(r *row, share *shared, ids, extras uint64) uint64 {
	k := t.key
	a := k.number(uint64(r.at), uint64(r.nanos))
	if r.forms[idRecord] != formNone {
		a = t.idHash(k.number(a, t.origins[r.kind].a), &r.ids[idRecord], r.forms[idRecord])
		return max(a, 1)
	}
	// Two halves, because each step waits for the one before it.
	b := k.number(share.list, share.agent^r.seq)
	a = k.number(k.number(a, share.kind), share.address)
	b = k.number(k.number(b, share.operation), share.resource^uint64(r.port))
	a = k.number(k.number(a, share.detail), ids)
	return max(mix(a^k[2], k.number(b, extras)^k[3]), 1)
}

// fillExtra makes the extra of a use that needs one, and returns its hash.
func (t *table) fillExtra(r *row, u *tallystick.Use) uint64 {
	ids := &u.IDs
	if (u.Count == 1) && u.Until.Equal(u.Time) && len(u.Other) == 0 && len(ids.Other) == 0 && isPort(u.Port) &&
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
	if !isPort(u.Port) {
		x.hasPort, x.port = true, int64(u.Port)
		h = t.key.number(h, uint64(x.port))
	}
	x.hasCount, x.count = u.Count != 1, u.Count
	h = t.key.number(h, uint64(u.Count))
	for i, s := range [4]string{ids.Session, ids.Queue, ids.Serial, ids.Parent} {
		if s != "" {
			x.forms[i] = t.cell(&x.ids[i], s)
			h = t.idHash(h+uint64(i), &x.ids[i], x.forms[i])
		}
	}
	if len(ids.Other) > 0 {
		text := writeStrings(ids.Other)
		x.hasIDs, x.otherIDs = true, t.text.put(text)
		h = t.key.text(digest{a: h}, text).a
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
			h = t.key.text(digest{a: h}, value).a
		}
	}
	if n == 0 {
		return h
	}
	text := owned(writeMembers(other, x.hasHash))
	x.hasOther, x.other = true, t.text.put(text)
	return t.key.text(digest{a: h}, text).a
}

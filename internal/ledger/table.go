// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// A table holds the rows of a segment in the making, or those that were read
// back from a sealed one. It has one writer. What is below a snapshot's counts
// does not change, so that readers need no lock.
type table struct {
	key    *hashKey
	rows   blocks[row]
	extras blocks[extra]
	text   arena
	minAt  int64
	maxAt  int64

	kinds   []kind
	strings []string
	lists   []list // names of credentials

	*dictionaries // nil in a snapshot
}

// A list is the names of a credential as they were given.
type list struct {
	names  []string
	json   string   // of names
	normal []string // the names as they compare
	hashes []uint64 // of normal, for the index
}

// dictionaries find what a table has already.
type dictionaries struct {
	kindOf, stringOf, listOf interner
	books                    []*book  // of kinds, nil when it was not needed yet
	origins                  []digest // of the source and side of kinds
	seen                     set
	none                     uint64 // half of the digest of ""
	touched                  uint64 // keeps reads ahead from being left out
	// before are the lists of the table before this one, which most credentials
	// are in: they need not be made again.
	before lists
}

// lists find the lists of a table that takes no more.
type lists struct {
	of   interner
	list []list
}

func (l *lists) find(d digest) (list, bool) {
	n, ok := l.of.find(d)
	if !ok {
		return list{}, false
	}
	return l.list[n], true
}

func newTable(key *hashKey) *table {
	t := &table{key: key, minAt: maxTime, maxAt: minTime, dictionaries: &dictionaries{}}
	none := t.key.text(digest{}, "")
	t.addString("", none)
	t.none = none.a
	return t
}

// expect makes room for as much as another table has, the one before.
func (t *table) expect(o *table) {
	t.before = lists{o.listOf, o.lists}
	t.kindOf.expect(len(o.kindOf.digests))
	t.stringOf.expect(len(o.stringOf.digests))
	t.listOf.expect(len(o.listOf.digests))
	t.seen.expect(o.seen.used)
}

// A mark says how much of a table there was.
type mark struct {
	rows, extras, kinds, strings, lists int
	text                                [2]int
	minAt, maxAt                        int64
}

func (t *table) mark() mark {
	return mark{t.rows.n, t.extras.n, len(t.kinds), len(t.strings), len(t.lists), t.text.mark(), t.minAt, t.maxAt}
}

// snapshot returns the table as it is now, for readers.
func (t *table) snapshot() *table {
	return &table{
		key: t.key, rows: t.rows, extras: t.extras, text: arena{slices.Clone(t.text.chunks)},
		minAt: t.minAt, maxAt: t.maxAt, kinds: t.kinds, strings: t.strings, lists: t.lists,
	}
}

// back goes back to a mark, when what came after it could not be written. It is
// rare and may cost as much as the table has rows.
func (t *table) back(m mark) {
	t.kindOf.cut(m.kinds)
	t.stringOf.cut(m.strings)
	t.listOf.cut(m.lists)
	t.books, t.origins = t.books[:m.kinds], t.origins[:m.kinds]
	// Readers may hold the slices: what comes next must not be written over theirs.
	t.kinds, t.strings, t.lists = slices.Clone(t.kinds[:m.kinds]), slices.Clone(t.strings[:m.strings]), slices.Clone(t.lists[:m.lists])
	t.minAt, t.maxAt = m.minAt, m.maxAt
	t.extras.cut(m.extras)
	t.text.cut(m.text)
	if t.rows.n == m.rows {
		return
	}
	t.rows.cut(m.rows)
	t.seen = set{}
	for i := range t.rows.n {
		t.seen.add(t.rows.at(i).identity)
	}
}

// What follows gives texts numbers. Digests are of the text as it is kept, so
// that it makes no difference whether a record was cleaned before.

// kind returns the number of the kind that has a digest, and half of the digest
// of it as it is kept.
func (t *table) kind(u *tallystick.Use, d digest) (uint32, uint64) {
	n, ok := t.kindOf.find(d)
	if ok {
		return n, d.a
	}
	k := kind{
		owned(u.Source), owned(string(u.Side)), owned(string(u.Level)), owned(u.Holder), owned(u.RelyingParty), owned(string(u.Outcome)),
	}
	origin, d := t.key.kind(&k)
	if n, ok = t.kindOf.find(d); !ok {
		n = t.addKind(k, origin, d)
	}
	return n, d.a
}

// kindOf digests the kind of a use.
func (k *hashKey) kindOf(u *tallystick.Use) digest {
	d := k.on(k.on(digest{k[0], 1}, u.Source), string(u.Side))
	return k.end(k.on(k.on(k.on(k.on(d, string(u.Level)), u.Holder), u.RelyingParty), string(u.Outcome)))
}

// kind digests a kind, and its source and side apart.
func (k *hashKey) kind(of *kind) (origin, all digest) {
	origin = k.on(k.on(digest{k[0], 1}, of.source), of.side)
	return origin, k.end(k.on(k.on(k.on(k.on(origin, of.level), of.holder), of.relyingParty), of.outcome))
}

func (t *table) addKind(k kind, origin, d digest) uint32 {
	t.kinds = append(t.kinds, k)
	t.books, t.origins = append(t.books, nil), append(t.origins, origin)
	return t.kindOf.add(d)
}

// owned returns a copy that pins nothing, and is text: Parquet's strings are
// UTF-8, and a reader may refuse a whole file for one that is not.
func owned(s string) string { return strings.ToValidUTF8(strings.Clone(s), "\ufffd") }

// string returns the number of a text and half of its digest, as kind does.
func (t *table) string(s string, d digest) (uint32, uint64) {
	n, ok := t.stringOf.find(d)
	if ok {
		return n, d.a
	}
	s = owned(s)
	d = t.key.text(digest{}, s)
	if n, ok = t.stringOf.find(d); !ok {
		n = t.addString(s, d)
	}
	return n, d.a
}

func (t *table) addString(s string, d digest) uint32 {
	t.strings = append(t.strings, s)
	return t.stringOf.add(d)
}

// list returns the number of a list of names and half of its digest, as kind does.
func (t *table) list(names []string, d digest) (uint32, uint64) {
	n, ok := t.listOf.find(d)
	if ok {
		return n, d.a
	}
	if l, ok := t.before.find(d); ok {
		return t.addList(l, d), d.a
	}
	l := newList(t.key, names)
	d = t.key.list(l.names)
	if n, ok = t.listOf.find(d); !ok {
		n = t.addList(l, d)
	}
	return n, d.a
}

// list digests names in their order.
func (k *hashKey) list(names []string) digest {
	d := digest{k[0], 2 + uint64(len(names))}
	for _, name := range names {
		d = k.on(d, name)
	}
	return k.end(d)
}

func (t *table) addList(l list, d digest) uint32 {
	t.lists = append(t.lists, l)
	return t.listOf.add(d)
}

func newList(key *hashKey, names []string) list {
	l := list{names: make([]string, 0, len(names))}
	for _, name := range names {
		name = owned(name)
		l.names = append(l.names, name)
		normal := tallystick.NormalName(name)
		l.normal, l.hashes = append(l.normal, normal), append(l.hashes, key.text(digest{}, normal).a)
	}
	l.json = writeNames(l.names)
	if len(names) == 0 {
		l.names = nil
	}
	return l
}

// use returns row i as it was given.
func (t *table) use(r *row) *tallystick.Use {
	k := &t.kinds[r.kind]
	u := &tallystick.Use{
		ID: t.id(r.ids[idRecord], r.forms[idRecord]), Source: k.source, Seq: r.seq, Side: tallystick.Side(k.side), Level: tallystick.Level(k.level),
		Time: join(r.at, r.nanos), Count: 1, Credential: slices.Clone(t.lists[r.names].names), Holder: k.holder, RelyingParty: k.relyingParty,
		Outcome: tallystick.Outcome(k.outcome), Address: t.strings[r.address], Port: int(r.port), Agent: t.strings[r.agent],
		Operation: t.strings[r.operation], Resource: t.strings[r.resource], Detail: t.strings[r.detail],
	}
	u.Until = u.Time
	u.IDs.UTI, u.IDs.Correlation, u.IDs.Request = t.id(r.ids[idUTI], r.forms[idUTI]), t.id(r.ids[idCorrelation], r.forms[idCorrelation]), t.id(r.ids[idRequest], r.forms[idRequest])
	if r.extra > 0 {
		t.useExtra(u, t.extras.at(int(r.extra-1)))
	}
	return u
}

func (t *table) useExtra(u *tallystick.Use, x *extra) {
	if x.hasUntil {
		u.Until = join(x.until, x.untilNanos)
	}
	if x.hasCount {
		u.Count = x.count
	}
	if x.hasPort {
		u.Port = int(x.port)
	}
	u.IDs.Session, u.IDs.Queue = t.id(x.ids[0], x.forms[0]), t.id(x.ids[1], x.forms[1])
	u.IDs.Serial, u.IDs.Parent = t.id(x.ids[2], x.forms[2]), t.id(x.ids[3], x.forms[3])
	if x.hasIDs {
		u.IDs.Other = readStrings(t.text.get(x.otherIDs))
	}
	if x.hasOther {
		u.Other = readMembers(t.text.get(x.other))
	}
	if x.hasHash {
		if u.Other == nil {
			u.Other = map[string]string{}
		}
		u.Other["hash"] = hashMember(&x.hash)
	}
}

func (t *table) id(c cell, f form) string {
	if f == formNone {
		return ""
	}
	if f == formText {
		return string(t.text.get(c))
	}
	return f.text(c)
}

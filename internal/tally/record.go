// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A record is what is kept of a use.
type record struct {
	at    int64  // microseconds since 1970
	id    uint64 // hash of what makes it this record and no other; also breaks ties
	check uint64 // another, with the tally's secret: two records are one when both are equal
	uti   uint64 // hash of the token id in its normal form, 0 none
	ref   uint64 // hash of an identifier that the relying party gave, 0 none
	where uint64
	corr  uint32 // of the correlation id: it prefers, and clears nothing
	addr  uint32 // of the address, as well
	kind  uint32 // index of kinds
	extra uint32 // index of side.extras and one more, 0 none
}

// An extra is what few records have.
type extra struct {
	until, count int64
	parent       uint64 // hash of an identifier of the use it was made with, 0 none
	loose        uint32 // the same as correlation ids are hashed
}

// micro returns a time as records have it.
func micro(t time.Time) int64 { return t.Unix()*1e6 + int64(t.Nanosecond()/1e3) }

func fromMicro(at int64) time.Time { return time.UnixMicro(at).UTC() }

// compress makes it the record of a use, all but its identity and kind.
func (r *record) compress(u *tallystick.Use, where uint64) {
	r.at, r.where, r.uti, r.ref = micro(u.Time), where, hashUTI(u.IDs.UTI), hashOf(refOf(u))
	r.corr, r.addr, r.extra = looseHash(u.IDs.Correlation), looseHash(u.Address), 0
}

// refOf returns the identifier that the relying party gave.
func refOf(u *tallystick.Use) string {
	for _, id := range [...]*string{&u.IDs.Request, &u.IDs.Queue, &u.IDs.Session, &u.IDs.Serial} {
		if *id != "" {
			return *id
		}
	}
	return u.ID
}

// identity appends what two copies of one record have in common. Whoever gave the
// record an id, or a number in its book, has said so; a record without either is
// known by all that it says. The number alone is not enough: a writer that was
// started again may count from one again, and a record must not vanish for that.
func identity(key []byte, u *tallystick.Use) []byte {
	key = appendText(appendText(appendText(key, string(u.Side)), u.Source), u.ID)
	if u.ID != "" {
		return key
	}
	for _, n := range [...]int64{int64(u.Seq), u.Time.Unix(), int64(u.Time.Nanosecond()), u.Count, u.Until.Unix(), int64(u.Until.Nanosecond()), int64(u.Port)} {
		key = binary.LittleEndian.AppendUint64(key, uint64(n))
	}
	key = appendNames(key, u.Credential)
	for _, s := range [...]string{
		string(u.Level), u.Holder, u.RelyingParty, string(u.Outcome), u.Address, u.Agent, u.Operation, u.Resource, u.Detail,
		u.IDs.UTI, u.IDs.Correlation, u.IDs.Request, u.IDs.Session, u.IDs.Queue, u.IDs.Serial, u.IDs.Parent,
	} {
		key = appendText(key, s)
	}
	return appendMap(appendMap(key, u.Other), u.IDs.Other)
}

// appendMap appends members in the order of their names.
func appendMap(key []byte, m map[string]string) []byte {
	key = binary.AppendUvarint(key, uint64(len(m)))
	if len(m) == 0 {
		return key
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key = appendText(appendText(key, name), m[name])
	}
	return key
}

// isNamed says whether a second record that says the same is the same. It is
// where its writer gave it an id or a number, where the relying party gave the
// request one, or where it is about the issue of one token.
func isNamed(u *tallystick.Use) bool {
	return u.ID != "" || u.Source != "" && u.Seq != 0 || u.IDs.Request != "" || u.IDs.UTI != "" && u.Level != tallystick.LevelCall
}

// identifyNamed sets what two records have in common that their writer gave one
// id. It returns key, for the next.
func (r *record) identifyNamed(key []byte, seed maphash.Seed, u *tallystick.Use) []byte {
	key = appendText(appendText(appendText(key[:0], string(u.Side)), u.Source), u.ID)
	r.id, r.check = add(0, key), maphash.Bytes(seed, key)
	return key
}

// identify does so for a record without an id. Most of what identity appends is in
// its kind already, and is not hashed again: hash is that of the kind, and secret
// is class.hash.
func (r *record) identify(key []byte, seed maphash.Seed, u *tallystick.Use, hash, secret uint64) []byte {
	key = appendRest(key[:0], u)
	r.id, r.check = add(hash, key), mix(secret^prime2, maphash.Bytes(seed, key))
	return key
}

// appendRest appends what makes a record without an id itself, beside its kind.
func appendRest(key []byte, u *tallystick.Use) []byte {
	var numbers [7 * 8]byte
	for i, n := range [...]int64{int64(u.Seq), u.Time.Unix(), int64(u.Time.Nanosecond()), u.Count, u.Until.Unix(), int64(u.Until.Nanosecond()), int64(u.Port)} {
		binary.LittleEndian.PutUint64(numbers[8*i:], uint64(n))
	}
	key = append(key, numbers[:]...)
	key = appendText(appendText(appendText(appendText(key, u.Holder), u.Address), u.IDs.UTI), u.IDs.Correlation)
	rest := [...]*string{&u.Agent, &u.Operation, &u.Resource, &u.Detail, &u.IDs.Request, &u.IDs.Session, &u.IDs.Queue, &u.IDs.Serial, &u.IDs.Parent}
	length := len(u.Other) + len(u.IDs.Other)
	for _, s := range rest {
		length += len(*s)
	}
	if length == 0 {
		return append(key, 0)
	}
	key = append(key, 1)
	for _, s := range rest {
		key = appendText(key, *s)
	}
	return appendMap(appendMap(key, u.Other), u.IDs.Other)
}

// compare orders two records of one id by what they say, so that it does not
// matter which was read first. The one that counts more uses comes before.
func (t *Tally) compare(a, b record, x, y extra) int {
	return cmp.Or(
		cmp.Compare(y.count, x.count), cmp.Compare(a.at, b.at), cmp.Compare(x.until, y.until), cmp.Compare(x.parent, y.parent),
		cmp.Compare(a.uti, b.uti), cmp.Compare(a.ref, b.ref), cmp.Compare(a.corr, b.corr), cmp.Compare(a.addr, b.addr),
		cmp.Compare(t.kinds.list[a.kind].hash, t.kinds.list[b.kind].hash),
	)
}

// A side is the records of one side, in chunks: one slice would have to be copied
// as it grows, and be there twice meanwhile.
type side struct {
	chunks []*[chunkSize]record
	size   int
	extras []extra
	ids    table // of records, by id
	double int64 // records that were there already
}

const chunkSize = 1 << 14

// len returns the number of records.
func (s *side) len() int { return s.size }

// at returns a record by its number.
func (s *side) at(i uint32) *record { return &s.chunks[i/chunkSize][i%chunkSize] }

// add adds a record.
func (s *side) add(r record) {
	if s.size%chunkSize == 0 {
		s.chunks = append(s.chunks, new([chunkSize]record))
	}
	s.size++
	*s.at(uint32(s.size - 1)) = r
}

// more returns what few records have.
func (s *side) more(r *record) extra {
	if r.extra == 0 {
		return extra{}
	}
	return s.extras[r.extra-1]
}

// setMore does so for a record that may have had another.
func (s *side) setMore(r *record, x extra) {
	if x == (extra{}) {
		r.extra = 0
		return
	}
	s.extras = append(s.extras, x)
	r.extra = uint32(len(s.extras))
}

// A repeat is a record without a name of its own that its file has again.
type repeat struct{ id, check uint64 }

// insert adds a record, unless it is there, and says whether it did.
//
// Some logs write the same line for each of several uses within a second. So a
// record without a name that its file has n times is n records, and a file that
// has it as often adds none. Files are written one after the other, so it is
// enough to know which was the last that had the record, and how often.
func (t *Tally) insert(s *side, e *entry) bool {
	r := e.record
	slot, old := s.lookUp(&r)
	if old != nil && !e.named {
		if old.where>>FileShift == r.where>>FileShift {
			again := repeat{r.id, r.check}
			t.repeats[again]++
			n := t.repeats[again]
			r.id, r.check = addNumber(r.id, n), addNumber(r.check, n)
			slot, old = s.lookUp(&r)
		}
		if old != nil {
			old.where = r.where
		}
	}
	if old != nil {
		s.double++
		if x := s.more(old); t.compare(r, *old, e.more, x) < 0 {
			*old = r
			s.setMore(old, e.more)
		}
		return false
	}
	s.setMore(&r, e.more)
	s.add(r)
	s.ids.put(slot, r.id, uint32(s.size-1))
	return true
}

// lookUp returns the record of the same identity, or nil, and the slot for one.
func (s *side) lookUp(r *record) (slot int, old *record) {
	slot, found := s.ids.find(r.id, func(i uint32) bool {
		other := s.at(i)
		return other.id == r.id && other.check == r.check
	})
	if found {
		old = s.at(s.ids.slots[slot].number - 1)
	}
	return slot, old
}

// A table finds records by a hash that they have: open addressing, with half of
// the hash beside the number, so that a record is looked at only when it is the one.
type table struct {
	slots []slot
	used  int
}

type slot struct {
	tag    uint32 // the lower half of the hash, by which slots are found
	number uint32 // of a record and one more, 0 free
}

// find returns the slot of the record with a hash that is wanted, or the free one
// where it belongs.
func (t *table) find(hash uint64, is func(uint32) bool) (at int, found bool) {
	if len(t.slots) == 0 {
		t.slots = make([]slot, 1024)
	}
	mask := len(t.slots) - 1
	for at = int(uint32(hash)) & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s.number == 0 {
			return at, false
		}
		if s.tag == uint32(hash) && is(s.number-1) {
			return at, true
		}
	}
}

// warm returns something of the slot where a hash belongs, so that it is near when
// it is looked for. Many of these wait for memory at the same time, where one find
// after the other would wait for each.
func (t *table) warm(hash uint64) uint32 {
	if len(t.slots) == 0 {
		return 0
	}
	return t.slots[int(uint32(hash))&(len(t.slots)-1)].tag
}

// grow makes room for n more.
func (t *table) grow(n int) {
	for size := max(len(t.slots), 1024); ; size *= 2 {
		if (t.used+n)*4 < size*3 {
			if size > len(t.slots) {
				t.resize(size)
			}
			return
		}
	}
}

// put fills a slot that find returned.
func (t *table) put(at int, hash uint64, i uint32) {
	t.slots[at] = slot{uint32(hash), i + 1}
	t.used++
	if t.used*4 >= len(t.slots)*3 {
		t.resize(2 * len(t.slots))
	}
}

// resize makes it a table of so many slots.
func (t *table) resize(size int) {
	old := t.slots
	t.slots = make([]slot, size)
	mask := size - 1
	for _, s := range old {
		if s.number == 0 {
			continue
		}
		at := int(s.tag) & mask
		for t.slots[at].number != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = s
	}
}

// Key names the record of a use among all others: what two copies of one record
// have in common, as 32 hexadecimal digits. It stands in stores, so it is the
// first half of a SHA-256, which nobody can make meet.
func Key(u *tallystick.Use) string {
	sum := sha256.Sum256(identity(nil, u))
	return hex.EncodeToString(sum[:16])
}

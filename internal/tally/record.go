// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"time"

	"github.com/tallystick/tallystick"
)

// A record is what is kept of a use.
type record struct {
	at    int64  // microseconds since 1970
	id    uint64 // hash of what makes it this record and no other; also breaks ties
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

// compress makes a record of a use, all but kind and extra.
func compress(u *tallystick.Use, where uint64) record {
	r := record{at: micro(u.Time), where: where, corr: looseHash(u.IDs.Correlation), addr: looseHash(u.Address)}
	if u.IDs.UTI != "" {
		r.uti = hashOf(tallystick.NormalUTI(u.IDs.UTI))
	}
	r.ref = hashOf(cmp.Or(u.IDs.Request, u.IDs.Queue, u.IDs.Session, u.IDs.Serial, u.ID))
	r.id = identity(u)
	return r
}

// identity hashes what two copies of one record have in common. Whoever gave the
// record an id, or a number in its book, has said so; a record without either is
// known by all that it says. The number alone is not enough: a writer that was
// started again may count from one again, and a record must not vanish for that.
func identity(u *tallystick.Use) uint64 {
	h := add(add(0, string(u.Side)), u.Source)
	if u.ID != "" {
		return add(h, u.ID)
	}
	h = addNumber(addNumber(h, int64(u.Seq)), u.Time.Unix())
	h = addNumber(addNumber(h, int64(u.Time.Nanosecond())), u.Count)
	if u.Count > 1 {
		h = addNumber(addNumber(h, u.Until.Unix()), int64(u.Until.Nanosecond()))
	}
	for _, name := range u.Credential {
		h = add(h, name)
	}
	for _, s := range [...]string{
		string(u.Level), u.Holder, u.RelyingParty, string(u.Outcome), u.Address, u.Agent, u.Operation, u.Resource, u.Detail,
		u.IDs.UTI, u.IDs.Correlation, u.IDs.Request, u.IDs.Session, u.IDs.Queue, u.IDs.Serial, u.IDs.Parent,
	} {
		h = add(h, s)
	}
	return addNumber(addNumber(h, int64(u.Port)), int64(hashMap(u.Other)+hashMap(u.IDs.Other)))
}

// hashMap hashes members in whatever order they come.
func hashMap(m map[string]string) (sum uint64) {
	for key, value := range m {
		sum += add(add(0, key), value)
	}
	return sum
}

// compare orders two records of one id by what they say, so that it does not
// matter which was read first.
func (t *Tally) compare(a, b record) int {
	return cmp.Or(
		cmp.Compare(a.at, b.at), cmp.Compare(a.uti, b.uti), cmp.Compare(a.ref, b.ref), cmp.Compare(a.corr, b.corr),
		cmp.Compare(a.addr, b.addr), cmp.Compare(t.kinds.list[a.kind].hash, t.kinds.list[b.kind].hash),
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

func (s *side) idOf(i uint32) uint64 { return s.at(i).id }

// insert adds a record, unless it is there.
func (t *Tally) insert(s *side, r record, x *extra) {
	slot, found := s.ids.find(r.id, s.idOf)
	if found {
		s.double++
		old := s.at(s.ids.slots[slot].number - 1)
		r.extra = old.extra
		if t.compare(r, *old) < 0 {
			*old = r
		}
		return
	}
	if x != nil {
		s.extras = append(s.extras, *x)
		r.extra = uint32(len(s.extras))
	}
	s.add(r)
	s.ids.put(slot, r.id, uint32(s.size-1))
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

// find returns the slot of a hash, or the free one where it belongs.
func (t *table) find(hash uint64, of func(uint32) uint64) (at int, found bool) {
	if len(t.slots) == 0 {
		t.slots = make([]slot, 1024)
	}
	mask := len(t.slots) - 1
	for at = int(uint32(hash)) & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s.number == 0 {
			return at, false
		}
		if s.tag == uint32(hash) && of(s.number-1) == hash {
			return at, true
		}
	}
}

// put fills a slot that find returned.
func (t *table) put(at int, hash uint64, i uint32) {
	t.slots[at] = slot{uint32(hash), i + 1}
	t.used++
	if t.used*4 < len(t.slots)*3 {
		return
	}
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	mask := len(t.slots) - 1
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

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// A hashKey makes the hashes of one ledger its own, so that nobody outside can
// prepare records that meet. A record is taken for one that is already there
// when the 64 bits meet in a segment whose time includes the record's: with a
// billion records in segments of half a million the chance that any one record
// is lost to that is about one in 30,000.
type hashKey [4]uint64

// mix multiplies to 128 bits and folds them, the step of wyhash (Wang Yi, 2019).
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

const (
	prime1 = 0xa0761d6478bd642f
	prime2 = 0xe7037ed1a0b428db
)

// A digest names a text within a ledger. Texts are told apart by their digests
// alone: that two of a billion have the same one is less likely than one in 10^20,
// as long as the key is not known. It is a struct and no array so that it is kept
// in registers.
type digest struct{ a, b uint64 }

// text digests s.
func (k *hashKey) text(seed digest, s string) digest { return k.end(k.on(seed, s)) }

// on takes a text into a digest that is not at its end.
func (k *hashKey) on(seed digest, s string) digest {
	h, g := seed.a^uint64(len(s))*prime2, seed.b
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	for len(b) > 16 {
		low, high := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		h = mix(low^k[1], high^h) + prime1
		g = mix(low^g, high^k[3]) + prime2
		b = b[16:]
	}
	low, high := last16(b)
	return digest{mix(low^k[1], high^h) + prime1, mix(low^g, high^k[3]) + prime2}
}

// end ends a digest.
func (k *hashKey) end(d digest) digest { return digest{mix(d.a^k[0], d.b|1), mix(d.b^k[2], d.a|1)} }

// last16 returns up to 16 bytes as two numbers; texts of one length have the
// same two only when they are the same.
func last16(b []byte) (low, high uint64) {
	switch n := len(b); {
	case n >= 8:
		return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		return uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16, 0
	}
	return 0, 0
}

// number hashes n on top of seed.
func (k *hashKey) number(seed, n uint64) uint64 { return mix(seed^k[0], n^k[1]) + prime1 }

// cell hashes the bytes of an identifier and how it is written on top of seed.
func (k *hashKey) cell(seed uint64, c *cell, f form) uint64 {
	return mix(binary.LittleEndian.Uint64(c[:])^k[1]^uint64(f)*prime2, binary.LittleEndian.Uint64(c[8:])^seed^k[0]) + prime1
}

// An interner finds the number of a digest: open addressing, 24 bytes a slot.
type interner struct {
	slots   []internSlot
	digests []digest // by number
}

type internSlot struct {
	of     digest
	number uint32 // and one more, 0 free
}

func (t *interner) find(d digest) (uint32, bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := d.a & mask; ; i = (i + 1) & mask {
		slot := &t.slots[i]
		if slot.number == 0 {
			return 0, false
		}
		if slot.of == d {
			return slot.number - 1, true
		}
	}
}

// roomFor returns how many slots n need: a power of two, not more than half full
// so that what is looked for is near to where it belongs.
func roomFor(n int) int { return max(64, 1<<bits.Len(uint(2*n))) }

// expect makes room for n.
func (t *interner) expect(n int) {
	t.slots = make([]internSlot, roomFor(n))
	for n, d := range t.digests {
		t.place(d, uint32(n))
	}
}

// touch reads where d belongs, so that it is near when it is asked for.
func (t *interner) touch(d digest) uint64 {
	if len(t.slots) == 0 {
		return 0
	}
	return uint64(t.slots[d.a&uint64(len(t.slots)-1)].number)
}

// add gives a digest that is not there the next number.
func (t *interner) add(d digest) uint32 {
	t.digests = append(t.digests, d)
	if 2*len(t.digests) > len(t.slots) {
		t.expect(len(t.digests))
	} else {
		t.place(d, uint32(len(t.digests)-1))
	}
	return uint32(len(t.digests) - 1)
}

func (t *interner) place(d digest, number uint32) {
	mask := uint64(len(t.slots) - 1)
	i := d.a & mask
	for t.slots[i].number != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = internSlot{d, number + 1}
}

// cut goes back to n numbers.
func (t *interner) cut(n int) {
	if len(t.digests) == n {
		return
	}
	t.digests = t.digests[:n]
	clear(t.slots)
	for n, d := range t.digests {
		t.place(d, uint32(n))
	}
}

// A set holds identities: open addressing, 8 bytes a slot.
type set struct {
	slots []uint64 // 0 free
	used  int
}

// add returns whether h was not there.
func (s *set) add(h uint64) bool {
	if 4*s.used >= 3*len(s.slots) {
		s.grow(max(1024, 2*len(s.slots)))
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case h:
			return false
		case 0:
			s.slots[i] = h
			s.used++
			return true
		}
	}
}

func (s *set) has(h uint64) bool {
	if len(s.slots) == 0 {
		return false
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case h:
			return true
		case 0:
			return false
		}
	}
}

// touch reads where h belongs, so that it is near when it is asked for.
func (s *set) touch(h uint64) uint64 {
	if len(s.slots) == 0 {
		return 0
	}
	return s.slots[h&uint64(len(s.slots)-1)]
}

// expect makes room for n in an empty set.
func (s *set) expect(n int) { s.grow(roomFor(n)) }

func (s *set) grow(slots int) {
	old := s.slots
	s.slots = make([]uint64, slots)
	s.used = 0
	for _, h := range old {
		if h != 0 {
			s.add(h)
		}
	}
}

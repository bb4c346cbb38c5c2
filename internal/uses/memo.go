// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"hash/maphash"
	"math/bits"
)

// A memo remembers texts that were made of others, such as the name of a relying
// party of a tenant and a resource: records repeat them, and one that is
// remembered is not made again. What it was made of is known by a hash with a
// secret: that two of a million meet, whoever chose them, happens once in 36
// million runs. A memo is used by one goroutine and stays small.
type memo struct {
	seed  maphash.Seed
	slots []made
}

// A made is a text and the hash of what it was made of.
type made struct {
	hash uint64
	text string
}

const (
	memoSize = 1 << 13
	// maxMemo bounds the texts that are remembered.
	maxMemo = 512
)

// of returns what is made of a and b; kind says how it is made.
func (m *memo) of(kind, a, b string, build func() string) string {
	if len(a)+len(b) > maxMemo {
		return build()
	}
	if m.slots == nil {
		m.seed, m.slots = maphash.MakeSeed(), make([]made, memoSize)
	}
	hash := maphash.String(m.seed, kind)
	hash = bits.RotateLeft64(hash, 21) ^ maphash.String(m.seed, a)
	hash = bits.RotateLeft64(hash, 21) ^ maphash.String(m.seed, b)
	at := hash % memoSize
	slot, second := &m.slots[at], &m.slots[at^1]
	if slot.hash == hash && slot.text != "" {
		return slot.text
	}
	if second.hash == hash && second.text != "" {
		return second.text
	}
	*second = *slot // the one that is newer
	*slot = made{hash, build()}
	return slot.text
}

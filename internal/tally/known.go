// SPDX-License-Identifier: Apache-2.0

package tally

// knownKinds finds the numbers of kinds by their secret hash (class.hash), by open
// addressing: it is asked for every record, and a map takes three times as long.
type knownKinds struct {
	places []knownKind
	used   int
}

// A knownKind is a kind that a writer has met.
type knownKind struct {
	secret uint64 // 0 is a free place
	number uint32
}

// find returns the place of a kind, or the free place for it.
func (k *knownKinds) find(secret uint64) *knownKind {
	if len(k.places) == 0 {
		k.places = make([]knownKind, 64)
	}
	mask := uint64(len(k.places) - 1)
	for at := secret & mask; ; at = (at + 1) & mask {
		if place := &k.places[at]; place.secret == secret || place.secret == 0 {
			return place
		}
	}
}

// put adds a kind.
func (k *knownKinds) put(one knownKind) {
	if k.used++; k.used*4 > len(k.places)*3 {
		old := k.places
		k.places = make([]knownKind, 2*len(old))
		for _, before := range old {
			if before.secret != 0 {
				*k.find(before.secret) = before
			}
		}
	}
	*k.find(one.secret) = one
}

// warm returns something of the place of a kind, so that it is near when it is
// looked for: the core does other work while it waits for memory.
func (k *knownKinds) warm(secret uint64) uint64 {
	if len(k.places) == 0 {
		return 0
	}
	return k.places[secret&uint64(len(k.places)-1)].secret
}

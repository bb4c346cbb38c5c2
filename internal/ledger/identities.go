// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// identities finds out whether a segment has a record: the 64-bit identities in
// buckets by their first bits, without those bits, in a little over 6 bytes each
// for a segment of the usual size.
type identities struct {
	prefix uint     // bits that name the bucket
	width  int      // bytes of each that are kept
	starts []uint32 // of buckets, and the end
	rest   []byte
}

const maxPrefix = 16

// prefixFor returns how many bits name the bucket among n identities.
func prefixFor(n int) uint { return uint(min(max(bits.Len(uint(n))-4, 0), maxPrefix)) }

// appendIdentities writes the identities of rows.
func appendIdentities(out []byte, identities []uint64) []byte {
	n := len(identities)
	prefix := prefixFor(n)
	width := (64 - int(prefix) + 7) / 8
	counts := make([]uint32, 1<<prefix+1)
	for _, h := range identities {
		counts[h>>(64-prefix)+1]++
	}
	out = binary.AppendUvarint(out, uint64(n))
	for _, count := range counts[1:] {
		out = binary.AppendUvarint(out, uint64(count))
	}
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
	sorted := make([]uint64, n) // by bucket
	for _, h := range identities {
		bucket := h >> (64 - prefix)
		sorted[counts[bucket]] = h
		counts[bucket]++
	}
	out = slices.Grow(out, n*width+8)
	for _, h := range sorted { // each is written over what the one before it has too much
		out = binary.LittleEndian.AppendUint64(out, h)[:len(out)+width]
	}
	return out
}

// readIdentities is the inverse of appendIdentities.
func readIdentities(in []byte) (*identities, error) {
	count, size := binary.Uvarint(in)
	if size <= 0 || count > uint64(len(in)) {
		return nil, errors.New("the identities are not whole")
	}
	in = in[size:]
	prefix := prefixFor(int(count))
	ids := &identities{prefix: prefix, width: (64 - int(prefix) + 7) / 8, starts: make([]uint32, 1<<prefix+1)}
	sum := uint64(0)
	for i := range 1 << prefix {
		n, size := binary.Uvarint(in)
		if sum += n; size <= 0 || n > count || sum > count {
			return nil, errors.New("the identities are not whole")
		}
		in = in[size:]
		ids.starts[i+1] = uint32(sum)
	}
	if sum != count || uint64(len(in)) != count*uint64(ids.width) {
		return nil, errors.New("the identities are not whole")
	}
	ids.rest = in
	return ids, nil
}

// has says whether an identity is there.
func (ids *identities) has(h uint64) bool {
	bucket := h >> (64 - ids.prefix)
	in := ids.rest[int(ids.starts[bucket])*ids.width : int(ids.starts[bucket+1])*ids.width]
	for ; len(in) > 0; in = in[ids.width:] {
		match := true
		for b := range ids.width {
			if in[b] != byte(h>>(8*b)) {
				match = false
				break
			}
		}
		if match {
			return true
		}
	}
	return false
}

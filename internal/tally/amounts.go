// SPDX-License-Identifier: Apache-2.0

package tally

// amounts are how many uses of each record are left: one or none of nearly all,
// and so a byte each.
type amounts struct {
	small []uint8
	large map[uint32]int64 // of records whose byte is isLarge
}

const isLarge = 0xff

func newAmounts(n int) amounts { return amounts{small: make([]uint8, n), large: map[uint32]int64{}} }

func (a amounts) get(i uint32) int64 {
	if n := a.small[i]; n != isLarge {
		return int64(n)
	}
	return a.large[i]
}

func (a amounts) set(i uint32, n int64) {
	if n < isLarge {
		a.small[i] = uint8(n)
		return
	}
	a.small[i] = isLarge
	a.large[i] = n
}

// SPDX-License-Identifier: Apache-2.0

package tally

import "math"

// A column is one value of each record of a chunk. Much of what a record can say
// is the same in all records of a log, or nearly: a value that all have in common
// takes no room, and values within 2^32 of each other four bytes each.
type column struct {
	base   uint64 // the value of all; with narrow, what its values are more than
	narrow *[chunkSize]uint32
	wide   *[chunkSize]uint64
}

// chunkSize is how many records are in a chunk, some minutes of a busy log.
const chunkSize = 1 << 12

func (c *column) get(i uint32) uint64 {
	if c.narrow != nil {
		return c.base + uint64(c.narrow[i%chunkSize])
	}
	if c.wide != nil {
		return c.wide[i%chunkSize]
	}
	return c.base
}

func (c *column) put(i uint32, v uint64) { c.putAll(i, []uint64{v}) }

// putAll sets the values from i on.
func (c *column) putAll(i uint32, values []uint64) {
	for {
		n := c.fill(i, values)
		if n == len(values) {
			return
		}
		i, values = i+uint32(n), values[n:]
		c.change(values[0])
	}
}

// fill sets as many values as fit, and returns how many did.
func (c *column) fill(i uint32, values []uint64) int {
	switch {
	case c.wide != nil:
		return copy(c.wide[i:], values)
	case c.narrow != nil:
		to := c.narrow[i:]
		for n, v := range values {
			if v-c.base > math.MaxUint32 {
				return n
			}
			to[n] = uint32(v - c.base)
		}
	default:
		for n, v := range values {
			if v != c.base {
				return n
			}
		}
	}
	return len(values)
}

// change makes room for a value that does not fit.
func (c *column) change(v uint64) {
	old := *c
	if c.narrow == nil {
		base := uint64(0) // of hashes of 32 bits, of numbers
		if c.base > math.MaxUint32 {
			base = c.base - 1<<31 // of times and places: a half before, a half after
		}
		if v-base <= math.MaxUint32 {
			*c = column{base: base, narrow: new([chunkSize]uint32)}
			for i := range c.narrow {
				c.narrow[i] = uint32(old.base - base)
			}
			return
		}
	}
	*c = column{wide: new([chunkSize]uint64)}
	for i := range c.wide {
		c.wide[i] = old.get(uint32(i))
	}
}

// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"encoding/binary"
	"errors"
)

var errCut = errors.New("its binary XML ends too early")

// A cursor reads a part of a chunk. Offsets in binary XML count from the chunk's
// beginning, and so do its own. Reading beyond the end gives zeros and sets cut.
type cursor struct {
	data    []byte
	at, end int
	cut     bool
}

// take returns the next n bytes.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > c.end-c.at {
		c.cut, c.at = true, c.end
		return nil
	}
	c.at += n
	return c.data[c.at-n : c.at]
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// token returns the next token without its flag, and without going on: 0, the end
// of a fragment, also where nothing is left.
func (c *cursor) token() byte {
	if c.at >= c.end {
		return tokenEnd
	}
	return c.data[c.at] &^ flagMore
}

// err says that the cursor went beyond its end.
func (c *cursor) err() error {
	if c.cut {
		return errCut
	}
	return nil
}

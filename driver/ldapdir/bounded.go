// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"bufio"
	"errors"
	"net"
)

// maxMessage bounds one message of a directory, in bytes: the largest are groups with a hundred
// thousand members.
const maxMessage = 16 << 20

// A bounded connection ends when a message is larger than maxMessage, before its bytes are read:
// the library would reserve them all. It reads the header of each message (RFC 4511 section
// 5.1: BER with definite lengths).
type bounded struct {
	net.Conn
	in   *bufio.Reader
	left int // bytes of the message that is being read
}

var errTooLarge = errors.New("the directory sent a message that is larger than any answer needs")

// Read reads of one message at a time. It is used by one goroutine.
func (c *bounded) Read(p []byte) (int, error) {
	if c.in == nil {
		c.in = bufio.NewReader(c.Conn)
	}
	if c.left == 0 {
		if err := c.header(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// header looks at the length of the next message.
func (c *bounded) header() error {
	head, err := c.in.Peek(2)
	if err != nil {
		return err
	}
	length, size := int(head[1]), 2
	if length >= 0x80 {
		more := length & 0x7f
		if more == 0 || more > 4 {
			return errTooLarge
		}
		size += more
		if head, err = c.in.Peek(size); err != nil {
			return err
		}
		length = 0
		for _, b := range head[2:] {
			length = length<<8 | int(b)
		}
	}
	if length > maxMessage {
		return errTooLarge
	}
	c.left = size + length
	return nil
}

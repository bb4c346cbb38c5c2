// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"errors"
	"net"
)

// readLimit bounds what one connection reads, in bytes. Real flights that
// carry a chain stay below 20 KiB; a TLS handshake message could be 16 MiB.
const readLimit = 96 << 10

var errTooMuch = errors.New("the server sent more than a handshake needs")

// A recordingConn remembers what it read, up to readLimit, and then fails.
type recordingConn struct {
	net.Conn
	read     []byte
	overflow bool
}

func (c *recordingConn) Read(p []byte) (int, error) {
	left := readLimit - len(c.read)
	if left <= 0 {
		c.overflow = true
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(len(p), left)])
	c.read = append(c.read, p[:n]...)
	return n, err
}

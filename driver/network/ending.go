// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// Limited returns a connection from which most bytes can be read in all: for libraries that
// keep whatever an other side sends. It may be read by several goroutines.
func Limited(conn net.Conn, most int64) net.Conn { return &limited{Conn: conn, most: most} }

type limited struct {
	net.Conn
	most int64
	read atomic.Int64
}

// Read fails when that was read, give or take one buffer.
func (c *limited) Read(p []byte) (int, error) {
	if c.read.Load() >= c.most {
		return 0, errors.New("the server sent more than any answer needs")
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// Ending returns a connection that is closed when ctx ends: for libraries whose calls take none.
func Ending(ctx context.Context, conn net.Conn) net.Conn {
	return &ending{Conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
}

type ending struct {
	net.Conn
	stop func() bool
}

// Close closes it, and is called as often as one likes.
func (c *ending) Close() error {
	c.stop()
	return c.Conn.Close()
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// A FullDisk is a host with no room at one path.
type FullDisk struct {
	driver.Host
	Path string
}

// WriteFile fails at the path.
func (f FullDisk) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	if path == f.Path {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	return f.Host.WriteFile(ctx, path, content, mode)
}

// A ClosedHost is a host that refuses commands which have a word among their arguments, with an
// error of a kind.
type ClosedHost struct {
	driver.Host
	Word string
	Kind error
}

// Run runs the others.
func (h ClosedHost) Run(ctx context.Context, command driver.Command) (driver.Output, error) {
	if slices.Contains(command.Args, h.Word) {
		return driver.Output{}, fmt.Errorf("%w: the host lets nobody in any more", h.Kind)
	}
	return h.Host.Run(ctx, command)
}

// A CutHost is a host whose connections to UNIX sockets are cut at the first write that is
// told apart by Cuts.
type CutHost struct {
	driver.Host
	Cuts  func(written []byte) bool
	After bool         // when the other side has it
	Seen  atomic.Int32 // how many such writes there were, with those after it
}

// Dial connects, and cuts later.
func (h *CutHost) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := h.Host.Dial(ctx, network, address)
	if network == "unix" && err == nil {
		return &cutConn{Conn: conn, host: h}, nil
	}
	return conn, err
}

type cutConn struct {
	net.Conn
	host *CutHost
}

func (c *cutConn) Write(p []byte) (int, error) {
	if !c.host.Cuts(p) || c.host.Seen.Add(1) != 1 {
		return c.Conn.Write(p)
	}
	if c.host.After {
		c.Conn.Write(p)
		time.Sleep(100 * time.Millisecond)
	}
	c.Conn.Close()
	return 0, errors.New("a fault of the test")
}

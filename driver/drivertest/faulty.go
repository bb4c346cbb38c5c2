// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// When says when a write fails.
type When int

const (
	Never  When = iota
	Before      // it fails, and has not happened
	After       // it fails, and has happened
	Killed      // it has happened, and was the last thing that whoever called did
)

// String names it in the name of a test.
func (w When) String() string { return [...]string{"never", "before", "after", "by a kill"}[w] }

// A FaultyHost is a host one of whose writes fails. Writes are WriteFile, WriteLike, Remove, and
// Run of a command that is not one of those that only read.
type FaultyHost struct {
	driver.Host
	// Reads says of a command that it changes nothing. It is not asked about "getent",
	// which finds addresses. nil: no other command is known to change nothing.
	Reads func(driver.Command) bool

	mu     sync.Mutex
	count  int    // guarded by mu, like those below
	at     int    // the write that fails, from 1
	when   When   // and when
	then   func() // is called as it fails
	dead   bool   // whoever calls was killed: nothing happens any more
	writes []string
}

// Faulty makes a host whose writes can fail of one whose do not. At first none does.
func Faulty(h driver.Host) *FaultyHost { return &FaultyHost{Host: h} }

// Fail makes the n-th write from now on, from 1, fail, once. As it fails then is called,
// unless it is nil. The count begins anew.
func (f *FaultyHost) Fail(n int, when When, then func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.at, f.when, f.then, f.writes, f.dead = 0, n, when, then, nil, false
}

// Count returns how many writes there were since Fail.
func (f *FaultyHost) Count() int { return len(f.Writes()) }

// Writes names the writes since Fail: "write PATH", "remove PATH" or "run PROGRAM ...".
func (f *FaultyHost) Writes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.writes)
}

// next counts a write and says when it fails, and with what.
func (f *FaultyHost) next(name string) (When, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return Before, errDead
	}
	f.count++
	f.writes = append(f.writes, name)
	if f.count != f.at || f.when == Never {
		return Never, nil
	}
	f.dead = f.when == Killed
	if f.then != nil {
		defer f.then()
	}
	return f.when, fmt.Errorf("%w: a fault of the test at %s", tallystick.ErrUnavailable, name)
}

// errDead is what a host says to whoever was killed.
var errDead = errors.New("killed by the test")

// alive fails once whoever calls was killed.
func (f *FaultyHost) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	return nil
}

// ReadFile changes nothing.
func (f *FaultyHost) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Host.ReadFile(ctx, path, limit)
}

// Stat changes nothing.
func (f *FaultyHost) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	if err := f.alive(); err != nil {
		return driver.FileInfo{}, err
	}
	return f.Host.Stat(ctx, path)
}

// Dial changes nothing.
func (f *FaultyHost) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.Host.Dial(ctx, network, address)
}

// WriteFile is a write.
func (f *FaultyHost) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	when, fault := f.next("write " + path)
	if when != Before {
		if err := f.Host.WriteFile(uncut(ctx, when), path, content, mode); err != nil {
			return err
		}
	}
	return fault
}

// WriteLike is a write.
func (f *FaultyHost) WriteLike(ctx context.Context, path string, content []byte, like string) error {
	when, fault := f.next("write " + path)
	if when != Before {
		if err := f.Host.WriteLike(uncut(ctx, when), path, content, like); err != nil {
			return err
		}
	}
	return fault
}

// Remove is a write.
func (f *FaultyHost) Remove(ctx context.Context, path string) error {
	when, fault := f.next("remove " + path)
	if when != Before {
		if err := f.Host.Remove(uncut(ctx, when), path); err != nil {
			return err
		}
	}
	return fault
}

// Run is a write, unless the command only reads.
func (f *FaultyHost) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if err := f.alive(); err != nil {
		return driver.Output{}, err
	}
	if len(c.Args) == 0 || c.Args[0] == "getent" || f.Reads != nil && f.Reads(c) {
		return f.Host.Run(ctx, c)
	}
	when, fault := f.next(fmt.Sprint("run ", c.Args))
	if when == Before {
		return driver.Output{}, fault
	}
	output, err := f.Host.Run(uncut(ctx, when), c)
	if fault != nil {
		return driver.Output{}, fault
	}
	return output, err
}

// uncut lets a write happen that fails afterwards because its context has ended.
func uncut(ctx context.Context, when When) context.Context {
	if when != Never {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

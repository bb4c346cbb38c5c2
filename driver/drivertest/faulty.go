// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"fmt"
	"io/fs"
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
)

// String names it in the name of a test.
func (w When) String() string { return [...]string{"never", "before", "after"}[w] }

// A FaultyHost is a host one of whose writes fails. Writes are WriteFile, Remove, and
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
	writes []string
}

// Faulty makes a host whose writes can fail of one whose do not. At first none does.
func Faulty(h driver.Host) *FaultyHost { return &FaultyHost{Host: h} }

// Fail makes the n-th write from now on, from 1, fail, once. As it fails then is called,
// unless it is nil. The count begins anew.
func (f *FaultyHost) Fail(n int, when When, then func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.at, f.when, f.then, f.writes = 0, n, when, then, nil
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
	f.count++
	f.writes = append(f.writes, name)
	if f.count != f.at || f.when == Never {
		return Never, nil
	}
	if f.then != nil {
		defer f.then()
	}
	return f.when, fmt.Errorf("%w: a fault of the test at %s", tallystick.ErrUnavailable, name)
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
	if when == After {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

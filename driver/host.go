// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"io/fs"
	"net"
	"time"
)

// A Host is the machine that a door is on: this one, or one that is reached over
// SSH (package driver/host has both). Drivers of doors touch files, commands and
// ports through it and in no other way, so that they work alike wherever they are
// used, and so that tests can make each write fail.
//
// Paths are absolute and those of that machine. Errors of files wrap
// fs.ErrNotExist and fs.ErrPermission where they are such; a machine that cannot
// be reached is ErrUnavailable. Methods are safe to call from several goroutines.
type Host interface {
	// Name is "local", or what the configuration calls the machine.
	Name() string
	// ReadFile reads a file of at most limit bytes; a longer one is ErrInvalid.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)
	// Stat follows links.
	Stat(ctx context.Context, path string) (FileInfo, error)
	// WriteFile puts a file in the place of what was there, at once and durably: a
	// reader finds the old bytes or the new ones, also after a crash. A file that was
	// there keeps its mode, owner, group and SELinux label; a link stays one, and what
	// it leads to is replaced. A new file has mode, and the owner of its directory
	// when the caller is root. It leaves no other file behind.
	WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error
	// WriteLike is WriteFile for what only those may read who may read another file: it gets
	// the mode, owner, group, access list and SELinux label of that one, whatever was there.
	WriteLike(ctx context.Context, path string, content []byte, like string) error
	// Remove removes a file. One that is not there is no error.
	Remove(ctx context.Context, path string) error
	// Run runs a command to its end, without a shell. A command that ran is no
	// error, whatever its exit status.
	Run(ctx context.Context, c Command) (Output, error)
	// Dial connects from that machine.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// A FileInfo is what drivers want to know of a file.
type FileInfo struct {
	Size         int64
	Mode         fs.FileMode // permission bits, and fs.ModeDir
	Owner, Group string      // names, or numbers where there are none
	Modified     time.Time
}

// A Command is a program with its arguments.
type Command struct {
	Args    []string // the program first: a path, or a name that PATH of that machine knows
	Stdin   []byte
	Dir     string        // "" is the root directory
	Env     []string      // beside PATH and LANG=C; nothing else is passed on
	Timeout time.Duration // 0 is a minute; a command that takes longer is ended with all it started
}

// Output is what a command said. Each part is cut at 1 MiB.
type Output struct {
	Stdout, Stderr []byte
	Exit           int // -1 when it was ended by a signal
}

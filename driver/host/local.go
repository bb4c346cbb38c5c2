// SPDX-License-Identifier: Apache-2.0

// Package host is how drivers of doors reach the machine that a door is on: this one
// (Local), or another one over SSH (NewSSH). Both keep the contract of driver.Host.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// local is the machine that the program runs on.
type local struct{}

// Local returns the machine that the program runs on. Commands find programs by the
// PATH of the program, and then in the directories of administrators.
func Local() driver.Host { return local{} }

// Name returns "local".
func (local) Name() string { return "local" }

// ReadFile reads a regular file of at most limit bytes.
func (local) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := usable(ctx, path); err != nil {
		return nil, err
	}
	// Without O_NONBLOCK a pipe at that path would hold the caller up for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("couldn't read a file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("couldn't read a file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, invalid("%s is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("couldn't read a file: %w", err)
	}
	if int64(len(content)) > limit {
		return nil, tooLong(path, limit)
	}
	return content, nil
}

// Stat says what is at path.
func (local) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	if err := usable(ctx, path); err != nil {
		return driver.FileInfo{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return driver.FileInfo{}, fmt.Errorf("couldn't look at a file: %w", err)
	}
	facts := driver.FileInfo{Size: info.Size(), Mode: info.Mode() & (fs.ModePerm | fs.ModeDir), Modified: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		facts.Owner, facts.Group = ownerName(stat.Uid), groupName(stat.Gid)
	}
	return facts, nil
}

func ownerName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if found, err := user.LookupId(number); err == nil {
		return found.Username
	}
	return number
}

func groupName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if found, err := user.LookupGroupId(number); err == nil {
		return found.Name
	}
	return number
}

// Remove removes a file, or a link and not what it leads to.
func (local) Remove(ctx context.Context, path string) error {
	if err := usable(ctx, path); err != nil {
		return err
	}
	err := syscall.Unlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("couldn't remove %s: %w", path, err)
	}
	return nil
}

// Dial connects from this machine.
func (local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

// usable refuses what no call can do anything with.
func usable(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !filepath.IsAbs(path) {
		return invalid("%q is not an absolute path", path)
	}
	return nil
}

func tooLong(path string, limit int64) error {
	return invalid("%s has more than %d bytes", path, limit)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

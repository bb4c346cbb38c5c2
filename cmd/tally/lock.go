// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A dataLock keeps a second server from the same data directory. The kernel
// lets go of it when the process ends, however it ends. The file says who holds
// it and where it listens.
type dataLock struct{ file *os.File }

const lockName = "tally.lock"

// lockData makes the data directory, for nobody else's eyes, and locks it.
// Another process that has it is ErrInUse; see also checkData.
func lockData(dir string) (*dataLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the data directory: %w", err)
	}
	if err := checkData(dir); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't lock the data directory: %w", err)
	}
	for range 10 { // attended holds it for a moment, too
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = inUse(dir)
	} else if err != nil {
		err = fmt.Errorf("couldn't lock the data directory: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &dataLock{file}, nil
}

// checkData refuses a data directory in which somebody else can lay files for us
// to use, or has: a key that they know, a store that lets them in. Whoever is
// root can do so anywhere. A directory that is missing is nobody's.
func checkData(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't look at the data directory: %w", err)
	}
	if !isOurs(info) {
		return problem.With(fmt.Errorf("%w: the data directory %s belongs to another user", tallystick.ErrInvalid, dir),
			"run this as that user, or name a directory of your own with --data")
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return problem.With(fmt.Errorf("%w: others may put files into the data directory %s", tallystick.ErrInvalid, dir),
			fmt.Sprintf("run: chmod 700 %s; or name a new directory with --data", dir))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("couldn't look at the data directory: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a file of another command that has ended
		}
		if err != nil {
			return fmt.Errorf("couldn't look at the data directory: %w", err)
		}
		if !isOurs(info) {
			return problem.With(fmt.Errorf("%w: %s belongs to another user", tallystick.ErrInvalid, filepath.Join(dir, entry.Name())),
				"find out who made it; then remove it, or name a new directory with --data")
		}
	}
	return nil
}

// isOurs says whether a file belongs to whoever runs this, or to root.
func isOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// attended says whether a "tally up" works on the data directory. Where that
// cannot be told, it is taken to be so.
func attended(dir string) bool {
	file, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close() // which lets go of the lock
	return unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

func inUse(dir string) error {
	holder := ""
	if pid, _, err := readLock(dir); err == nil {
		holder = fmt.Sprintf(" (pid %d)", pid)
	}
	return problem.With(fmt.Errorf("%w: another tally is running in %s%s", tallystick.ErrInUse, dir, holder),
		"stop it, or name another directory with --data; commands such as \"tally list\" work beside it")
}

// say writes who holds the lock and the address that its pages have.
func (l *dataLock) say(url string) error {
	text := fmt.Sprintf("%d\n%s\n", os.Getpid(), url)
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("couldn't write to the lock: %w", err)
	}
	if _, err := l.file.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("couldn't write to the lock: %w", err)
	}
	return nil
}

// close lets go of the lock.
func (l *dataLock) close() error { return l.file.Close() }

// readLock returns what the last holder of a lock said.
func readLock(dir string) (pid int, url string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if err != nil {
		return 0, "", err
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	if pid, err = strconv.Atoi(first); err != nil {
		return 0, "", errors.New("the lock file says nothing")
	}
	return pid, strings.TrimSpace(rest), nil
}

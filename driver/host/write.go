// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
)

// staged is in the name of every file that is being written, which begins with a dot, so
// that servers that read whole directories leave it out.
const staged = ".tallystick-"

// WriteFile stages the content beside the file and renames it.
func (local) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	return written(ctx, path, content, mode, "")
}

// WriteLike does so for a file that only those may read who may read another one.
func (local) WriteLike(ctx context.Context, path string, content []byte, like string) error {
	if err := usable(ctx, like); err != nil {
		return err
	}
	return written(ctx, path, content, 0, like)
}

// written writes a file like another one, or like the one that it replaces where like is "".
func written(ctx context.Context, path string, content []byte, mode fs.FileMode, like string) error {
	if err := usable(ctx, path); err != nil {
		return err
	}
	err := replace(path, content, mode, like)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", tallystick.ErrNoSpace, err)
	}
	if err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}

func replace(path string, content []byte, mode fs.FileMode, like string) error {
	path, err := behindLinks(path)
	if err != nil {
		return err
	}
	old, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = nil, nil
	}
	if err == nil && old != nil && !old.Mode().IsRegular() {
		err = invalid("it is not a regular file")
	}
	from := path
	if err == nil && like != "" {
		from = like
		old, err = os.Stat(like)
	}
	if err != nil {
		return err
	}
	directory, base := filepath.Split(path)
	sweep(directory, base)
	for try := 0; ; try++ {
		err := stage(directory, base, path, from, old, content, mode)
		// Between its making and its lock a staged file looks left behind, and whoever writes
		// beside us may have swept it away.
		if !errors.Is(err, fs.ErrNotExist) || try == mostStages {
			return err
		}
	}
}

// mostStages bounds how often a file is staged anew that somebody swept away.
const mostStages = 20

// stage writes a file beside path and gives it its name.
func stage(directory, base, path, from string, old fs.FileInfo, content []byte, mode fs.FileMode) error {
	name := filepath.Join(directory, "."+base+staged+rand.Text()[:12])
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close() // also lets go of the lock
	if err = fill(file, from, old, content, mode); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		os.Remove(name)
		return err
	}
	return syncDirectory(directory)
}

// behindLinks follows the links at the end of path. It need not lead to a file.
func behindLinks(path string) (string, error) {
	for range 40 { // as many as Linux follows, path_resolution(7)
		directory, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(directory, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link, or nothing there
		}
		if !filepath.IsAbs(target) {
			target = directory + string(filepath.Separator) + target
		}
		path = target
	}
	return "", &fs.PathError{Op: "follow", Path: path, Err: syscall.ELOOP}
}

// fill makes a staged file all that it will be under its name: like the file at path, which
// old describes, where there is one.
func fill(file *os.File, path string, old fs.FileInfo, content []byte, mode fs.FileMode) error {
	// The lock tells sweep, in this process or another, that somebody is at it.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if old != nil {
		mode = old.Mode()
	}
	if err := own(file, filepath.Dir(path), old); err != nil {
		return err
	}
	if err := file.Chmod(mode.Perm()); err != nil { // after chown, which takes bits away
		return err
	}
	if old != nil {
		if err := copyAttributes(file, path); err != nil {
			return err
		}
	}
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Sync()
}

// own gives a staged file the owner of the one that it replaces, or of its directory.
func own(file *os.File, directory string, old fs.FileInfo) error {
	if old == nil {
		if os.Geteuid() != 0 {
			return nil
		}
		var err error
		if old, err = os.Stat(directory); err != nil {
			return err
		}
	}
	want, have := syscall.Stat_t{}, syscall.Stat_t{}
	if err := syscall.Fstat(int(file.Fd()), &have); err != nil {
		return err
	}
	if stat, ok := old.Sys().(*syscall.Stat_t); ok {
		want = *stat
	}
	if want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	return file.Chown(int(want.Uid), int(want.Gid))
}

// copyAttributes takes over what decides who may read a file beside its mode: the
// label of SELinux, and the access list, because keys are often given to a server by one.
func copyAttributes(file *os.File, from string) error {
	for _, name := range []string{"security.selinux", "system.posix_acl_access"} {
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Getxattr(from, name, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err == nil {
			err = unix.Fsetxattr(int(file.Fd()), name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("couldn't keep its attribute %s: %w", name, err)
		}
	}
	return nil
}

// sweep removes what writers of the same file left behind that were killed. It does what
// it can: a file that is in the way of nobody is no reason to fail.
func sweep(directory, base string) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return
	}
	prefix := "." + base + staged
	for _, entry := range entries {
		if len(entry.Name()) != len(prefix)+12 || entry.Name()[:len(prefix)] != prefix || !entry.Type().IsRegular() {
			continue
		}
		name := filepath.Join(directory, entry.Name())
		file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.Remove(name)
		}
		file.Close()
	}
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

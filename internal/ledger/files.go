// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tallystick/tallystick"
)

// files is what the ledger asks of a file system, in one directory. Tests make
// each of these fail.
type files interface {
	create(name string) (file, error) // new and empty, for reading and writing
	open(name string) (file, error)   // one that is there, for reading and writing
	rename(from, to string) error
	remove(name string) error
	list() ([]string, error)
	sync() error // the names
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	size() (int64, error)
}

// A directory is files on the disk.
type directory string

type diskFile struct{ *os.File }

func (f diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

func (d directory) create(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d directory) open(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d directory) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d directory) remove(name string) error { return os.Remove(d.path(name)) }

func (d directory) list() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

func (d directory) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system that has no such thing
		err = nil
	}
	return errors.Join(err, f.Close())
}

// lock keeps other processes from the directory.
func (d directory) lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(tallystick.ErrInUse, f.Close())
	}
	return f, nil
}

// readFile returns all of a file.
func readFile(fs files, name string) ([]byte, error) {
	f, err := fs.open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if n == len(data) {
		err = nil
	}
	return data, errors.Join(err, f.Close())
}

// writeFile puts a whole file on the disk. Under its name is either all of it or
// what was there before; it survives a crash once the directory is synced.
func writeFile(fs files, name string, data []byte) error {
	temporary := name + ".new"
	f, err := fs.create(temporary)
	if err != nil {
		return noSpace(err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return noSpace(err)
	}
	return noSpace(fs.rename(temporary, name))
}

// noSpace marks the errors that mean that there is no room.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return errors.Join(tallystick.ErrNoSpace, err)
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	batchSize = 256 // names held at a time for each directory that is open
	maxDepth  = 256 // each level holds a descriptor, and a process may have 1024 by default
)

// A directory is one that is open and being walked.
type directory struct {
	file     *os.File
	fd       int
	path     string
	id       fileID
	depth    int
	audience audience // who can reach the files in it
}

// A visit is called with one name in an open directory.
type visit func(d *directory, name string) error

// A walker goes through trees and calls file for each regular file and link
// for each symbolic link; both may be called from two goroutines at a time.
// Single is called for a target that is a file. No link is followed. With report, what cannot be entered is a miss.
type walker struct {
	*look
	file, link, single visit
	report             bool
	second             chan struct{} // a token is held by the second goroutine
	wg                 sync.WaitGroup
	mu                 sync.Mutex
	failure            error // guarded by mu; what the second goroutine failed with
}

// target walks one target to its end.
func (w *walker) target(t target) error {
	parent := t.path
	if !t.dir {
		parent = filepath.Dir(t.path)
	}
	d, err := openTop(parent)
	if err != nil {
		return w.blocked(t.path, err)
	}
	if t.dir {
		return w.tree(d)
	}
	defer d.file.Close()
	if err := w.ctx.Err(); err != nil {
		return fmt.Errorf("couldn't finish looking at files: %w", err)
	}
	return w.single(d, filepath.Base(t.path))
}

// outside walks a directory that was not asked for, if it is there.
func (w *walker) outside(path string) error {
	d, err := openTop(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return w.blocked(path, err)
	}
	return w.tree(d)
}

// tree walks everything beneath d and closes it.
func (w *walker) tree(d *directory) error {
	if name := pseudoFileSystem(d.fd); name != "" {
		d.file.Close()
		return w.otherSystem(d.path, name)
	}
	w.second = make(chan struct{}, 1)
	err := w.walk(d)
	w.wg.Wait()
	return errors.Join(err, w.failure)
}

// walk visits the entries of d and closes it.
func (w *walker) walk(d *directory) error {
	defer d.file.Close()
	for {
		entries, err := d.file.ReadDir(batchSize)
		for _, entry := range entries {
			if stop := w.ctx.Err(); stop != nil {
				return fmt.Errorf("couldn't finish looking at files: %w", stop)
			}
			if stop := w.entry(d, entry); stop != nil {
				return stop
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return w.blocked(d.path, err)
		}
		if err := w.otherFailure(); err != nil {
			return nil // the second goroutine tells
		}
	}
}

// entry visits one name in d.
func (w *walker) entry(d *directory, entry fs.DirEntry) error {
	name, kind := entry.Name(), entry.Type()
	if len(w.options.Exclude) > 0 && w.excluded(join(d.path, name)) {
		return nil
	}
	switch {
	case kind.IsDir():
		return w.enter(d, name)
	case kind.IsRegular():
		return w.file(d, name)
	case kind&fs.ModeSymlink != 0:
		return w.link(d, name)
	}
	return nil // FIFOs, sockets and devices hold nothing, and opening one can have effects
}

// enter walks a directory in d, on the second goroutine if that is free.
func (w *walker) enter(d *directory, name string) error {
	child, err := openChild(d, name)
	if err != nil {
		return w.blocked(join(d.path, name), err)
	}
	if child.id.dev != d.id.dev {
		system := pseudoFileSystem(child.fd)
		if system != "" || w.options.OneFileSystem {
			child.file.Close()
			return w.otherSystem(child.path, system)
		}
	}
	select {
	case w.second <- struct{}{}:
		w.wg.Go(func() {
			defer func() { <-w.second }()
			w.fail(w.walk(child))
		})
		return nil
	default:
		return w.walk(child)
	}
}

// otherSystem reports a mounted file system that is not entered.
func (w *walker) otherSystem(path, pseudo string) error {
	if !w.report {
		return nil
	}
	if pseudo != "" {
		return w.miss(path, "pseudo-filesystem", pseudo)
	}
	return w.miss(path, "other-filesystem", "the option one-file-system is set")
}

// blocked reports a directory that could not be entered or read to its end.
func (w *walker) blocked(path string, err error) error {
	if !w.report || errors.Is(err, fs.ErrNotExist) { // removed meanwhile: there is nothing to see
		return nil
	}
	return w.missed(path, err)
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = errors.Join(w.failure, err)
}

func (w *walker) otherFailure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// openTop opens a directory by its path, which holds no symbolic link.
func openTop(path string) (*directory, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, directoryFlags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return newDirectory(fd, path, audienceOfParents(path))
}

// openChild opens a directory in d.
func openChild(d *directory, name string) (*directory, error) {
	if d.depth+1 >= maxDepth {
		return nil, errTooDeep
	}
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, directoryFlags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	child, err := newDirectory(fd, join(d.path, name), d.audience)
	if child != nil {
		child.depth = d.depth + 1
	}
	return child, err
}

// directoryFlags keep a name that was a directory a moment ago from leading elsewhere.
const directoryFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// newDirectory wraps an open descriptor; it closes it when it fails.
func newDirectory(fd int, path string, reach audience) (*directory, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return &directory{
		file: os.NewFile(uintptr(fd), path), fd: fd, path: path, id: idOf(&st),
		audience: reach.through(&st),
	}, nil
}

// join is filepath.Join for a clean directory and one name.
func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

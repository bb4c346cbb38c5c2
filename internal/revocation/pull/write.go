// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// mark returns the name of a file that is there while the server has not been told of a change.
func (p *Puller) mark() string {
	if p.c.Dir != "" {
		return filepath.Join(p.c.Dir, ".tally-crl-changed")
	}
	return filepath.Join(filepath.Dir(p.c.Out), "."+filepath.Base(p.c.Out)+"-changed")
}

// tell calls Changed when it is due, be it since an earlier time.
func (p *Puller) tell(ctx context.Context, mark string) error {
	if p.c.Changed == nil {
		return nil
	}
	if _, err := os.Lstat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := p.c.Changed(ctx); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return fmt.Errorf("couldn't note that the server was told: %w", err)
	}
	return nil
}

// replace gives a file new contents at once: whoever opens it reads the old or the new ones. Mode
// and owner stay; of a link, the file behind it is replaced.
func replace(path string, text []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if err := replaceFile(path, text); err != nil {
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			err = inner.Err // not the name of the temporary file
		}
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}

func replaceFile(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".tally-*")
	if err != nil {
		return err
	}
	err = fill(file, path, text)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// fill writes a file that is to take the place of another one.
func fill(file *os.File, path string, text []byte) error {
	mode := fs.FileMode(0o644) // lists are public
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := keepOwner(file, owner); err != nil {
				return err
			}
		}
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// keepOwner gives the file to an owner, unless it is theirs already.
func keepOwner(file *os.File, owner *syscall.Stat_t) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if now, ok := info.Sys().(*syscall.Stat_t); ok && now.Uid == owner.Uid && now.Gid == owner.Gid {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}

// syncDir makes a renaming durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

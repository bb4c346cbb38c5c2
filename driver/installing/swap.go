// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// MaxFile bounds the files of doors that are read and replaced, in bytes: what can be read can
// be put back. Revocation lists of large CAs are the longest.
const MaxFile = 64 << 20

// undoing is the time that putting back has, also when the caller's has run out.
const undoing = 2 * time.Minute

// A File is what a file shall be.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode // where there is none yet
}

// A Swapped is what Swap has replaced, for Undo.
type Swapped struct {
	host driver.Host
	old  []before // of the files that differed, in the order of writing
}

// before is what a file was.
type before struct {
	path    string
	content []byte
	missing bool
}

// Swap writes those of the files that differ from what is there, in the order given.
// When one cannot be written all are put back, and the error says so. One that wraps
// ErrDamaged says that this failed too.
//
// What was killed half-way is completed by the next call with the same files.
func Swap(ctx context.Context, h driver.Host, files []File) (*Swapped, error) {
	s := &Swapped{host: h}
	var differ []File
	for _, f := range files {
		content, err := h.ReadFile(ctx, f.Path, MaxFile)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return nil, err
		}
		if missing || !bytes.Equal(content, f.Content) {
			differ = append(differ, f)
			s.old = append(s.old, before{f.Path, content, missing})
		}
	}
	for _, f := range differ {
		if err := h.WriteFile(ctx, f.Path, f.Content, f.Mode); err != nil {
			return nil, errors.Join(err, s.Undo(ctx))
		}
	}
	return s, nil
}

// Changed says whether anything differed.
func (s *Swapped) Changed() bool { return len(s.old) > 0 }

// Undo puts back what Swap has replaced, the last first, also when ctx has ended. Its
// error wraps ErrDamaged.
func (s *Swapped) Undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	var failed []error
	for i := len(s.old) - 1; i >= 0; i-- {
		if err := s.putBack(ctx, s.old[i]); err != nil {
			failed = append(failed, fmt.Errorf("%w: couldn't put back %s: %w", tallystick.ErrDamaged, s.old[i].path, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Swapped) putBack(ctx context.Context, was before) error {
	if was.missing {
		return s.host.Remove(ctx, was.path)
	}
	now, err := s.host.ReadFile(ctx, was.path, MaxFile)
	if err == nil && bytes.Equal(now, was.content) {
		return nil
	}
	// The mode counts only where somebody has removed the file meanwhile; then nobody
	// but its owner may read it, because it may hold a key.
	return s.host.WriteFile(ctx, was.path, was.content, 0o600)
}

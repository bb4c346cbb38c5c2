// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tallystick/tallystick"
)

// maxLine bounds one line of a book, in bytes.
const maxLine = 1 << 20

// lineStart is how every line of a book begins.
var lineStart = []byte(`{"v":1,"source":"`)

// A file is an output that only grows, with one writer.
type file struct {
	f    *os.File
	size int64 // of whole lines
}

// openFile opens or makes the book at path and returns where it stands. A last
// line without an end was never acknowledged: it is cut off.
func openFile(path, source string) (*file, chain, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, chain{}, fmt.Errorf("couldn't open the book: %w", err)
	}
	out, last, err := lockedFile(f, source)
	if err != nil {
		return nil, chain{}, errors.Join(fmt.Errorf("couldn't open the book %s: %w", path, err), f.Close())
	}
	return out, last, nil
}

func lockedFile(f *os.File, source string) (*file, chain, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, chain{}, fmt.Errorf("another process has it open: %w", tallystick.ErrInUse)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, chain{}, err
	}
	if info.Size() == 0 {
		// The name must survive a crash as the records do.
		return &file{f: f}, chain{}, syncDir(filepath.Dir(f.Name()))
	}
	tail := make([]byte, min(info.Size(), 2*maxLine))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return nil, chain{}, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	// Nothing is cut off that a book would not have begun to write; a file
	// system may have filled what it lost in a crash with zeros.
	if rest := bytes.TrimRight(tail[end:], "\x00"); end == 0 && len(tail) < int(info.Size()) || !bytes.HasPrefix(rest, lineStart[:min(len(rest), len(lineStart))]) {
		return nil, chain{}, fmt.Errorf("%w: it does not end as a book does", tallystick.ErrInvalid)
	}
	var last chain
	if end > 0 {
		if last, err = chainOf(tail[bytes.LastIndexByte(tail[:end-1], '\n')+1:end], source); err != nil {
			return nil, chain{}, err
		}
	}
	size := info.Size() - int64(len(tail)-end)
	return &file{f: f, size: size}, last, f.Truncate(size)
}

// chainOf reads where a book stands from its last line.
func chainOf(line []byte, source string) (chain, error) {
	text, hash, ok := split(line)
	var r record
	if !ok || json.Unmarshal(text, &r) != nil {
		return chain{}, fmt.Errorf("%w: its last line is not one of a book", tallystick.ErrInvalid)
	}
	if r.Source != source {
		return chain{}, fmt.Errorf("%w: it is the book of %q, not of %q", tallystick.ErrConflict, r.Source, source)
	}
	return chain{seq: max(r.Seq, r.Last), hash: hash}, nil
}

// append writes lines and waits for the disk. After an error the file is as
// before, or what is behind its lines is cut off by the next call.
func (o *file) append(lines []byte) error {
	if err := o.f.Truncate(o.size); err != nil {
		return err
	}
	if _, err := o.f.WriteAt(lines, o.size); err != nil {
		return err
	}
	if err := o.f.Sync(); err != nil {
		return err
	}
	o.size += int64(len(lines))
	return nil
}

// run has nothing to do: append writes at once.
func (o *file) run(context.Context) {}

// sendError is nil: a file is sent nowhere.
func (o *file) sendError() error { return nil }

// malformed is 0: nobody reads a file yet.
func (o *file) malformed() (int64, error) { return 0, nil }

// close gives the lock up.
func (o *file) close(context.Context) error { return o.f.Close() }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

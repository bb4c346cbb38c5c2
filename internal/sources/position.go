// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
)

// A position is how far the files of a source are read, as it is stored.
type position struct {
	Files  []*place  `json:"files"`
	Newest time.Time `json:"newest,omitzero"` // time of the newest record
}

// A place is how far one file is read. A file is known by its device and inode
// together with how it begins and what stands before the place: inodes are used
// again, files are truncated, and a copy of a file, also one that was compressed,
// goes on where the file itself was read up to.
type place struct {
	fileID
	Head string `json:"head"` // SHA-256 of the first HeadSize bytes
	// HeadSize is at most edge. A file that was shorter is known by less.
	HeadSize int64  `json:"head_size"`
	Tail     string `json:"tail,omitempty"` // SHA-256 of the TailSize bytes before Offset
	TailSize int64  `json:"tail_size,omitempty"`
	Offset   int64  `json:"offset"` // bytes that are read, unpacked
	Line     int64  `json:"line"`   // lines that are read
	Format   string `json:"format,omitempty"`
	// Whole says that its records are no lines: it is read again from its
	// beginning when it has changed.
	Whole  bool `json:"whole,omitempty"`
	Packed bool `json:"packed,omitempty"`
	// Skipping says that Offset is inside of a line that is too long.
	Skipping bool `json:"skipping,omitempty"`
	// Size and Changed are of the file when it was read to its end.
	Size    int64 `json:"size,omitempty"`
	Changed int64 `json:"changed,omitempty"` // nanoseconds
	// Partial says that a line without an end stands behind Offset.
	Partial bool `json:"partial,omitempty"`
	// Gone is when it was not there for the first time, in seconds.
	Gone int64 `json:"gone,omitempty"`

	last []byte // the end of what was read last, for Tail
}

// edge is how many bytes at the beginning of a file, and before the place in it,
// tell it from others.
const edge = 1024

// goneTime is how long a file that is gone is remembered: a copy of it may come
// to be compressed.
const goneTime = 24 * time.Hour

// maxFiles bounds how many files a source has.
const maxFiles = 10_000

func readPosition(text string) (*position, error) {
	p := &position{}
	if text == "" {
		return p, nil
	}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, fmt.Errorf("couldn't read where a source stood: %w: %w", tallystick.ErrDamaged, err)
	}
	return p, nil
}

// text returns the position as it is stored.
func (p *position) text() (string, error) {
	for _, f := range p.Files {
		f.keepTail()
	}
	text, err := json.Marshal(p)
	return string(text), err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]) // against accidents; who can write the file needs no collision
}

// known returns the place of an open file by its device and inode, nil when there
// is none or the file is another one by now.
func (p *position) known(info os.FileInfo, bytes io.ReaderAt) (*place, error) {
	id := idOf(info)
	for _, f := range p.Files {
		if f.fileID != id {
			continue
		}
		if f.Packed || f.Whole {
			return f, nil // it is read again from its beginning when it has changed
		}
		same, err := f.same(bytes, info.Size())
		if err != nil || same {
			return f, err
		}
		// It was truncated and written anew, or its inode is used again.
		f.fileID = fileID{}
	}
	return nil, nil
}

// same says whether what stands in a file is what was read of this one.
func (f *place) same(bytes io.ReaderAt, size int64) (bool, error) {
	if size < f.Offset || size < f.HeadSize {
		return false, nil
	}
	head, err := hashAt(bytes, 0, f.HeadSize)
	if err != nil || head != f.Head {
		return false, err
	}
	f.keepTail()
	tail, err := hashAt(bytes, f.Offset-f.TailSize, f.TailSize)
	return tail == f.Tail || f.TailSize == 0, err
}

// keepTail makes Tail of what was read last.
func (f *place) keepTail() {
	if f.last != nil {
		f.Tail, f.TailSize, f.last = digest(f.last), int64(len(f.last)), nil
	}
}

func hashAt(r io.ReaderAt, at, size int64) (string, error) {
	b := make([]byte, size)
	if n, err := r.ReadAt(b, at); err != nil && (err != io.EOF || int64(n) < size) {
		if err == io.EOF {
			return "", nil // it has become shorter meanwhile
		}
		return "", err
	}
	return digest(b), nil
}

// grow makes the head of a file as long as it can be.
func (f *place) grow(r io.ReaderAt, size int64) error {
	n := min(size, edge)
	if f.HeadSize >= n {
		return nil
	}
	head, err := hashAt(r, 0, n)
	if err == nil && head != "" {
		f.Head, f.HeadSize = head, n
	}
	return err
}

// begun returns a known file that begins as a new one does, the one that was read
// furthest, or nil.
func (p *position) begun(head []byte) *place {
	var best *place
	for _, f := range p.Files {
		if f.HeadSize > 0 && f.Offset > 0 && int64(len(head)) >= f.HeadSize && digest(head[:f.HeadSize]) == f.Head &&
			(best == nil || f.Offset > best.Offset) {
			best = f
		}
	}
	return best
}

// seen notes which files were there, and forgets those that are gone for long.
func (p *position) seen(now time.Time, there map[*place]bool) {
	p.Files = slices.DeleteFunc(p.Files, func(f *place) bool {
		switch {
		case there[f]:
			f.Gone = 0
		case f.Gone == 0:
			f.Gone = now.Unix()
		}
		return f.Gone > 0 && now.Sub(time.Unix(f.Gone, 0)) > goneTime
	})
}

// advance steps over a line.
func (f *place) advance(l line) {
	f.Offset += l.size
	f.Skipping = l.tooLong && !l.whole
	if !f.Skipping {
		f.Line++
	}
	text := l.text[max(0, len(l.text)-edge+1):]
	f.last = append(f.last[:0], text...)
	if l.whole {
		f.last = append(f.last, '\n')
	}
}

// A fileID is what a file is on its machine.
type fileID struct {
	Device uint64 `json:"dev"`
	Inode  uint64 `json:"ino"`
}

func idOf(info os.FileInfo) fileID {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(s.Dev), s.Ino}
	}
	return fileID{}
}

// index returns the places by their files.
func (p *position) index() map[fileID]*place {
	index := make(map[fileID]*place, len(p.Files))
	for _, f := range p.Files {
		index[f.fileID] = f
	}
	return index
}

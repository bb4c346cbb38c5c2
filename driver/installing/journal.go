// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/tallystick/tallystick/driver"
)

const (
	// maxJournal bounds a journal, in bytes: several files of the longest kind.
	maxJournal = 4 * MaxFile
	// maxHead bounds its first line, in bytes.
	maxHead = 1 << 20
)

// JournalFor returns the path of the journal of a change at a file: a hidden one beside it.
func JournalFor(path string) string {
	directory, base := filepath.Split(path)
	return filepath.Join(directory, "."+base+".tallystick-before")
}

// A journal says what files were before the first write of a change that has not come to
// its end. It is one file, so that it is there as a whole or not at all: a line of JSON, and
// then the contents, one after the other.
type journal struct {
	Files []saved `json:"files"`
}

// saved is one file as it was.
type saved struct {
	Path    string `json:"path"`
	Missing bool   `json:"missing,omitempty"`
	Size    int    `json:"size"`
	// Written are the SHA-256 of what was to be written into it since, hex. A file that is
	// none of these, and not as it was either, has been changed by somebody else.
	Written []string `json:"written"`
	content []byte
}

// encode writes a journal.
func (j journal) encode() ([]byte, error) {
	var contents [][]byte
	for i := range j.Files {
		j.Files[i].Size = len(j.Files[i].content)
		contents = append(contents, j.Files[i].content)
	}
	head, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("couldn't write down what is replaced: %w", err)
	}
	text := slices.Concat(head, []byte("\n"), bytes.Join(contents, nil))
	if len(head) > maxHead || len(text) > maxJournal {
		return nil, invalid("what would be replaced has %d bytes: more than can be put back", len(text))
	}
	return text, nil
}

// readJournal reads what encode wrote. Its errors are ErrInvalid and quote nothing of the text.
func readJournal(text []byte) (journal, error) {
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	var j journal
	if len(head) > maxHead || json.Unmarshal(head, &j) != nil {
		return journal{}, invalid("couldn't read what files were before")
	}
	for i := range j.Files {
		f := &j.Files[i]
		if f.Size < 0 || f.Size > len(rest) || f.Missing && f.Size > 0 {
			return journal{}, invalid("what files were before is cut off")
		}
		f.content, rest = rest[:f.Size:f.Size], rest[f.Size:]
	}
	if len(rest) > 0 {
		return journal{}, invalid("there is more than what files were before")
	}
	return j, nil
}

// of returns what a journal says of a file, or nil.
func (j journal) of(path string) *saved {
	if i := slices.IndexFunc(j.Files, func(s saved) bool { return s.Path == path }); i >= 0 {
		return &j.Files[i]
	}
	return nil
}

// is says whether a file is as it was.
func (s saved) is(now saved) bool {
	return s.Missing == now.Missing && bytes.Equal(s.content, now.content)
}

// wrote says whether a file is what a call has written.
func (s saved) wrote(now saved) bool {
	return !now.Missing && slices.Contains(s.Written, digest(now.content))
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// save reads a file as it is now.
func save(ctx context.Context, h driver.Host, path string) (saved, error) {
	content, err := h.ReadFile(ctx, path, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return saved{Path: path, Missing: true}, nil
	}
	return saved{Path: path, content: content}, err
}

// A standing is how the files of a change are, and were.
type standing struct {
	now, before []saved // in the order of Change.Files
	// unfinished says that a call was killed: before is what it has found.
	unfinished bool
}

// standing reads the files of a change and its journal. Of a journal only what it says of
// these files counts, so that whoever may write it decides of nothing else; and it counts for
// all of them or for none: one of files that somebody has changed since is removed.
func (c Change) standing(ctx context.Context) (standing, error) {
	var s standing
	for _, f := range c.Files {
		now, err := save(ctx, c.Host, f.Path)
		if err != nil {
			return standing{}, err
		}
		s.now = append(s.now, now)
	}
	s.before = slices.Clone(s.now)
	if len(c.Files) == 0 {
		return s, nil
	}
	text, err := c.Host.ReadFile(ctx, c.noted(), maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return standing{}, err
	}
	before, ok := earliest(text, s.now)
	if !ok {
		return s, c.Host.Remove(ctx, c.noted())
	}
	s.before, s.unfinished = before, true
	return s, nil
}

// earliest returns what files were by a journal, if that is about them and still true.
func earliest(text []byte, now []saved) ([]saved, bool) {
	j, err := readJournal(text)
	if err != nil {
		return nil, false // written by somebody else: every journal of ours is whole
	}
	before := slices.Clone(now)
	known := false
	for i := range now {
		was := j.of(now[i].Path)
		if was == nil {
			continue
		}
		if !was.is(now[i]) && !was.wrote(now[i]) {
			return nil, false
		}
		before[i], known = *was, true
	}
	return before, known
}

// An earlier host is one whose files are read as they were before a call that was killed.
type earlier struct {
	driver.Host
	before []saved
}

// ReadFile reads a file as it was.
func (e earlier) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	i := slices.IndexFunc(e.before, func(s saved) bool { return s.Path == path })
	switch {
	case i < 0:
		return e.Host.ReadFile(ctx, path, limit)
	case e.before[i].Missing:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case int64(len(e.before[i].content)) > limit:
		return nil, invalid("%s had more than %d bytes", path, limit)
	}
	return slices.Clone(e.before[i].content), ctx.Err()
}

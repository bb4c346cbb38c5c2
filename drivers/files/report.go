// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// Errors that become misses.
var (
	errTooDeep    = errors.New("more than " + strconv.Itoa(maxDepth) + " directories deep")
	errTooLarge   = errors.New("larger than max-file-size")
	errChanging   = errors.New("changed while it was read, twice")
	errNotRegular = errors.New("not a regular file")
	errExcluded   = errors.New("the option exclude leaves it out")
)

// missed reports that path could not be seen because of err.
func (l *look) missed(path string, err error) error {
	word, detail := wordOf(err)
	return l.miss(path, word, detail)
}

// miss reports that path could not be seen.
func (l *look) miss(path, word, detail string) error {
	err := l.sink.Missed(tallystick.Miss{Place: tallystick.FilePlace(path), Error: word, Detail: detail, Seen: l.now()})
	if err != nil {
		return fmt.Errorf("couldn't report a miss: %w", err)
	}
	return nil
}

// wordOf returns the one word of a miss and what to add to it. The detail
// leaves out the path, which the place says.
func wordOf(err error) (word, detail string) {
	switch {
	case errors.Is(err, errExcluded):
		return "excluded", err.Error()
	case errors.Is(err, fs.ErrPermission):
		return "denied", ""
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return "not-found", ""
	case errors.Is(err, errTooDeep):
		return "too-deep", err.Error()
	case errors.Is(err, errTooLarge):
		return "too-large", err.Error()
	case errors.Is(err, errChanging):
		return "changing", err.Error()
	case errors.Is(err, errNotRegular):
		return "not-a-file", err.Error()
	case errors.Is(err, unix.ELOOP):
		return "symlink-loop", ""
	case errors.Is(err, unix.ENAMETOOLONG):
		return "name-too-long", ""
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return "unreadable", errno.Error()
	}
	return "unreadable", ""
}

// maxProblems bounds the misses of one file; what is beyond is counted.
const maxProblems = 16

// problems reports the parts of a file that could not be read.
func (l *look) problems(path string, found []parse.Problem) error {
	for i, p := range found {
		if i == maxProblems {
			return l.miss(path, "malformed", fmt.Sprintf("and %d more problems", len(found)-i))
		}
		if err := l.miss(path, p.Word, p.Detail); err != nil {
			return err
		}
	}
	return nil
}

// progressStep is how many files lie between two reports of progress.
const progressStep = 1024

// step counts one file of the second pass.
func (l *look) step() {
	if n := l.done.Add(1); n%progressStep == 0 {
		l.sink.Progress(n, max(n, l.total.Load()))
	}
}

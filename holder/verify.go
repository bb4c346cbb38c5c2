// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// Verify reads a whole book and says whether anything is missing from it or was
// changed: records are numbered without gaps, every hash follows from the one
// before, and closing marks name the record before them. It returns how many
// uses the book holds. What is wrong is ErrInvalid and names the line. A book
// whose last lines were cut off is whole by itself; whoever keeps its last hash
// can tell.
func Verify(r io.Reader) (int64, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	at := Follower{begun: true}
	var uses int64
	n := 0
	for lines.Scan() {
		n++
		u, err := at.take(lines.Bytes())
		if err != nil {
			return uses, fmt.Errorf("line %d: %w: %w", n, tallystick.ErrInvalid, err)
		}
		uses += u
	}
	if err := lines.Err(); err != nil {
		return uses, fmt.Errorf("couldn't read line %d: %w", n+1, err)
	}
	return uses, nil
}

// A Follower follows the lines of one book, or of a part of it: the zero value
// takes any line for the first.
type Follower struct {
	at    chain
	begun bool
}

// take follows a line and returns how many uses it tells of.
func (f *Follower) take(line []byte) (int64, error) {
	if err := f.Follow(line); err != nil {
		return 0, err
	}
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return 0, errNoRecord
	}
	if r.Closed != "" || r.Lost > 0 {
		return 0, nil
	}
	return max(r.Count, 1), nil
}

var errNoRecord = errors.New("it is not a record")

// Follow checks that a line comes next. The error says how it does not; the
// lines after it are held against it all the same.
func (f *Follower) Follow(line []byte) error {
	before := f.at
	text, hash, ok := split(line)
	if !ok {
		return errors.New("it does not end with its hash")
	}
	seq, closing, err := place(text)
	if err != nil {
		return err
	}
	begun := f.begun
	f.begun, f.at = true, chain{seq: seq, hash: hash}
	if !begun {
		return nil
	}
	return before.broken(seq, closing, next(before.hash, text) == hash)
}

// place returns the number of a record, or that of the record before a closing
// mark. It is looked for where appendLine writes it, since most of a book's
// lines are so, and read as JSON otherwise.
func place(text []byte) (seq uint64, closing bool, err error) {
	if rest, ok := bytes.CutPrefix(text, lineStart); ok {
		source, rest, _ := bytes.Cut(rest, []byte(`","seq":`))
		number, _, _ := bytes.Cut(rest[:min(len(rest), 21)], []byte(","))
		seq, err := strconv.ParseUint(string(number), 10, 64)
		if err == nil && !bytes.ContainsAny(source, `"\`) {
			return seq, false, nil
		}
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, false, errNoRecord
	}
	if r.Closed != "" {
		return r.Last, true, nil
	}
	return r.Seq, false, nil
}

// broken says how a record does not come next. follows says that its hash does.
func (c *chain) broken(seq uint64, closing, follows bool) error {
	name, want := "record", c.seq+1
	if closing {
		name, want = "a closing mark behind record", c.seq
	}
	if seq == want && follows {
		return nil
	}
	name = fmt.Sprint(name, " ", seq)
	switch {
	case seq == want+1:
		return fmt.Errorf("%s follows record %d: a record between them is missing", name, c.seq)
	case seq > want:
		return fmt.Errorf("%s follows record %d: %d records between them are missing", name, c.seq, seq-want)
	case seq < want:
		return fmt.Errorf("%s follows record %d: lines were moved or are there twice, or two programs write this book", name, c.seq)
	}
	return fmt.Errorf("the hash of %s does not follow from the line before it: one of the two was changed, or a line between them removed", name)
}

// IsChained says whether a line ends with a hash, as those of a book do.
func IsChained(line string) bool {
	at := len(line) - len(`"}`) - 2*sha256.Size - len(hashMember)
	return at > 0 && strings.HasSuffix(line, `"}`) && strings.HasPrefix(line[at:], hashMember)
}

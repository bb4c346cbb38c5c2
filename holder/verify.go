// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
	var at chain
	var uses int64
	n := 0
	for lines.Scan() {
		n++
		u, err := at.follow(lines.Bytes())
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

// follow checks that a line comes next, and returns how many uses it tells of.
func (c *chain) follow(line []byte) (int64, error) {
	text, hash, ok := split(line)
	if !ok {
		return 0, errors.New("it does not end with its hash")
	}
	if want := next(c.hash, text); want != hash {
		return 0, errors.New("its hash does not follow from the line before: one of the two was changed, or a line between them removed")
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return 0, errors.New("it is not a record")
	}
	c.hash = hash
	if r.Closed != "" {
		if r.Last != c.seq {
			return 0, fmt.Errorf("it closes the book after record %d, and %d came before it", r.Last, c.seq)
		}
		return 0, nil
	}
	if r.Seq != c.seq+1 {
		return 0, fmt.Errorf("record %d follows record %d", r.Seq, c.seq)
	}
	c.seq = r.Seq
	if r.Lost > 0 {
		return 0, nil
	}
	return max(r.Count, 1), nil
}

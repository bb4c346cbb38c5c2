// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"io"

	"github.com/tallystick/tallystick/internal/uses"
)

// lines cuts a stream of bytes at its newlines, in bounded memory.
type lines struct {
	r        io.Reader
	buffer   []byte
	from, to int
	err      error // of r
	skipping bool  // inside of a line that is too long
}

// A line is what stands up to a newline, or up to where the bytes end.
type line struct {
	text    []byte // without the newline; good until the next call
	size    int64  // bytes that it takes, with the newline
	whole   bool   // it ends in a newline
	tooLong bool   // and was stepped over; its text is its end
}

func newLines(r io.Reader) *lines { return &lines{r: r, buffer: make([]byte, 64<<10)} }

// next returns the next line. At the end it returns what stands there without a
// newline, which may be nothing, with the reader's error: io.EOF, say.
func (l *lines) next() (line, error) {
	var size int64 // of what was dropped of a line that is too long
	for searched := l.from; ; {
		if i := bytes.IndexByte(l.buffer[searched:l.to], '\n'); i >= 0 {
			end := searched + i
			one := line{text: l.buffer[l.from:end], size: size + int64(end+1-l.from), whole: true, tooLong: l.skipping}
			l.from, l.skipping = end+1, false
			return one, nil
		}
		if l.err != nil {
			one := line{text: l.buffer[l.from:l.to], size: size + int64(l.to-l.from), tooLong: l.skipping}
			l.from = l.to
			return one, l.err
		}
		if l.skipping || l.to-l.from >= uses.MaxRecord {
			size += int64(l.to - l.from)
			l.skipping, l.from, l.to = true, 0, 0
		}
		l.room()
		searched = l.to
		n, err := l.r.Read(l.buffer[l.to:])
		l.to, l.err = l.to+n, err
	}
}

// room makes room behind what is read.
func (l *lines) room() {
	if l.from > 0 {
		l.to = copy(l.buffer, l.buffer[l.from:l.to])
		l.from = 0
	}
	if l.to == len(l.buffer) {
		l.buffer = append(l.buffer, make([]byte, len(l.buffer))...)
	}
}

// record returns a line as a record: without a carriage return, a byte order mark
// and the zero bytes that a file has where it was truncated under its writer.
func (l line) record(first bool) string {
	text := bytes.TrimLeft(bytes.TrimSuffix(l.text, []byte("\r")), "\x00")
	if first {
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
	}
	if len(bytes.TrimLeft(text, " \t")) == 0 {
		return ""
	}
	return string(text)
}

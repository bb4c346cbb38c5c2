// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"fmt"
	"io"

	"github.com/tallystick/tallystick"
)

// A Stream reads records that come one by one: lines of a file that grows, or
// messages that are sent.
type Stream struct {
	Format Format
	read   ReadFunc
}

// NewStream returns a stream of the format of a name; one that does not exist is
// ErrInvalid.
func NewStream(format string, settings Settings) (*Stream, error) {
	f, ok := FormatNamed(format)
	if !ok {
		return nil, fmt.Errorf("%w: there is no format %q", tallystick.ErrInvalid, format)
	}
	return &Stream{Format: f, read: f.reader(settings)}, nil
}

// Read reads the next record.
func (s *Stream) Read(record string, sink Sink) error { return s.read(record, sink) }

// Following says that a record can be understood only after those before it in
// its file.
func (s *Stream) Following() bool { return s.Format.following }

// Remembering says that a record says more after those before it: one stream should read all of a file.
func (s *Stream) Remembering() bool { return s.Format.following || s.Format.remembers }

// ByLine says that each record of the log is a line that ends in a newline, so
// that a file that grows can be read on where its last whole line ended.
func (l *Log) ByLine() bool { return l.byLine }

// Packed says that the log is compressed.
func (l *Log) Packed() bool { return l.packed }

// Plain returns the bytes of the log from its beginning, unpacked.
func (l *Log) Plain() (io.ReadCloser, error) { return l.start() }

// ErrTooLong returns what is said of a record that is longer than MaxRecord.
func ErrTooLong() error { return errTooLong }

// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/tallystick/tallystick"
)

// Reader returns the function that reads the records of the log; see
// Log.Following for whether several records can be read at once.
func (l *Log) Reader() ReadFunc { return l.Format.reader(l.settings) }

// Following says that the records of the log must be read in their order.
func (l *Log) Following() bool { return l.Format.following }

func (l *Log) remembering() bool { return l.Format.following || l.Format.remembers }

// A collector keeps the uses of one record.
type collector struct{ found []*tallystick.Use }

func (c *collector) Use(u *tallystick.Use)        { c.found = append(c.found, Keep(u)) }
func (c *collector) Close(tallystick.ClosingMark) {}
func (c *collector) Lost(*tallystick.Use)         {}

// Details reads the records at the given offsets again, which must ascend, and
// calls found with the uses of each.
func (l *Log) Details(offsets []int64, found func(offset int64, u *tallystick.Use) error) error {
	read := l.Reader()
	each := func(record string, offset int64) error {
		var c collector
		if err := read(record, &c); err != nil {
			return err
		}
		for _, u := range c.found {
			if err := found(offset, u); err != nil {
				return err
			}
		}
		return nil
	}
	if l.byLine && !l.packed && !l.remembering() {
		return l.detailsByLine(offsets, each)
	}
	return l.detailsInOrder(offsets, each, read)
}

// detailsByLine goes to each record.
func (l *Log) detailsByLine(offsets []int64, each func(string, int64) error) error {
	r := bufio.NewReaderSize(nil, 4<<10)
	for _, offset := range offsets {
		r.Reset(io.NewSectionReader(l.file, offset, MaxRecord+1))
		line, err := r.ReadString('\n')
		if err != nil && err != io.EOF {
			return l.ending(err)
		}
		if offset == 0 {
			line = withoutMark(line)
		}
		if err := each(strings.TrimRight(line, "\r\n"), offset); err != nil {
			return l.changed()
		}
	}
	return nil
}

func (l *Log) changed() error {
	return errors.New("couldn't read " + l.Name + " again: it was changed meanwhile")
}

// detailsInOrder reads the log from its beginning.
func (l *Log) detailsInOrder(offsets []int64, each func(string, int64) error, read ReadFunc) error {
	if len(offsets) == 0 {
		return nil
	}
	var failed error
	var forget collector
	emit := func(b *Block) error {
		b.Each(func(record string, offset int64, _ int) {
			switch {
			case failed != nil || len(offsets) == 0:
			case offset == offsets[0]:
				offsets = offsets[1:]
				failed = each(record, offset)
			case l.remembering():
				_ = read(record, &forget) // what it remembers is what counts here; malformed ones were told
				forget.found = nil
			}
		})
		if failed == nil && len(offsets) == 0 {
			return errStop
		}
		return failed
	}
	err := l.Blocks(emit, func(int, error) {})
	if len(offsets) > 0 && failed == nil {
		failed = l.changed()
	}
	if failed != nil || errors.Is(err, errStop) {
		return failed
	}
	return nil // a log that ends badly was told of when it was read first
}

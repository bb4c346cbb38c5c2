// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evtx"
)

// The errors of Open. That a file cannot be read is an *fs.PathError.
var (
	ErrUnknownFormat = errors.New("couldn't recognise the format")        // no format recognises the file
	ErrTemporary     = errors.New("couldn't copy it to a temporary file") // of what can be read once
)

// A Log is an open file of uses, or the standard input. It can be read more than once.
type Log struct {
	Name   string // for people: its path, or "standard input"
	Format Format

	file     *os.File
	settings Settings
	packed   bool // compressed
	byLine   bool // records are lines: Format's layout, or JSON that is written so
	empty    bool
}

// Side is the side that the file was named for.
func (l *Log) Side() tallystick.Side { return l.settings.Side }

// Open opens a file and finds out how it is written; a format other than ""
// says so. A path of "-" is stdin. What cannot be read twice, such as a pipe, is
// copied to a temporary file, because the details of what is not matched are
// read again at the end.
func Open(path, format string, settings Settings, stdin io.Reader) (*Log, error) {
	l := &Log{Name: path, settings: settings}
	if err := l.openFile(path, stdin); err != nil {
		return nil, err
	}
	if err := l.recognise(format); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close releases the file.
func (l *Log) Close() error { return l.file.Close() }

func (l *Log) openFile(path string, stdin io.Reader) (err error) {
	if path == "-" {
		l.Name = "standard input"
		return l.spool(stdin)
	}
	if l.file, err = os.Open(path); err != nil {
		return unreadable(path, err)
	}
	info, err := l.file.Stat()
	if err != nil {
		return errors.Join(unreadable(path, err), l.file.Close())
	}
	if info.IsDir() {
		return errors.Join(unreadable(path, syscall.EISDIR), l.file.Close())
	}
	if l.settings.Near.IsZero() {
		l.settings.Near = info.ModTime().UTC()
	}
	if info.Mode().IsRegular() {
		return nil
	}
	pipe := l.file
	defer pipe.Close()
	return l.spool(pipe)
}

// unreadable returns the error of a file under the name that it was given.
func unreadable(name string, err error) error {
	return &fs.PathError{Op: "couldn't read", Path: name, Err: unwrapPath(err)}
}

// unwrapPath drops the path that the error repeats.
func unwrapPath(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// spool copies what can be read once into a file that has no name.
func (l *Log) spool(from io.Reader) error {
	file, err := os.CreateTemp("", "tally-*")
	if err != nil {
		return fmt.Errorf("couldn't read %s: %w: %w", l.Name, ErrTemporary, unwrapPath(err))
	}
	l.file = file
	err = os.Remove(file.Name())
	if err == nil {
		_, err = io.Copy(file, from)
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && pathErr.Op == "read" {
		return errors.Join(unreadable(l.Name, err), file.Close())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("couldn't read %s: %w: %w", l.Name, ErrTemporary, unwrapPath(err)), file.Close())
	}
	if l.settings.Near.IsZero() {
		l.settings.Near = time.Now().UTC()
	}
	return nil
}

// start returns the plain bytes of the file from its beginning.
func (l *Log) start() (io.ReadCloser, error) {
	// Each reading has a place of its own in the file, so that two do not meet.
	// Blocks are larger than its buffer, and so are read without it.
	raw := bufio.NewReaderSize(io.NewSectionReader(l.file, 0, 1<<62), blockSize/4)
	magic, err := raw.Peek(4)
	if err != nil && err != io.EOF {
		return nil, unreadable(l.Name, err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952 section 2.3.1
		l.packed = true
		r, err := gzip.NewReader(raw)
		if err != nil {
			return nil, unreadable(l.Name, err)
		}
		return packed{r}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878 section 3.1.1
		l.packed = true
		// A frame may ask for a window of any size; 128 MiB is what zstd --long takes.
		r, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, unreadable(l.Name, err)
		}
		return packed{r.IOReadCloser()}, nil
	}
	return io.NopCloser(raw), nil
}

// headSize is how much of a file is looked at to recognise it.
const headSize = 512 << 10

// recognise finds out the format and how records are laid out.
func (l *Log) recognise(name string) error {
	r, err := l.start()
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	whole := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !whole && n == 0 {
		return unreadable(l.Name, err)
	}
	text := strings.TrimPrefix(string(head[:n]), byteOrderMark)
	json := strings.TrimLeft(text, " \t\r\n")
	l.empty = json == ""
	isJSON := strings.HasPrefix(json, "{") || strings.HasPrefix(json, "[")
	linesOfJSON := isJSON && jsonIsByLine(json)
	if name != "" {
		known, ok := FormatNamed(name)
		if !ok {
			return fmt.Errorf("%w: there is no format %q", tallystick.ErrInvalid, name)
		}
		l.Format = known
	} else if l.Format, err = l.guess(text, isJSON, linesOfJSON); err != nil {
		return err
	}
	l.byLine = l.Format.layout == byLine || l.Format.layout == byElement && (linesOfJSON || !isJSON)
	return nil
}

const byteOrderMark = "\ufeff"

// samples is how many records a format is recognised by.
const samples = 50

// guess asks every format about the first records.
func (l *Log) guess(head string, isJSON, linesOfJSON bool) (Format, error) {
	var records []string
	take := func(record string, _ int64, _ int) {
		if len(records) < samples {
			records = append(records, record)
		}
	}
	switch {
	case strings.HasPrefix(head, evtx.Magic):
		return windowsEVTXFormat(), nil
	case isJSON && !linesOfJSON:
		e := newElements(strings.NewReader(head), func(b *Block) error { b.Each(take); return nil }, func(int, error) {})
		if err := e.run(); err != nil {
			return Format{}, err
		}
		if len(records) == 0 && len(head) < headSize { // "[]", or a page of nothing
			return useFormat(), nil
		}
	case strings.Contains(head, "<Event"):
		eachEvent(head, take)
	default:
		(&Block{text: head}).Each(take)
	}
	if l.empty {
		return useFormat(), nil
	}
	for _, f := range Formats() {
		for _, record := range records {
			if f.is(record) {
				return f, nil
			}
		}
	}
	return Format{}, fmt.Errorf("%w of %s", ErrUnknownFormat, l.Name)
}

// jsonIsByLine says whether JSON is written one object a line. A page of objects
// is not, even when it is one line, or has one line for each of them.
func jsonIsByLine(text string) bool {
	if text[0] == '[' {
		return false
	}
	for i := 0; i < samples && text != ""; i++ {
		line, rest, _ := strings.Cut(text, "\n")
		if i == 0 && isPage(line) {
			return false
		}
		if strings.HasPrefix(line, "{") {
			c := cursor{text: line}
			if c.skip() == nil && c.end() == nil {
				return true
			}
		}
		text = rest
	}
	return false
}

// isPage says whether a JSON object, which may be cut off, holds records in an array.
func isPage(object string) bool {
	page := false
	c := cursor{text: object}
	_ = c.object(func(key string) error { // where it is cut off, nothing more is known
		page = page || holdsRecords(key) && c.space() == '['
		return c.skip()
	})
	return page
}

// holdsRecords says whether a member of a page is the array of its records, as
// Graph, event hubs, CloudTrail and the Log Analytics query API call it.
func holdsRecords(key string) bool {
	switch key {
	case "value", "records", "Records", "tables", "Tables", "rows", "Rows":
		return true
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unsafe"
)

// elements finds the records of JSON that is not one object a line: objects one
// behind the other, arrays of objects, pages that hold such an array, and the
// tables of the Log Analytics query API, whose rows become objects. It holds one
// record at a time, however large the page is.
type elements struct {
	r    io.Reader
	emit func(*Block) error
	tell func(line int, err error) // of what is malformed

	window  []byte // what is read and not passed yet
	at      int    // the next byte, in window
	keep    int    // from where the window must not be let go, or -1
	base    int64  // offset of window in the log
	counted int    // newlines before this byte of the window are in line
	line    int
	ended   error // why nothing more is read
	failed  error // of emit; nothing more is read then

	text  []byte // of the block that is being filled
	spans []span
	used  chan []byte // memory of blocks that were released
}

func newElements(r io.Reader, emit func(*Block) error, malformed func(int, error)) *elements {
	return &elements{r: r, emit: emit, tell: malformed, keep: -1, line: 1, used: make(chan []byte, 8)}
}

// run reads to the end.
func (e *elements) run() error {
	for {
		switch b := e.space(); {
		case b == 0 && e.atEnd():
			e.flush()
			return errors.Join(e.failed, plainEnd(e.ended))
		case b == ',' || b >= 0x80: // also a byte order mark
			e.at++
		case b == '[':
			e.array(nil)
		case b == '{':
			e.object(true)
		default:
			e.wrong(e.lineAt(e.at), errors.New("expected a JSON object or array"))
			e.pastLine()
		}
	}
}

func (e *elements) atEnd() bool { return e.failed != nil || e.at >= len(e.window) }

// more reads on, and says whether there is more.
func (e *elements) more() bool {
	if e.ended != nil || e.failed != nil {
		return false
	}
	from := e.at
	if e.keep >= 0 {
		from = min(from, e.keep)
	}
	if from > 0 && cap(e.window)-len(e.window) < blockSize/4 {
		e.lineAt(from)
		e.window = e.window[:copy(e.window, e.window[from:])]
		e.base += int64(from)
		e.at, e.counted = e.at-from, e.counted-from
		if e.keep >= 0 {
			e.keep -= from
		}
	}
	if cap(e.window)-len(e.window) < blockSize/4 {
		e.window = append(make([]byte, 0, 2*cap(e.window)+blockSize), e.window...)
	}
	n, err := e.r.Read(e.window[len(e.window):cap(e.window)])
	e.window, e.ended = e.window[:len(e.window)+n], err
	return n > 0 || err == nil
}

// byte returns the byte that is next, or 0 at the end.
func (e *elements) byte() byte {
	for e.atEnd() {
		if !e.more() {
			return 0
		}
	}
	return e.window[e.at]
}

// space steps over white space and returns the byte that is next, or 0.
func (e *elements) space() byte {
	for {
		switch b := e.byte(); b {
		case ' ', '\n', '\r', '\t':
			e.at++
		default:
			return b
		}
	}
}

// lineAt returns the line of a byte of the window.
func (e *elements) lineAt(at int) int {
	if at < e.counted {
		return e.line - bytes.Count(e.window[at:e.counted], []byte{'\n'})
	}
	e.line += bytes.Count(e.window[e.counted:at], []byte{'\n'})
	e.counted = at
	return e.line
}

func (e *elements) wrong(line int, err error) {
	if e.failed == nil {
		e.tell(line, err)
	}
}

// pastLine steps to behind the next newline.
func (e *elements) pastLine() {
	for e.byte() != 0 || !e.atEnd() {
		e.at++
		if e.window[e.at-1] == '\n' {
			return
		}
	}
}

// value steps over a value and returns its text, which is good until more is
// read. Of a value that is too long nothing is held, and nil is returned.
func (e *elements) value() ([]byte, error) {
	e.space()
	if text := e.wholeValue(); text != nil {
		return text, nil
	}
	pinned := e.keep >= 0
	if !pinned {
		e.keep = e.at
		defer func() { e.keep = -1 }()
	}
	begin, err := e.at-e.keep, error(nil)
	for depth := 0; ; {
		b := e.byte()
		switch {
		case b == 0 && e.atEnd():
			return nil, errEnd
		case b == '"':
			err = e.string()
		case b == '{' || b == '[':
			depth++
			e.at++
		case b == '}' || b == ']':
			depth--
			e.at++
		case depth > 0:
			e.at++
		default:
			err = e.word()
		}
		if err != nil {
			return nil, err
		}
		if e.at-e.keep > MaxRecord {
			return nil, errTooLong
		}
		if depth <= 0 {
			return e.window[e.keep+begin : e.at], nil
		}
	}
}

// wholeValue does so for a value that is read already and well-formed, as nearly
// all are, in a fraction of the time; of another it returns nil.
func (e *elements) wholeValue() []byte {
	c := cursor{text: unsafe.String(unsafe.SliceData(e.window), len(e.window)), at: e.at}
	from := e.at
	if c.skip() != nil || c.at == len(e.window) || c.at-max(min(e.keep, from), 0) > MaxRecord {
		return nil
	}
	e.at = c.at
	return e.window[from:e.at]
}

// string steps over a string.
func (e *elements) string() error {
	e.at++
	for {
		b := e.byte()
		switch {
		case b == 0 && e.atEnd():
			return errEnd
		case b == '"':
			e.at++
			return nil
		case b == '\\':
			e.at++
			if e.byte() == 0 && e.atEnd() {
				return errEnd
			}
			e.at++
		default:
			e.plain()
		}
		if e.keep >= 0 && e.at-e.keep > MaxRecord {
			return errTooLong
		}
	}
}

// plain steps over the inside of a string as far as it is read already.
func (e *elements) plain() {
	rest := e.window[e.at:]
	if quote := bytes.IndexByte(rest, '"'); quote >= 0 {
		rest = rest[:quote]
	}
	if slash := bytes.IndexByte(rest, '\\'); slash >= 0 {
		rest = rest[:slash]
	}
	e.at += len(rest)
}

// word steps over a number or literal.
func (e *elements) word() error {
	from := e.base + int64(e.at)
	for b := e.byte(); b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b == '-' || b == '+' || b == '.' || b == 'E'; b = e.byte() {
		e.at++
	}
	if from == e.base+int64(e.at) {
		return errors.New("expected a JSON value")
	}
	return nil
}

// array reads an array of records; of rows, when columns names their cells.
func (e *elements) array(columns []string) {
	e.at++ // the bracket
	for whole := true; ; {
		switch b := e.space(); {
		case b == 0 && e.atEnd():
			if whole { // otherwise its last record was told
				e.wrong(e.lineAt(e.at), errEnd)
			}
			return
		case b == ']':
			e.at++
			return
		case b == ',':
			e.at++
		default:
			whole = e.element(columns)
		}
	}
}

// element reads one record of an array, and says whether it ends.
func (e *elements) element(columns []string) (whole bool) {
	line := e.lineAt(e.at)
	text, err := e.value()
	if err != nil {
		e.wrong(line, err)
		e.pastLine() // where the next record may begin
		return err != errEnd
	}
	offset := e.base + int64(e.at-len(text))
	if columns != nil {
		text, err = rowObject(columns, string(text))
	} else if text[0] != '{' {
		err = errors.New("expected a JSON object")
	}
	if err != nil {
		e.tell(line, err)
		return true
	}
	e.record(text, offset, line)
	return true
}

// rowObject makes an object of a row, with the names of its columns.
func rowObject(columns []string, row string) ([]byte, error) {
	out := []byte{'{'}
	c, i := cursor{text: row}, 0
	err := c.array(func() error {
		value, err := c.raw()
		if err == nil && i == len(columns) {
			err = errColumns
		}
		if err != nil {
			return err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, columns[i]...), ':'), value...)
		i++
		return nil
	})
	if err == nil && i < len(columns) {
		err = errColumns
	}
	return append(out, '}'), err
}

var errColumns = errors.New("expected as many values as there are columns")

// object reads an object that is a record or, at the top, a page of records.
func (e *elements) object(top bool) {
	line := e.lineAt(e.at)
	e.keep = e.at
	e.at++
	page := !top // a table of a page is no record
	if page {
		e.keep = -1
	}
	var columns []string
	for {
		b := e.space()
		var err error
		switch {
		case b == 0 && e.atEnd():
			err = errEnd
		case b == ',':
			e.at++
			continue
		case b == '}':
			e.at++
			if from := e.keep; !page {
				e.keep = -1
				e.record(e.window[from:e.at], e.base+int64(from), line)
			}
			return
		default:
			page, columns, err = e.member(page, columns)
		}
		if err != nil {
			e.keep = -1
			e.wrong(line, err)
			e.pastLine()
			return
		}
	}
}

// member reads a member of an object, and says whether that is a page.
func (e *elements) member(page bool, columns []string) (bool, []string, error) {
	text, err := e.value()
	var key string
	if err != nil || json.Unmarshal(text, &key) != nil {
		return page, columns, errors.Join(err, errors.New("expected the name of a member"))
	}
	if e.space() != ':' {
		return page, columns, errors.New("expected a colon")
	}
	e.at++
	if e.space() == '[' && holdsRecords(key) {
		e.keep = -1
		if strings.EqualFold(key, "tables") {
			e.tables()
		} else {
			e.array(columns)
		}
		return true, columns, nil
	}
	text, err = e.value()
	if err == nil && strings.EqualFold(key, "columns") && page {
		columns, err = columnNames(string(text))
	}
	return page, columns, err
}

// tables reads the tables of an answer of the Log Analytics query API.
func (e *elements) tables() {
	e.at++
	for {
		switch b := e.space(); {
		case b == 0 && e.atEnd() || b == ']':
			e.at = min(e.at+1, len(e.window))
			return
		case b == '{':
			e.object(false)
		default:
			e.at++
		}
	}
}

// columnNames returns the names of columns as JSON strings.
func columnNames(text string) ([]string, error) {
	var list []struct {
		Name       string `json:"name"`
		ColumnName string
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, errors.New("expected columns with names")
	}
	names := make([]string, 0, len(list))
	for _, column := range list {
		name, err := json.Marshal(column.Name + column.ColumnName)
		if err != nil {
			return nil, err
		}
		names = append(names, string(name))
	}
	return names, nil
}

// record adds a record to the block.
func (e *elements) record(text []byte, offset int64, line int) {
	if e.text == nil {
		e.text = blockBuffer(e.used, 0)[:0]
	}
	from := len(e.text)
	e.text = append(e.text, text...)
	e.spans = append(e.spans, span{from: from, to: len(e.text), offset: offset, line: line})
	if len(e.text) > blockSize*3/4 {
		e.flush()
	}
}

// flush emits the block.
func (e *elements) flush() {
	if len(e.spans) > 0 && e.failed == nil {
		e.failed = e.emit(&Block{text: unsafe.String(unsafe.SliceData(e.text), len(e.text)), spans: e.spans, buffer: e.text[:cap(e.text)], used: e.used})
	}
	e.text, e.spans = nil, nil
}

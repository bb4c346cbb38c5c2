// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/tallystick/tallystick"
)

// A loader reads rows of a segment back into a table.
type loader struct {
	ctx   context.Context
	o     *opened
	t     *table
	parts [][parts]uint32 // of each row: numbers of strings of the table, and one more

	strings map[string]uint32
	kinds   map[[partOutcome + 1]uint32]uint32
	lists   map[uint32]uint32 // by number of the string
}

// load returns a table with the rows of the ranges whose time is from from to
// before to, in the order of the file.
func (o *opened) load(ctx context.Context, key *hashKey, ranges []rowRange, from, to int64) (*table, error) {
	if err := o.open(); err != nil {
		return nil, err
	}
	t := &table{key: key, minAt: maxTime, maxAt: minTime, strings: []string{""}}
	l := &loader{ctx: ctx, o: o, t: t, strings: map[string]uint32{"": 0}, kinds: map[[partOutcome + 1]uint32]uint32{}, lists: map[uint32]uint32{}}
	return t, o.guard(func() error {
		var rows []int64
		for _, r := range ranges {
			var err error
			if rows, err = l.times(rows, r, from, to); err != nil {
				return err
			}
		}
		return l.fill(rows)
	})
}

// times returns the rows of a range with the right time.
func (l *loader) times(rows []int64, r rowRange, from, to int64) ([]int64, error) {
	pages := l.chunk("time").Pages()
	defer pages.Close()
	if err := pages.SeekToRow(r.from); err != nil {
		return nil, err
	}
	for at := r.from; at < r.to; {
		page, err := pages.ReadPage()
		if err != nil {
			return nil, noEnd(err)
		}
		data := page.Data()
		values := data.Int64()
		for i, v := range values[:min(int64(len(values)), r.to-at)] {
			if from <= v && v < to {
				rows = append(rows, at+int64(i))
			}
		}
		if len(values) == 0 {
			return nil, noEnd(io.EOF)
		}
		at += int64(len(values))
		parquet.Release(page)
	}
	return rows, nil
}

func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it ends too early: %w", tallystick.ErrDamaged)
	}
	return fmt.Errorf("%w: %w", err, tallystick.ErrDamaged)
}

func (l *loader) chunk(name string) parquet.ColumnChunk {
	return l.o.parquet.RowGroups()[0].ColumnChunks()[l.o.position[name]]
}

// fill reads every column of the rows.
func (l *loader) fill(rows []int64) error {
	for range rows {
		l.t.rows.next()
	}
	l.parts = make([][parts]uint32, len(rows))
	forms := make([]form, len(rows))
	for i := range l.o.columns {
		c := &l.o.columns[i]
		if _, ok := l.o.position[c.name]; !ok {
			continue // younger than the file
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if c.cell != nil { // three columns make a cell: the form must be known before the others
			if c.cell.what == cellForm {
				if err := l.cells(rows, forms, i); err != nil {
					return err
				}
			}
			continue
		}
		if err := l.column(rows, c); err != nil {
			return err
		}
	}
	return l.assemble()
}

// eachPage reads the pages in which the rows are. fn gets a page whose first row
// is the row first, and which of the rows are in it.
func (l *loader) eachPage(name string, rows []int64, fn func(page parquet.Page, first int64, from, to int) error) error {
	pages := l.chunk(name).Pages()
	defer pages.Close()
	for from := 0; from < len(rows); {
		first := rows[from]
		if err := pages.SeekToRow(first); err != nil {
			return err
		}
		page, err := pages.ReadPage()
		if err != nil {
			return noEnd(err)
		}
		end, to := first+page.NumRows(), from
		for to < len(rows) && first <= rows[to] && rows[to] < end {
			to++
		}
		if to == from {
			return noEnd(io.EOF)
		}
		if err := fn(page, first, from, to); err != nil {
			return err
		}
		parquet.Release(page)
		from = to
	}
	return nil
}

func (l *loader) column(rows []int64, c *column) error {
	return l.eachPage(c.name, rows, func(page parquet.Page, first int64, from, to int) error {
		switch {
		case c.number != nil:
			data := page.Data()
			values := data.Int64()
			for i := from; i < to; i++ {
				c.number.set(l.t, l.t.rows.at(i), values[rows[i]-first])
			}
			return nil
		case c.text != nil:
			return l.texts(page, c.text.part, rows, first, from, to)
		}
		return eachValue(page, rows, first, from, to, func(i int, value []byte) error {
			if c.raw.width > 0 && len(value) != c.raw.width {
				return noEnd(io.EOF)
			}
			c.raw.set(l.t, l.t.extraOf(l.t.rows.at(i)), value)
			return nil
		})
	})
}

// texts reads a page of numbers of a dictionary.
func (l *loader) texts(page parquet.Page, part int, rows []int64, first int64, from, to int) error {
	data, dictionary := page.Data(), page.Dictionary()
	values := data.Int32()
	known := map[int32]uint32{}
	last, lastNumber := int32(-1), uint32(0)
	for i := from; i < to; i++ {
		n := values[rows[i]-first]
		if n != last {
			number, ok := known[n]
			if !ok {
				if n < 0 || int(n) >= dictionary.Len() {
					return noEnd(io.EOF)
				}
				number = l.string(dictionary.Index(n).ByteArray())
				known[n] = number
			}
			last, lastNumber = n, number
		}
		l.parts[i][part] = lastNumber
	}
	return nil
}

func (l *loader) string(text []byte) uint32 {
	n, ok := l.strings[string(text)]
	if !ok {
		n = uint32(len(l.t.strings))
		l.t.strings = append(l.t.strings, string(text))
		l.strings[l.t.strings[n]] = n
	}
	return n
}

// eachValue calls fn with what rows have in a column that not every row has.
func eachValue(page parquet.Page, rows []int64, first int64, from, to int, fn func(i int, value []byte) error) error {
	levels, data := page.DefinitionLevels(), page.Data()
	if page.NumNulls() == page.NumRows() {
		return nil
	}
	var value func(n int) []byte
	if page.Type().Kind() == parquet.ByteArray {
		bytes, offsets := data.ByteArray()
		value = func(n int) []byte { return bytes[offsets[n]:offsets[n+1]] }
	} else {
		fixed, width := data.FixedLenByteArray()
		value = func(n int) []byte { return fixed[n*width : (n+1)*width] }
	}
	n, next := 0, from
	for at, level := range levels {
		if next == to {
			break
		}
		if rows[next] == first+int64(at) {
			if level > 0 {
				if err := fn(next, value(n)); err != nil {
					return err
				}
			}
			next++
		}
		if level > 0 {
			n++
		}
	}
	return nil
}

// cells reads the three columns of an identifier; form is the number of the
// second of them.
func (l *loader) cells(rows []int64, forms []form, formColumn int) error {
	def := l.o.columns[formColumn].cell
	clear(forms)
	any := false
	err := l.eachPage(l.o.columns[formColumn].name, rows, func(page parquet.Page, first int64, from, to int) error {
		some, err := readForms(page, rows, first, from, to, forms)
		any = any || some
		return err
	})
	if err != nil || !any {
		return err
	}
	for _, c := range []*column{&l.o.columns[formColumn-1], &l.o.columns[formColumn+1]} {
		err := l.eachPage(c.name, rows, func(page parquet.Page, first int64, from, to int) error {
			return eachValue(page, rows, first, from, to, func(i int, value []byte) error {
				var v cell
				switch {
				case c.cell.what == cellText && forms[i] == formText:
					v = l.t.text.put(string(value))
				case c.cell.what == cellGUID && forms[i] != formText && forms[i] != formNone && len(value) == len(v):
					copy(v[:], value)
				default:
					return noEnd(io.EOF)
				}
				l.t.setCell(l.t.rows.at(i), def.id, v, forms[i])
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readForms reads a page of forms, and says whether any row has one.
func readForms(page parquet.Page, rows []int64, first int64, from, to int, out []form) (some bool, err error) {
	data, dictionary := page.Data(), page.Dictionary()
	values := data.Int32()
	for i := from; i < to; i++ {
		n := values[rows[i]-first]
		if n == 0 {
			continue
		}
		if n < 0 || int(n) >= dictionary.Len() || n >= int32(forms) {
			return false, fmt.Errorf("an identifier is written in form %d, which this program does not know: %w", n, tallystick.ErrNewerData)
		}
		out[i], some = form(n), true
	}
	return some, nil
}

// assemble makes kinds and lists of the texts of rows.
func (l *loader) assemble() error {
	t := l.t
	for i := range t.rows.n {
		r, p := t.rows.at(i), &l.parts[i]
		r.address, r.agent, r.operation, r.resource, r.detail = p[partAddress], p[partAgent], p[partOperation], p[partResource], p[partDetail]
		of := [partOutcome + 1]uint32(p[:partOutcome+1])
		n, ok := l.kinds[of]
		if !ok {
			n = uint32(len(t.kinds))
			t.kinds = append(t.kinds, kind{
				source: t.strings[of[partSource]], side: t.strings[of[partSide]], level: t.strings[of[partLevel]],
				holder: t.strings[of[partHolder]], relyingParty: t.strings[of[partRelyingParty]], outcome: t.strings[of[partOutcome]],
			})
			l.kinds[of] = n
		}
		r.kind = n
		if n, ok = l.lists[p[partNames]]; !ok {
			var names []string
			if err := json.Unmarshal([]byte(t.strings[p[partNames]]), &names); err != nil {
				return fmt.Errorf("the names of a credential: %w: %w", err, tallystick.ErrDamaged)
			}
			n = uint32(len(t.lists))
			t.lists = append(t.lists, newList(t.key, names))
			l.lists[p[partNames]] = n
		}
		r.names = n
		t.minAt, t.maxAt = min(t.minAt, r.at), max(t.maxAt, r.at)
	}
	return nil
}

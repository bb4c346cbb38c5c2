// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"

	"github.com/parquet-go/parquet-go"

	"github.com/tallystick/tallystick"
)

// ByID calls fn with the uses whose own id, or whose token's uti, is id; GUIDs
// compare in every way they are written. The order is that of Scan within a
// segment, and segments come oldest first.
func (l *Ledger) ByID(ctx context.Context, id string, fn func(*tallystick.Use) error) error {
	l.mu.Lock()
	m, full, visible := l.manifest, l.full, l.visible
	l.mu.Unlock()
	want := newWanted(id)
	for i := range m.Segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := l.findIn(ctx, &m.Segments[i], &m.Key, want)
		if err != nil {
			return fmt.Errorf("couldn't read the ledger: %w", err)
		}
		if err := want.each(t, fn); err != nil {
			return err
		}
	}
	for _, f := range full {
		if err := want.each(f.table, fn); err != nil {
			return err
		}
	}
	return want.each(visible, fn)
}

// A wanted is an identifier that is looked for.
type wanted struct {
	text string
	cell cell
	form form
}

func newWanted(id string) *wanted {
	c, f := spelled(id)
	return &wanted{id, c, f}
}

// is says whether a cell of a table is the identifier.
func (w *wanted) is(t *table, c *cell, f form) bool {
	switch {
	case f == formNone:
		return false
	case f == formText:
		return string(t.text.get(*c)) == w.text
	}
	return w.form != formText && *c == w.cell
}

// each calls fn with the uses of a table that have it.
func (w *wanted) each(t *table, fn func(*tallystick.Use) error) error {
	if t == nil || w.form == formNone {
		return nil
	}
	for i := range t.rows.n {
		r := t.rows.at(i)
		if w.is(t, &r.ids[idRecord], r.forms[idRecord]) || w.is(t, &r.ids[idUTI], r.forms[idUTI]) {
			if err := fn(t.use(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

// findIn returns a table with the rows of a segment that may have it.
func (l *Ledger) findIn(ctx context.Context, s *Segment, key *hashKey, want *wanted) (*table, error) {
	o, err := l.segment(s)
	if o == nil {
		return nil, err
	}
	defer l.cache.giveBack(o)
	if err := o.open(); err != nil {
		return nil, err
	}
	var ranges []rowRange
	err = o.guard(func() error {
		for _, name := range []string{"id", "uti"} {
			if want.form == formText {
				name += "_text"
			}
			if ranges, err = o.find(ranges, name, want); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(ranges) == 0 {
		return nil, err
	}
	return o.load(ctx, key, ranges, minTime, maxTime)
}

// find adds the rows that have a value in a column.
func (o *opened) find(ranges []rowRange, name string, want *wanted) ([]rowRange, error) {
	chunk := o.parquet.RowGroups()[0].ColumnChunks()[o.position[name]]
	value := []byte(want.text)
	if want.form != formText {
		value = want.cell[:]
		if filter := chunk.BloomFilter(); filter != nil {
			if may, err := filter.Check(parquet.FixedLenByteArrayValue(value)); err != nil || !may {
				return ranges, err
			}
		}
	}
	pages := chunk.Pages()
	defer pages.Close()
	for at := int64(0); at < int64(o.segment.Records); {
		page, err := pages.ReadPage()
		if err != nil {
			return nil, noEnd(err)
		}
		rows := make([]int64, page.NumRows())
		for i := range rows {
			rows[i] = at + int64(i)
		}
		err = eachValue(page, rows, at, 0, len(rows), func(i int, v []byte) error {
			if string(v) == string(value) {
				ranges = append(ranges, rowRange{rows[i], rows[i] + 1})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		at += page.NumRows()
		parquet.Release(page)
	}
	return ranges, nil
}

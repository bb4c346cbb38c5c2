// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// sealOldest seals the table that has waited longest. Whoever calls it holds
// l.sealing. The order makes a crash at any instant harmless: the files first,
// then the manifest that names them, and the log is removed last.
func (l *Ledger) sealOldest() error {
	l.mu.Lock()
	if len(l.full) == 0 {
		l.mu.Unlock()
		return nil
	}
	full, m := l.full[0], l.manifest.clone()
	l.mu.Unlock()
	if full.rows.n > 0 {
		segment, err := l.writeSegment(full)
		if err != nil {
			return fmt.Errorf("couldn't seal %s: %w", full.wal.name, err)
		}
		m.Segments = append(m.Segments, *segment)
	}
	m.Sealed = full.number
	m.Books = full.books.list()
	if err := m.write(l.files); err != nil {
		return fmt.Errorf("couldn't seal %s: %w", full.wal.name, err)
	}
	l.mu.Lock()
	l.manifest, l.full = m, l.full[1:]
	l.mu.Unlock()
	// A log that cannot be removed is left over, and goes at the next start.
	if err := errors.Join(full.wal.f.Close(), l.files.remove(full.wal.name)); err != nil {
		return fmt.Errorf("couldn't remove %s, which is sealed: %w", full.wal.name, err)
	}
	return nil
}

// list returns the books in a fixed order.
func (b books) list() []*book {
	return slices.SortedFunc(maps.Values(b), func(x, y *book) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Side, y.Side))
	})
}

// writeSegment puts a table on the disk as a segment.
func (l *Ledger) writeSegment(full *fullTable) (*Segment, error) {
	segment := &Segment{Number: full.number, Records: full.rows.n, First: full.minAt, Last: full.maxAt}
	l.sealer.read(full.table)
	defer l.sealer.forget()
	data, err := l.sealer.parquet()
	if err != nil {
		return nil, err
	}
	index, err := l.sealer.index()
	if err != nil {
		return nil, err
	}
	segment.Root = merkleRoot(data)
	segment.Bytes = int64(len(data) + len(index))
	if err := writeFile(l.files, segment.Name(), data); err != nil {
		return nil, err
	}
	if err := writeFile(l.files, segment.indexName(), index); err != nil {
		return nil, err
	}
	return segment, noSpace(l.files.sync())
}

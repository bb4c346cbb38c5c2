// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick"
)

// Arrived calls fn with the uses that are in segments with a higher number than
// after, or not sealed yet; each once, those of older segments first, and in no
// other order. So whoever has worked on all that came in segments up to after
// takes up what has come since. It sees all that was appended before it was
// called, and nothing that comes later. An error of fn ends it and is returned as
// it is.
//
// Memory: a segment at a time, about 75 MB.
func (l *Ledger) Arrived(ctx context.Context, after uint32, fn func(*tallystick.Use) error) error {
	l.mu.Lock()
	m, full, visible := l.manifest, l.full, l.visible
	l.mu.Unlock()
	for i := range m.Segments {
		one := &m.Segments[i]
		if one.Number <= after {
			continue
		}
		t, err := l.loadAll(ctx, one, &m.Key)
		if err != nil {
			return fmt.Errorf("couldn't read the ledger: %w", err)
		}
		if err := t.each(ctx, fn); err != nil {
			return err
		}
	}
	for _, f := range full {
		if err := f.each(ctx, fn); err != nil {
			return err
		}
	}
	return visible.each(ctx, fn)
}

// loadAll returns the rows of a segment, none when it has expired meanwhile.
func (l *Ledger) loadAll(ctx context.Context, s *Segment, key *hashKey) (*table, error) {
	o, err := l.segment(s)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return &table{}, nil
	}
	defer l.cache.giveBack(o)
	return o.load(ctx, key, []rowRange{{0, int64(s.Records)}}, minTime, maxTime)
}

// each calls fn with every use of a table.
func (t *table) each(ctx context.Context, fn func(*tallystick.Use) error) error {
	for i := range t.rows.n {
		if i%blockSize == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fn(t.use(t.rows.at(i))); err != nil {
			return err
		}
	}
	return nil
}

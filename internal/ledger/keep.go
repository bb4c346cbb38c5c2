// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// Expire removes the segments whose records are all older than before, and
// returns them. Records that are older than that are not taken in again. A
// segment goes as a whole, or not yet.
func (l *Ledger) Expire(ctx context.Context, before time.Time) ([]Segment, error) {
	if err := errors.Join(ctx.Err(), l.writable()); err != nil {
		return nil, err
	}
	l.sealing.Lock()
	defer l.sealing.Unlock()
	l.mu.Lock()
	m := l.manifest.clone()
	l.mu.Unlock()
	at, _ := split(before)
	var removed []Segment
	m.Segments = slices.DeleteFunc(m.Segments, func(s Segment) bool {
		if s.Last < at {
			removed = append(removed, s)
		}
		return s.Last < at
	})
	if len(removed) == 0 {
		return nil, nil
	}
	m.Horizon = max(m.Horizon, at)
	if err := l.replace(m); err != nil {
		return nil, fmt.Errorf("couldn't remove what has expired: %w", err)
	}
	// Files that cannot be removed are left over, and go at the next start.
	var err error
	for i := range removed {
		l.cache.forget(removed[i].Number)
		err = errors.Join(err, l.files.remove(removed[i].Name()), l.files.remove(removed[i].indexName()))
	}
	if err != nil {
		err = fmt.Errorf("couldn't remove the files of what has expired: %w", err)
	}
	return removed, err
}

// segment opens a segment for a reader, who gives it back to the cache. It is
// nil without an error when the segment has expired meanwhile.
func (l *Ledger) segment(s *Segment) (*opened, error) {
	o, err := l.cache.get(s)
	if !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	if gone, err := l.expired(s); gone || err != nil {
		return nil, err
	}
	if o, err = l.cache.get(s); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", err, tallystick.ErrDamaged)
	}
	return o, err
}

// expired says whether a segment is no longer part of the ledger; whoever only
// reads asks the disk.
func (l *Ledger) expired(s *Segment) (bool, error) {
	l.mu.Lock()
	m := l.manifest
	l.mu.Unlock()
	if l.options.ReadOnly {
		var err error
		if m, err = readManifest(l.files); err != nil || m == nil {
			return false, err
		}
	}
	return !slices.ContainsFunc(m.Segments, func(one Segment) bool { return one.Number == s.Number }), nil
}

// tell tells options.Sealed of the segments whose roots it has not recorded yet.
// Whoever calls it holds l.sealing.
func (l *Ledger) tell(ctx context.Context) error {
	if l.options.Sealed == nil {
		return nil
	}
	l.mu.Lock()
	m := l.manifest.clone()
	l.mu.Unlock()
	var failed error
	told := 0
	for i := range m.Segments {
		one := &m.Segments[i]
		if one.Recorded {
			continue
		}
		if failed = l.options.Sealed(ctx, *one); failed != nil {
			failed = fmt.Errorf("couldn't record that %s was sealed: %w", one.Name(), failed)
			break
		}
		one.Recorded = true
		told++
	}
	if told == 0 {
		return failed
	}
	return errors.Join(failed, l.replace(m))
}

// tellWaiting tells what could not be told when it was sealed.
func (l *Ledger) tellWaiting(ctx context.Context) error {
	l.sealing.Lock()
	defer l.sealing.Unlock()
	return l.tell(ctx)
}

// replace writes a manifest and works with it from then on. Whoever calls it
// holds l.sealing.
func (l *Ledger) replace(m *manifest) error {
	if err := m.write(l.files); err != nil {
		return err
	}
	l.mu.Lock()
	l.manifest = m
	l.mu.Unlock()
	return nil
}

// Verify reads every segment and says what is not what was written: the Merkle
// root of the file, the checksums of the index, and whether the index says of
// the rows what they are. All that is wrong is in the error, by file.
func (l *Ledger) Verify(ctx context.Context) error {
	l.mu.Lock()
	m := l.manifest
	l.mu.Unlock()
	var wrong error
	for i := range m.Segments {
		if err := ctx.Err(); err != nil {
			return errors.Join(wrong, err)
		}
		err := l.verify(ctx, &m.Segments[i], &m.Key)
		if errors.Is(err, fs.ErrNotExist) {
			if gone, _ := l.expired(&m.Segments[i]); gone {
				continue
			}
		}
		wrong = errors.Join(wrong, err)
	}
	return wrong
}

func (l *Ledger) verify(ctx context.Context, s *Segment, key *hashKey) error {
	data, err := readFile(l.files, s.Name())
	if err != nil {
		return fmt.Errorf("couldn't read %s: %w", s.Name(), err)
	}
	if !slices.Equal(merkleRoot(data), s.Root) {
		return fmt.Errorf("%s: its Merkle root is not what was sealed: %w", s.Name(), tallystick.ErrDamaged)
	}
	o, err := newCache(l.files, 1).get(s) // a fresh look, not what is in memory
	if err != nil {
		return err
	}
	defer o.close()
	if _, err := o.section(sectionSources); err != nil {
		return err
	}
	ids, err := o.identities()
	if err != nil {
		return err
	}
	if err := o.directory(); err != nil {
		return err
	}
	rows, err := o.load(ctx, key, []rowRange{{0, int64(s.Records)}}, minTime, maxTime)
	if err != nil {
		return err
	}
	return s.check(rows, ids, o.groups)
}

// check compares the rows of a segment with what its index says of them.
func (s *Segment) check(rows *table, ids *identities, groups []group) error {
	again := newTable(rows.key)
	for i := range rows.rows.n {
		if again.rows.n == blockSize { // its dictionaries are not for a whole segment
			again = newTable(rows.key)
		}
		before := again.rows.n
		again.add([]*tallystick.Use{rows.use(rows.rows.at(i))}, func(int64, uint64) bool { return false }, minTime)
		if again.rows.n == before || !ids.has(again.rows.at(before).identity) {
			return fmt.Errorf("%s: row %d is not in it: %w", s.indexName(), i, tallystick.ErrDamaged)
		}
	}
	for n, g := range groups {
		names := rows.rows.at(int(g.start)).names
		for i := g.start; i < g.end; i++ {
			if r := rows.rows.at(int(i)); r.names != names || r.at < g.minAt || g.maxAt < r.at {
				return fmt.Errorf("%s: group %d is not what the rows are: %w", s.indexName(), n, tallystick.ErrDamaged)
			}
		}
	}
	return nil
}

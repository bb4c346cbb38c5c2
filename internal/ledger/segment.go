// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"sync"

	"github.com/parquet-go/parquet-go"

	"github.com/tallystick/tallystick"
)

// An opened is a segment whose files are open. What is read of it stays in
// memory while it is.
type opened struct {
	segment Segment
	index   file
	data    file

	users  int    // guarded by the cache's mu, as the next two
	last   uint64 //
	cached bool   //

	mu       sync.Mutex // guards what is read on first use
	ids      *identities
	groups   []group
	names    names
	parquet  *parquet.File
	columns  []column
	position map[string]int
}

func (o *opened) close() {
	// Both were only read.
	_ = o.index.Close()
	_ = o.data.Close()
}

// section reads a section of the index.
func (o *opened) section(number int) ([]byte, error) {
	data, err := readSection(o.index, number)
	if err != nil {
		return nil, o.broken(o.segment.indexName(), err)
	}
	return data, nil
}

func (o *opened) broken(name string, err error) error {
	return fmt.Errorf("couldn't read %s: %w", name, err)
}

// identities returns what finds out whether a record is there.
func (o *opened) identities() (*identities, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ids != nil {
		return o.ids, nil
	}
	data, err := o.section(sectionIdentities)
	if err != nil {
		return nil, err
	}
	if o.ids, err = readIdentities(data); err != nil {
		return nil, o.broken(o.segment.indexName(), fmt.Errorf("%w: %w", err, tallystick.ErrDamaged))
	}
	return o.ids, nil
}

// directory reads where each credential is.
func (o *opened) directory() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.groups != nil {
		return nil
	}
	data, err := o.section(sectionGroups)
	if err != nil {
		return err
	}
	groups, err := readGroups(data)
	if err == nil && len(groups) > 0 && int(groups[len(groups)-1].end) != o.segment.Records {
		err = errIndex
	}
	if err != nil {
		return o.broken(o.segment.indexName(), fmt.Errorf("%w: %w", err, tallystick.ErrDamaged))
	}
	data, err = o.section(sectionNames)
	if err != nil {
		return err
	}
	if len(data)%nameSize != 0 {
		return o.broken(o.segment.indexName(), fmt.Errorf("%w: %w", errIndex, tallystick.ErrDamaged))
	}
	o.groups, o.names = groups, data
	return nil
}

// A stretchOfRows is rows From to To, To not included.
type rowRange struct{ from, to int64 }

// ranges returns the rows of credentials that have one of the hashed names, nil
// hashes for all, and whose times touch from to to.
func (o *opened) ranges(hashes []uint64, from, to int64) ([]rowRange, error) {
	if err := o.directory(); err != nil {
		return nil, err
	}
	if hashes == nil {
		return []rowRange{{0, int64(o.segment.Records)}}, nil
	}
	seen := map[uint32]bool{}
	var list []rowRange
	for _, hash := range hashes {
		o.names.groups(hash, func(n uint32) {
			if int(n) >= len(o.groups) || seen[n] {
				return
			}
			seen[n] = true
			if g := &o.groups[n]; g.minAt < to && from <= g.maxAt {
				list = append(list, rowRange{int64(g.start), int64(g.end)})
			}
		})
	}
	return list, nil
}

// open opens the Parquet file and checks that its columns are ours.
func (o *opened) open() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parquet != nil {
		return nil
	}
	return o.guard(func() error {
		size, err := o.data.size()
		if err != nil {
			return err
		}
		f, err := parquet.OpenFile(o.data, size)
		if err != nil {
			return fmt.Errorf("%w: %w", err, tallystick.ErrDamaged)
		}
		groups := f.RowGroups()
		if len(groups) != 1 || groups[0].NumRows() != int64(o.segment.Records) {
			return fmt.Errorf("it has not the rows that it should have: %w", tallystick.ErrDamaged)
		}
		o.position = map[string]int{}
		for i, path := range f.Schema().Columns() {
			o.position[path[0]] = i
		}
		o.columns = columns()
		for i := range o.columns {
			if _, ok := o.position[o.columns[i].name]; !ok && i < baseColumns {
				return fmt.Errorf("it has no column %s: %w", o.columns[i].name, tallystick.ErrDamaged)
			}
		}
		o.parquet = f
		return nil
	})
}

// baseColumns is how many columns the first version had: every file has them.
const baseColumns = 46

// guard makes an error of a panic: the library that reads Parquet files is not
// proof against every file that is not what was written.
func (o *opened) guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("couldn't read %s: %v: %w", o.segment.Name(), p, tallystick.ErrDamaged)
		}
	}()
	if err := fn(); err != nil {
		return o.broken(o.segment.Name(), err)
	}
	return nil
}

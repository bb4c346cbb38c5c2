// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tallystick/tallystick"
)

// A faultyDisk fails at its n-th change: before it happens, or after.
type faultyDisk struct {
	directory
	changes  int
	failAt   int // 0 never
	happened bool
	trace    []string
}

var errFault = errors.New("the disk has failed")

// change does a change, or fails it.
func (d *faultyDisk) change(what string, do func() error) error {
	d.changes++
	d.trace = append(d.trace, what)
	if d.changes != d.failAt {
		return do()
	}
	if d.happened {
		_ = do() // it happens, and the error says that it did not
	}
	return fmt.Errorf("%s: %w", what, errFault)
}

func (d *faultyDisk) create(name string) (f file, err error) {
	err = d.change("create "+name, func() error {
		f, err = d.directory.create(name)
		return err
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return &faultyFile{f, d, name}, nil
}

func (d *faultyDisk) open(name string) (file, error) {
	f, err := d.directory.open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, name}, nil
}

func (d *faultyDisk) rename(from, to string) error {
	return d.change("rename "+from, func() error { return d.directory.rename(from, to) })
}

func (d *faultyDisk) remove(name string) error {
	return d.change("remove "+name, func() error { return d.directory.remove(name) })
}

// Syncs only count: what a disk forgets without them is not what is tested here.
func (d *faultyDisk) sync() error {
	return d.change("sync the directory", func() error { return nil })
}

type faultyFile struct {
	file
	disk *faultyDisk
	name string
}

func (f *faultyFile) WriteAt(b []byte, at int64) (n int, err error) {
	n = len(b)
	err = f.disk.change("write "+f.name, func() error {
		_, err := f.file.WriteAt(b, at)
		return err
	})
	if err != nil && !f.disk.happened {
		n, _ = f.file.WriteAt(b[:len(b)/2], at) // a write that fails may have written a part
	}
	return n, err
}

func (f *faultyFile) Sync() error {
	return f.disk.change("sync "+f.name, func() error { return nil })
}

func (f *faultyFile) Truncate(size int64) error {
	return f.disk.change("truncate "+f.name, func() error { return f.file.Truncate(size) })
}

const (
	faultBatches = 5
	faultBatch   = 40
)

func faultUses(batch int) (uses []tallystick.Use) {
	for n := range faultBatch {
		uses = append(uses, holderUse(1+batch*faultBatch+n))
	}
	return uses
}

// recorded is told of a segment, and has recorded its root.
func recorded(context.Context, Segment) error { return nil }

// faultStory appends, seals and has roots recorded; it returns which batches were
// acknowledged. With again it goes on after an error as a caller does: it appends
// once more what was not acknowledged.
func faultStory(l *Ledger, again bool) (acknowledged []int, err error) {
	ctx := context.Background()
	for batch := range faultBatches {
		_, failed := l.Append(ctx, Batch{Uses: faultUses(batch)})
		if failed != nil && again {
			_, failed = l.Append(ctx, Batch{Uses: faultUses(batch)})
		}
		if failed != nil {
			return acknowledged, failed
		}
		acknowledged = append(acknowledged, batch)
	}
	err = l.Seal(ctx)
	if err != nil && again {
		err = l.Seal(ctx)
	}
	return acknowledged, err
}

// Every change to the disk fails once, and once it fails and has happened all the
// same. After each: a restart, or the caller goes on; then everything that was
// acknowledged is there, nothing is twice, and the ledger works.
func TestEveryChangeToTheDiskMayFail(t *testing.T) {
	healthy := &faultyDisk{directory: directory(t.TempDir())}
	l := openFaulty(t, healthy)
	if _, err := faultStory(l, false); err != nil {
		t.Fatal(err)
	}
	crash(t, l)
	if healthy.changes < 40 {
		t.Fatalf("only %d changes: %q", healthy.changes, healthy.trace)
	}
	for failAt := 1; failAt <= healthy.changes; failAt++ {
		for _, happened := range []bool{false, true} {
			for _, again := range []bool{false, true} {
				faultRow(t, failAt, happened, again)
			}
		}
	}
}

func faultRow(t *testing.T, failAt int, happened, again bool) {
	t.Helper()
	disk := &faultyDisk{directory: directory(t.TempDir()), failAt: failAt, happened: happened}
	var acknowledged []int
	l, err := Open(string(disk.directory), Options{SealRecords: 70, Sealed: recorded, files: disk})
	if err == nil {
		acknowledged, err = faultStory(l, again)
		if again && err != nil {
			t.Fatalf("change %d (%s), happened %v: going on after it: %v", failAt, disk.trace[failAt-1], happened, err)
		}
		crash(t, l)
	}
	where := fmt.Sprintf("change %d of %d (%s), happened %v, going on %v", failAt, len(disk.trace), disk.trace[min(failAt, len(disk.trace))-1], happened, again)
	if err != nil && !errors.Is(err, errFault) {
		t.Fatalf("%s: %v", where, err)
	}
	l, err = Open(string(disk.directory), Options{SealRecords: 70, files: &faultyDisk{directory: disk.directory}})
	if err != nil {
		t.Fatalf("%s: opening it again: %v", where, err)
	}
	defer l.Close()
	checkFaulty(t, where, l, acknowledged, false)
	for batch := range faultBatches {
		add(t, l, faultUses(batch)...)
	}
	seal(t, l)
	checkFaulty(t, where, l, []int{0, 1, 2, 3, 4}, true)
}

// checkFaulty looks at everything.
func checkFaulty(t *testing.T, where string, l *Ledger, acknowledged []int, all bool) {
	t.Helper()
	found := map[uint64]int{}
	for _, u := range scanAll(t, l, Query{}) {
		found[u.Seq]++
	}
	for seq, times := range found {
		if times > 1 || seq > faultBatches*faultBatch {
			t.Fatalf("%s: record %d is there %d times", where, seq, times)
		}
	}
	for _, batch := range acknowledged {
		for _, u := range faultUses(batch) {
			if found[u.Seq] == 0 {
				t.Fatalf("%s: record %d was acknowledged and is not there", where, u.Seq)
			}
		}
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	for _, b := range l.Books() {
		if len(b.Missing) > 0 || b.Twice > 0 || all && b.Records != faultBatches*faultBatch || int(b.Records) != len(found) {
			t.Fatalf("%s: with %d records the book says %+v", where, len(found), b)
		}
	}
}

func openFaulty(t *testing.T, disk *faultyDisk) *Ledger {
	t.Helper()
	l, err := Open(string(disk.directory), Options{SealRecords: 70, Sealed: recorded, files: disk})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// crash leaves a ledger as kill -9 does: what it has written is there, its lock
// is gone, and it does nothing more.
func crash(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

func TestAppendedSaysWhichUsesAreNew(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	for n := 1; n <= 200; n += 3 { // every third is there
		add(t, l, holderUse(n))
		if n == 100 {
			seal(t, l) // and some of those elsewhere
		}
	}
	var batch []tallystick.Use
	for n := 1; n <= 200; n++ {
		batch = append(batch, holderUse(n), holderUse(n))
	}
	got, err := l.Append(t.Context(), Batch{Uses: batch})
	if err != nil || got.Segment != 2 {
		t.Fatal(got.Segment, err)
	}
	for i := range batch {
		n := i/2 + 1
		if want := n%3 != 1 && i%2 == 0; got.IsNew(i) != want {
			t.Errorf("copy %d of record %d: new is %v", i%2, n, !want)
		}
	}
	if got.IsNew(len(batch)) || got.IsNew(10*len(batch)) {
		t.Error("what is not in the batch is new")
	}
	if got, err = l.Append(t.Context(), Batch{Uses: batch}); err != nil || got.IsNew(2) || got.Segment != 0 {
		t.Errorf("once more: %+v %v", got, err)
	}
}

func arrived(t *testing.T, l *Ledger, after uint32) map[uint64]int {
	t.Helper()
	times := map[uint64]int{}
	err := l.Arrived(t.Context(), after, func(u *tallystick.Use) error {
		times[u.Seq]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

// once returns the numbers from first to last, each once.
func once(first, last int) map[uint64]int {
	times := map[uint64]int{}
	for n := first; n <= last; n++ {
		times[uint64(n)] = 1
	}
	return times
}

func TestWhatArrivedBehindASegmentComesOnceAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if l.Sealed() != 0 {
		t.Error(l.Sealed())
	}
	for n := 1; n <= 30; n++ {
		add(t, l, holderUse(31-n)) // its time says nothing of when it arrived
		if n%10 == 0 && n < 30 {
			seal(t, l)
		}
	}
	for range 2 {
		for after, want := range map[uint32]map[uint64]int{0: once(1, 30), 1: once(1, 20), l.Sealed(): once(1, 10), 9: once(1, 10)} {
			if d := cmp.Diff(want, arrived(t, l, after)); d != "" {
				t.Errorf("after %d: %s", after, d)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{})
	}
	errStop := errors.New("enough")
	if err := l.Arrived(t.Context(), 0, func(*tallystick.Use) error { return errStop }); !errors.Is(err, errStop) {
		t.Error(err)
	}
}

func TestSealedIsToldUntilItHasRecorded(t *testing.T) {
	dir := t.TempDir()
	var told []uint32
	failure := errors.New("the audit log is away")
	var fails error
	options := Options{SealRecords: 10, Sealed: func(_ context.Context, s Segment) error {
		told = append(told, s.Number)
		if len(s.Root) != 32 || s.Recorded {
			t.Errorf("told of %+v", s)
		}
		return fails
	}}
	l := open(t, dir, options)
	fill := func(from int) {
		for n := range 11 { // the eleventh finds the log full
			add(t, l, holderUse(from+n))
		}
	}
	want := func(when string, numbers ...uint32) {
		t.Helper()
		if d := cmp.Diff(numbers, told); d != "" {
			t.Errorf("%s: %s", when, d)
		}
		told = nil
	}
	fill(1)
	want("one sealed", 1)
	fails = failure
	fill(12)
	want("one refused", 2)
	if err := l.Seal(t.Context()); !errors.Is(err, failure) {
		t.Errorf("Seal says %v", err)
	}
	want("still refused", 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, fails = open(t, dir, options), nil
	if err := l.tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("after a restart", 2, 3)
	if err := l.tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("all recorded")
	for _, s := range l.Segments() {
		if !s.Recorded {
			t.Errorf("%d is not recorded", s.Number)
		}
	}
}

func TestSizeIsWhatTheFilesTake(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for n := range 3 {
		add(t, l, holderUse(2*n+1), holderUse(2*n+2))
		if n < 2 {
			seal(t, l)
		}
	}
	want := Size{Segments: 2, Records: 6}
	for _, name := range []string{"00000001.parquet", "00000001.index", "00000002.parquet", "00000002.index", "00000003.wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want.Bytes += info.Size()
	}
	if d := cmp.Diff(want, l.Size()); d != "" {
		t.Error(d)
	}
}

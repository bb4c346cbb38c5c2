// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// noon is when the tests' records are made.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newLog opens a log on the store with a key of its own.
func newLog(t *testing.T, url string) *audit.Log {
	t.Helper()
	return openLog(t, url, filepath.Join(t.TempDir(), "audit.key"))
}

func openLog(t *testing.T, url, key string) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), storetest.Open(t, url), key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// record returns the n-th record of a test.
func record(n int) audit.Record {
	return audit.Record{
		Time: noon.Add(time.Duration(n) * time.Minute), Actor: []string{"ada", "bob"}[n%2], Role: "admin", Via: "session",
		Action: []string{"export", "annotate", "start-run"}[n%3], Object: fmt.Sprint("thing ", n), Allowed: n%4 != 0,
	}
}

// fill appends the records from 1 to n.
func fill(t *testing.T, l *audit.Log, n int) {
	t.Helper()
	for i := range n {
		if err := l.Append(t.Context(), record(i+1)); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, l *audit.Log, kept ...string) audit.Report {
	t.Helper()
	report, err := l.Verify(t.Context(), kept...)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAppendListVerify(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		if report := verify(t, l); !report.OK() || report.Records != 0 {
			t.Errorf("an empty log: %+v", report)
		}
		fill(t, l, 20)
		all, err := l.List(t.Context(), audit.Filter{}, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var want []audit.Entry
		for n := 20; n > 0; n-- {
			want = append(want, audit.Entry{ID: int64(n), Record: record(n)})
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Error(diff)
		}
		if report := verify(t, l); !report.OK() || report.Records != 20 {
			t.Errorf("%+v", report)
		}
	})
}

func TestListFilters(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		fill(t, l, 12)
		for _, row := range []struct {
			filter audit.Filter
			before int64
			limit  int
			want   []int64
		}{
			{audit.Filter{}, 0, 3, []int64{12, 11, 10}},
			{audit.Filter{}, 10, 2, []int64{9, 8}},
			{audit.Filter{Actor: "bob"}, 0, 3, []int64{11, 9, 7}},
			{audit.Filter{Action: "export"}, 0, 9, []int64{12, 9, 6, 3}},
			{audit.Filter{Denied: true}, 0, 9, []int64{12, 8, 4}},
			{audit.Filter{Since: noon.Add(3 * time.Minute), Until: noon.Add(5 * time.Minute)}, 0, 9, []int64{4, 3}},
			{audit.Filter{Actor: "ada", Action: "export", Denied: true}, 12, 9, nil},
			{audit.Filter{}, 0, -1, []int64{12}},
		} {
			entries, err := l.List(t.Context(), row.filter, row.before, row.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, e := range entries {
				got = append(got, e.ID)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%+v: %s", row, diff)
			}
		}
	})
}

// What a stranger sends cannot break the log or fill it fast.
func TestHostileRecord(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		long := strings.Repeat("ä", 100_000)
		err := l.Append(t.Context(), audit.Record{Time: noon, Actor: "\xff\x00" + long, Action: "sign-in", Object: long, Detail: "a\x00b\n\u2028"})
		if err != nil {
			t.Fatal(err)
		}
		entries, err := l.List(t.Context(), audit.Filter{}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if e := entries[0]; len(e.Actor) > 200 || len(e.Object) > 2000 || e.Detail != "a?b\n\u2028" || !strings.HasSuffix(e.Object, "ä…") {
			t.Errorf("got %q, %d bytes, %q", e.Actor, len(e.Object), e.Detail)
		}
		if report := verify(t, l); !report.OK() {
			t.Errorf("%+v", report)
		}
	})
}

// Two nodes that append at once make one log.
func TestTwoNodes(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		key := filepath.Join(t.TempDir(), "audit.key")
		nodes := []*audit.Log{openLog(t, url, key), openLog(t, url, key)}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for n := range 10 {
					if err := nodes[i%2].Append(t.Context(), record(n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if report := verify(t, nodes[0]); !report.OK() || report.Records != 60 {
			t.Errorf("%+v", report)
		}
	})
}

func TestKeyFile(t *testing.T) {
	url := filepath.Join(t.TempDir(), "tally.db")
	key := filepath.Join(t.TempDir(), "audit.key")
	l := openLog(t, url, key)
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	fill(t, l, 3)
	if again := openLog(t, url, key); again.VerifierKey() != l.VerifierKey() {
		t.Error("the key changed")
	}

	db := storetest.Open(t, url)
	if _, err := audit.Open(t.Context(), db, key+".other"); !errors.Is(err, os.ErrNotExist) || problem.Of(err).Hint == "" {
		t.Errorf("a lost key: %v", err)
	}
	other := filepath.Join(t.TempDir(), "audit.key")
	openLog(t, filepath.Join(t.TempDir(), "tally.db"), other)
	if _, err := audit.Open(t.Context(), db, other); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("another key: %v", err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(t.Context(), db, key); !errors.Is(err, tallystick.ErrInvalid) || problem.Of(err).Hint != "Run: chmod 600 "+key {
		t.Errorf("a key that others can read: %v", err)
	}
	for _, text := range []string{"", "nonsense", "PRIVATE+KEY+a+b+c", strings.Repeat("x", 5000)} {
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Open(t.Context(), db, other); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("key %.20q: %v", text, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	db := storetest.Open(b, filepath.Join(b.TempDir(), "tally.db"))
	l, err := audit.Open(b.Context(), db, filepath.Join(b.TempDir(), "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := l.Append(b.Context(), record(1)); err != nil {
			b.Fatal(err)
		}
	}
}

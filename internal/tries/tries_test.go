// SPDX-License-Identifier: Apache-2.0

package tries

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/watch"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	credential = "x5t:00112233445566778899aabbccddeeff00112233"
	account    = "account:entra-app/0f0e0d0c-0000-4000-8000-000000000001"
	party      = "entra:t1/graph"
)

// A bench is the book over a real ledger and a real watch.
type bench struct {
	*testing.T
	*Tries
	ledger *ledger.Ledger
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, now := t.TempDir(), func() time.Time { return noon }
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	w, err := watch.Open(t.Context(), watch.Config{DB: db, Ledger: l, Now: now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return &bench{T: t, ledger: l, Tries: New(Config{
		Usage: &usage.Usage{DB: db, Ledger: l, Now: now, Own: Book}, Watch: w, Now: now, Failed: func(err error) { t.Error(err) },
	})}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keeps has the holder of a credential keep a book.
func (b *bench) keeps(name string) {
	b.Helper()
	use := try(name, 0)
	use.ID, use.Source, use.Side, use.Until, use.Count = "h", "broker", tallystick.SideHolder, use.Time, 1
	_, err := b.Watch.Append(b.Context(), "broker", ledger.Batch{Uses: []tallystick.Use{use}}, nil)
	must(b.T, err)
}

// try is what a driver tells, n seconds before noon.
func try(name string, n int) tallystick.Use {
	return tallystick.Use{
		Time: noon.Add(-time.Duration(n) * time.Second), Level: tallystick.LevelToken, Credential: []string{name}, RelyingParty: party,
		Outcome: tallystick.OutcomeSuccess, Operation: "probe", IDs: tallystick.UseIDs{UTI: fmt.Sprint("token-", n)},
	}
}

// written returns the tokens of what is in the book.
func (b *bench) written() map[string]int {
	b.Helper()
	found := map[string]int{}
	must(b.T, b.ledger.Scan(b.Context(), ledger.Query{Source: Book}, func(u *tallystick.Use) error {
		if u.Side != tallystick.SideHolder || u.Count != 1 || !u.Until.Equal(u.Time) || u.RelyingParty != party {
			b.Errorf("%+v", *u)
		}
		found[u.IDs.UTI]++
		return nil
	}))
	return found
}

func TestATryIsThereWhenItWasTold(t *testing.T) {
	b := newBench(t)
	b.keeps(credential)
	b.Used(try(credential, 1))
	if diff := cmp.Diff(map[string]int{"token-1": 1}, b.written()); diff != "" {
		t.Error(diff)
	}
}

func TestNothingIsWrittenWhereNobodyKeepsABook(t *testing.T) {
	b := newBench(t)
	b.keeps(credential)
	b.Used(try(account, 1))
	b.Used(try(account, 2)) // nor is the one before a book
	if diff := cmp.Diff(map[string]int{}, b.written()); diff != "" {
		t.Error(diff)
	}
}

func TestTheBookOfTheOldOneCountsForItsSuccessor(t *testing.T) {
	b := newBench(t)
	b.keeps(account)
	b.Tried(driver.Public{Account: account}, try(credential, 1))
	if diff := cmp.Diff(map[string]int{"token-1": 1}, b.written()); diff != "" {
		t.Error(diff)
	}
}

func TestManyAtOnceAreAllThere(t *testing.T) {
	b := newBench(t)
	b.keeps(credential)
	want := map[string]int{}
	var doors sync.WaitGroup
	for n := range 200 {
		want[fmt.Sprint("token-", n)] = 1
		doors.Go(func() { b.Used(try(credential, n)) })
	}
	doors.Wait()
	if diff := cmp.Diff(want, b.written()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBeWrittenIsSaid(t *testing.T) {
	b := newBench(t)
	b.keeps(credential)
	must(t, b.ledger.Close())
	var failures []error
	b.Tries.Failed = func(err error) { failures = append(failures, err) }
	b.Used(try(credential, 1))
	if len(failures) != 1 {
		t.Error(failures)
	}
}

func TestTheBookCloses(t *testing.T) {
	b := newBench(t)
	must(t, b.close(t.Context()))
	if books := b.ledger.Books(); len(books) != 0 {
		t.Errorf("a book with nothing in it: %+v", books)
	}
	b.keeps(credential)
	b.Used(try(credential, 1))
	must(t, b.close(t.Context()))
	closed := map[string]time.Time{}
	for _, book := range b.ledger.Books() {
		closed[book.Source] = book.Closed
	}
	if diff := cmp.Diff(map[string]time.Time{"broker": {}, Book: noon.Add(-settled)}, closed); diff != "" {
		t.Error(diff)
	}
}

// A try takes nothing back that was found before: a thief's use of ten minutes ago stays
// foreign when the recall that it led to tries the credential for the first time.
func TestATryTakesNoTheftBack(t *testing.T) {
	b := newBench(t)
	b.keeps(credential)
	theft := try(credential, 600)
	theft.ID, theft.Source, theft.Side, theft.Until, theft.Count, theft.IDs.UTI = "r", "tenant", tallystick.SideRelying, theft.Time, 1, "stolen"
	closed := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: "broker", Side: tallystick.SideHolder, Closed: noon}}
	early := try(credential, 1200)
	early.ID, early.Source, early.Side, early.Until, early.Count = "h0", "broker", tallystick.SideHolder, early.Time, 1
	_, err := b.Watch.Append(t.Context(), "broker", ledger.Batch{Uses: []tallystick.Use{early}, Marks: []ledger.Mark{closed}}, nil)
	must(t, err)
	_, err = b.Watch.Append(t.Context(), "tenant", ledger.Batch{Uses: []tallystick.Use{theft}}, nil)
	must(t, err)
	for _, when := range []string{"before", "after"} {
		must(t, b.Watch.Finish(t.Context()))
		n, err := b.Usage.DB.CountVerdicts(t.Context(), store.VerdictFilter{Verdict: tallystick.VerdictForeign})
		if must(t, err); n != 1 {
			t.Errorf("%s the try %d uses are foreign, want 1", when, n)
		}
		b.Used(try(credential, 0))
	}
}

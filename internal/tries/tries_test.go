// SPDX-License-Identifier: Apache-2.0

package tries

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
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
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
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
	here := func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")} }
	w, err := watch.Open(t.Context(), watch.Config{DB: db, Ledger: l, Rules: rules.All(), Own: Book, Here: here, Now: now, Log: slog.New(slog.DiscardHandler)})
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

// A rotation tries an account from here, as no holder of it does, and that is not told as a change of habit or as
// foreign: whether its holder keeps a book or not, and whether the log is read before or after.
func TestOurTriesAreNothingNew(t *testing.T) {
	const name, service = "account:ldap/uid=svc", "ldap:10.1.0.5:636"
	for _, kept := range []bool{true, false} {
		for _, logFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("kept %v, the log first %v", kept, logFirst), func(t *testing.T) {
				b := newBench(t)
				record := func(source string, side tallystick.Side, address string, at time.Time) {
					u := tallystick.Use{
						ID: source + at.String(), Source: source, Side: side, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
						Outcome: tallystick.OutcomeSuccess, Credential: []string{name}, RelyingParty: service, Operation: "SIMPLE", Address: address,
					}
					_, err := b.Watch.Append(t.Context(), source, ledger.Batch{Uses: []tallystick.Use{u}}, nil)
					must(t, err)
				}
				for hour := range 200 {
					at := noon.Add(time.Duration(hour-200)*time.Hour - 70*24*time.Hour)
					if kept {
						record("broker", tallystick.SideHolder, "10.1.0.7", at)
					}
					record("slapd", tallystick.SideRelying, "10.1.0.7", at)
				}
				must(t, b.Watch.Finish(t.Context()))
				end := b.Watch.Begin()
				for n := range 4 {
					at := noon.Add(time.Duration(n-10) * time.Second)
					if logFirst {
						record("slapd", tallystick.SideRelying, "10.0.0.9", at)
					}
					b.Tried(driver.Public{Account: "entrusted:2fefcnzt"}, tallystick.Use{
						Time: at, Level: tallystick.LevelRequest, Credential: []string{name}, RelyingParty: service, Outcome: tallystick.OutcomeSuccess, Operation: "rotate",
					})
					if !logFirst {
						record("slapd", tallystick.SideRelying, "10.0.0.9", at)
					}
				}
				end()
				for _, source := range []string{"broker", Book} {
					if source == Book || kept {
						mark := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: source, Side: tallystick.SideHolder, Closed: noon.Add(time.Hour)}}
						_, err := b.Watch.Append(t.Context(), source, ledger.Batch{Marks: []ledger.Mark{mark}}, nil)
						must(t, err)
					}
				}
				must(t, b.Watch.Finish(t.Context()))
				b.found(kept)
				record("slapd", tallystick.SideRelying, "198.51.100.9", noon)
				must(t, b.Watch.Finish(t.Context()))
				b.found(kept, "dormant-awakes", "use-new-network")
			})
		}
	}
}

// found compares the rules of findings with those that are wanted. Where its holder keeps no book, all that is not
// ours is foreign.
func (b *bench) found(kept bool, want ...string) {
	b.Helper()
	page, err := b.Usage.DB.Findings(b.Context(), store.FindingFilter{Now: noon}, store.PageRequest{})
	must(b.T, err)
	var got []string
	for _, f := range page.Items {
		if kept && f.Rule == "foreign-use" && len(want) == 0 || f.Rule != "foreign-use" {
			got = append(got, f.Rule)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		b.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestHereIsThisMachine(t *testing.T) {
	if loopback := rule.NetworkOf(netip.MustParseAddr("127.0.0.1")); !slices.Contains(Here(), loopback) {
		t.Errorf("%v is not in %v", loopback, Here())
	}
}

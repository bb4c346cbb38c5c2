// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"

	_ "modernc.org/sqlite" // a second hand on the store
)

const (
	party = "entra:11111111-0000-4000-8000-000000000000/00000003-0000-0000-c000-000000000000"
	key   = "entra-key:7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11"
)

func token(n int) string { return fmt.Sprintf("%08d-2222-4000-8000-000000000000", n) }

func held(at time.Time, uti string) tallystick.Use {
	return tallystick.Use{
		Source: "broker", Side: tallystick.SideHolder, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1, Outcome: tallystick.OutcomeSuccess,
		Credential: []string{key}, RelyingParty: party, Address: "203.0.113.7", IDs: tallystick.UseIDs{UTI: uti},
	}
}

func relied(at time.Time, uti, address string) tallystick.Use {
	return tallystick.Use{
		ID: "r-" + uti + at.String(), Source: "entra", Side: tallystick.SideRelying, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1,
		Outcome: tallystick.OutcomeSuccess, Credential: []string{key}, RelyingParty: party, Address: address, IDs: tallystick.UseIDs{UTI: uti},
	}
}

// findings returns the rules of open findings, with their severities.
func (b *bench) findings(t *testing.T) map[string]string {
	t.Helper()
	page, err := b.DB.Findings(t.Context(), store.FindingFilter{Now: b.now}, store.PageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range page.Items {
		about := f.Subject
		if about == "" {
			about = string(f.Place)
		}
		all[f.Rule] = about + " " + f.Severity.String()
	}
	return all
}

func TestForeignUseIsAFindingUntilItsOtherHalfComes(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"), relied(noon.Add(time.Minute), token(2), "198.51.100.9"))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 0 {
		t.Fatalf("before the book is closed: %v", got)
	}
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Fatalf("foreign are %v; want the use of token 2", got)
	}
	if got := b.findings(t)["foreign-use"]; got != key+" critical" {
		t.Errorf("the finding is %q", got)
	}
	// The book lied: a record from before its closing mark comes after it.
	b.append(t, held(noon.Add(time.Minute), token(2)))
	b.rest(t)
	if err := b.judgeBooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 0 {
		t.Errorf("foreign are still %v", got)
	}
	got := b.findings(t)
	if _, ok := got["foreign-use"]; ok {
		t.Errorf("the finding is still open: %v", got)
	}
	if !strings.HasPrefix(got["record-after-close"], "book:holder/broker ") {
		t.Errorf("nothing says that the book lied: %v", got)
	}
}

func TestReplayThatComesWhenTheFirstUseHasLeftTheMemory(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(1)), relied(noon.Add(time.Second), token(1), "203.0.113.7"))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	b.close(t, "entra", tallystick.SideRelying, noon.Add(time.Hour))
	b.rest(t)
	if c := b.Counts(); c.Open != 0 {
		t.Fatalf("%d records are in memory", c.Open)
	}
	b.append(t, relied(noon.Add(2*time.Hour), token(1), "198.51.100.9"))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(3*time.Hour))
	b.rest(t)
	list, err := b.DB.AllVerdicts(t.Context(), tallystick.VerdictForeign)
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Reason, "replayed") || !list[0].Time.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("foreign are %+v, %v; want the replay", list, err)
	}
	if got := b.findings(t); got["replayed-request"] == "" {
		t.Errorf("findings are %v", got)
	}
}

func TestCallsAreTheirTokens(t *testing.T) {
	b := newBench(t)
	call := func(n int, uti string) tallystick.Use {
		u := relied(noon.Add(time.Duration(n)*time.Minute), uti, "203.0.113.7")
		u.Source, u.Level, u.Credential = "graph", tallystick.LevelCall, []string{"account:entra-app/1a2b"}
		return u
	}
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"))
	for n := range 20 {
		b.append(t, call(n, token(1)))
	}
	b.append(t, call(30, token(9)))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(24*time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the call with a token that nobody received", got)
	}
	// Started again, nobody remembers the token but the ledger.
	b.stop(t)
	b.start(t)
	b.append(t, call(40, token(1)))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("after a restart foreign are %v; want no further one", got)
	}
}

func TestWithoutAHolderUsesWaitInTheLedger(t *testing.T) {
	b := newBench(t)
	for n := range 500 {
		b.append(t, relied(noon.Add(time.Duration(n)*time.Minute), token(n), "198.51.100.9"))
	}
	b.rest(t)
	if c := b.Counts(); c.Open != 0 || c.Spans == 0 {
		t.Errorf("%d records in memory and %d spans; want them to wait in the ledger", c.Open, c.Spans)
	}
	b.stop(t)
	b.start(t)
	b.append(t, held(noon, token(0)))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(24*time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 499 {
		t.Errorf("%d are foreign; want 499", len(got))
	}
}

func TestStoreAwayForAWhile(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"), relied(noon.Add(time.Minute), token(2), "198.51.100.9"))
	b.rest(t)
	other, err := sql.Open("sqlite", filepath.Join(b.dir, "tally.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	if err := b.round(t.Context()); err == nil {
		t.Fatal("a round with the store away was well")
	}
	if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the one whose book was closed while the store was away", got)
	}
	if got := b.findings(t); got["foreign-use"] == "" {
		t.Errorf("findings are %v", got)
	}
}

func TestWhatABookLostMayBeAnyUse(t *testing.T) {
	b := newBench(t)
	lost := tallystick.Use{
		Source: "broker", Side: tallystick.SideHolder, Time: noon, Until: noon.Add(10 * time.Minute), Count: 7, Level: tallystick.LevelRequest,
		Outcome: tallystick.OutcomeSuccess, Other: map[string]string{"lost": "7"},
	}
	b.append(t, held(noon.Add(-time.Hour), token(1)), lost, relied(noon.Add(time.Minute), token(2), "203.0.113.7"), relied(noon.Add(time.Hour), token(3), "203.0.113.7"))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(24*time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the one that the book cannot have lost", got)
	}
}

func TestClocksAreCompared(t *testing.T) {
	b := newBench(t)
	for n := range 50 {
		at := noon.Add(time.Duration(n) * time.Second)
		b.append(t, held(at, token(n)), relied(at.Add(45*time.Second), token(n), "203.0.113.7"))
	}
	b.rest(t)
	if got := b.Skews(); len(got) != 1 || got[0].By != 45*time.Second {
		t.Errorf("the clocks differ by %+v; want 45 s", got)
	}
	if err := b.judgeBooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.findings(t); got["clock-skew"] == "" {
		t.Errorf("findings are %v", got)
	}
}

func TestCountsSurviveACrash(t *testing.T) {
	b := newBench(t)
	for n := range 100 {
		at := noon.Add(time.Duration(n) * time.Minute)
		b.append(t, held(at, token(n)), relied(at, token(n), "203.0.113.7"))
		if n%30 == 0 {
			if err := b.save(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n%20 == 0 {
			if err := b.saveCounts(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n%45 == 0 {
			b.stop(t)
			b.start(t)
		}
	}
	if err := b.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	err := b.DB.EachUseHour(t.Context(), func(h store.UseHour) error {
		got[string(h.Side)] += h.Uses
		return nil
	})
	if err != nil || got["holder"] != 100 || got["relying"] != 100 {
		t.Errorf("counted are %v, %v; want 100 of each side", got, err)
	}
}

func TestTimesOfTheYears0And9999(t *testing.T) {
	b := newBench(t)
	first, last := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"))
	b.append(t, relied(first, token(2), "198.51.100.9"), relied(last, token(3), "198.51.100.9"), held(last, token(4)), held(first, token(5)))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	b.close(t, "entra", tallystick.SideRelying, noon.Add(time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the use of the year 0, and not that of a year to come", got)
	}
	if err := b.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	b.start(t)
	b.append(t, relied(noon.Add(time.Minute), token(6), "198.51.100.9"))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 2 {
		t.Errorf("foreign are %v; want two", got)
	}
	b.close(t, "broker", tallystick.SideHolder, last.Add(-time.Hour))
	b.rest(t)
	if c := b.Counts(); c.Spans > maxSpans {
		t.Errorf("%d spans", c.Spans)
	}
}

func TestABookThatHasEndedHoldsNothingUp(t *testing.T) {
	b := newBench(t)
	old := held(noon.Add(-time.Hour), token(1))
	old.Source = "old-broker"
	b.append(t, old, held(noon, token(2)), relied(noon.Add(time.Minute), token(3), "198.51.100.9"))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(24*time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 0 {
		t.Fatalf("foreign are %v, and the old broker's book is open", got)
	}
	if err := b.DB.EndBook(t.Context(), store.EndedBook{Source: "old-broker", Side: tallystick.SideHolder, Ended: b.now, Author: "ada", Reason: "replaced"}); err != nil {
		t.Fatal(err)
	}
	if err := b.learnEnded(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the one use", got)
	}
	if err := b.DB.ReopenBook(t.Context(), "old-broker", tallystick.SideHolder); err != nil {
		t.Fatal(err)
	}
	if err := b.DB.ReopenBook(t.Context(), "old-broker", tallystick.SideHolder); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("reopening a book that has not ended: %v", err)
	}
}

// TestUsesThatNameNobody are known by their token alone.
func TestUsesThatNameNobody(t *testing.T) {
	b := newBench(t)
	anonymous := func(n int, at time.Time) tallystick.Use {
		u := relied(at, token(n), "198.51.100.9")
		u.Credential = nil
		return u
	}
	b.append(t, held(noon, token(1)), anonymous(1, noon), anonymous(2, noon.Add(time.Minute)))
	if err := b.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	b.start(t)
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	b.close(t, "entra", tallystick.SideRelying, noon.Add(time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("after a restart foreign are %v; want the token that nobody received", got)
	}
	b.append(t, anonymous(3, noon.Add(2*time.Minute))) // late
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 2 {
		t.Errorf("foreign are %v; want the late one as well", got)
	}
}

// TestAFindingFollowsItsCredentialIntoAnother joins two names after one of them was
// used by somebody else.
func TestAFindingFollowsItsCredentialIntoAnother(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"))
	thief := relied(noon.Add(time.Minute), token(2), "198.51.100.9")
	thief.Credential = []string{"x5t:1949413edcbdebde7abadfbcafbe6ab48d15c218"}
	own := held(noon, token(5))
	own.Credential = thief.Credential
	b.append(t, own, thief)
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	b.rest(t)
	if got := b.findings(t)["foreign-use"]; !strings.HasPrefix(got, "x5t:") {
		t.Fatalf("the finding is %q", got)
	}
	both := held(noon.Add(2*time.Minute), token(6))
	both.Credential = []string{key, thief.Credential[0]}
	b.append(t, both, relied(noon.Add(2*time.Minute), token(6), "203.0.113.7"))
	b.rest(t)
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v", got)
	}
	if got := b.findings(t)["foreign-use"]; got == "" {
		t.Errorf("the finding is gone: %v", b.findings(t))
	}
}

func TestManyRecordsThatWereNotSavedAreJudgedAll(t *testing.T) {
	b := newBench(t)
	for n := range 200 {
		at := noon.Add(time.Duration(n) * time.Second)
		b.append(t, held(at, token(n)), relied(at, token(n), "203.0.113.7"))
	}
	last := relied(noon.Add(time.Hour), token(900), "203.0.113.7")
	b.append(t, last)
	b.stop(t)
	b.start(t)
	if got := len(b.names[key].now().unjudged); got != 401 {
		t.Errorf("%d records wait for the rules; want all 401", got)
	}
	b.rest(t)
}

func TestTriesWithMadeUpNamesMakeNoCredentials(t *testing.T) {
	b := newBench(t)
	for n := range 50 {
		u := relied(noon, "", "198.51.100.9")
		u.Outcome, u.Credential, u.ID = tallystick.OutcomeAttempt, []string{fmt.Sprintf("account:ldap/uid=made-up-%d", n)}, fmt.Sprint(n)
		b.append(t, u)
	}
	b.rest(t)
	if n := len(b.used); n != 1 {
		t.Errorf("there are %d credentials; want the one of those that name nobody known", n)
	}
	if got := b.said(t, tallystick.VerdictAttempt); len(got) != 50 {
		t.Errorf("%d attempts are written down; want all 50", len(got))
	}
}

// Whoever tries often, as we do when we prove that an old one is refused everywhere, hides
// nobody else's tries.
func TestManyTriesFromOneAddressHideNoOthers(t *testing.T) {
	b := newBench(t)
	try := func(address string, n int) {
		u := relied(noon, "", address)
		u.Outcome, u.ID = tallystick.OutcomeAttempt, fmt.Sprint(address, n)
		b.append(t, u)
	}
	for n := range maxTries + 5 {
		try("192.0.2.1", n)
	}
	try("198.51.100.66", 0)
	b.rest(t)
	if got := b.said(t, tallystick.VerdictAttempt); len(got) != maxTries+1 {
		t.Errorf("%d attempts are written down; want %d of one address, and the one of another", len(got), maxTries)
	}
}

func TestALossThatIsToldLateTakesForeignUsesBack(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon.Add(-time.Hour), token(1)), relied(noon, token(2), "203.0.113.7"))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(24*time.Hour))
	b.close(t, "entra", tallystick.SideRelying, noon.Add(24*time.Hour))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Fatalf("foreign are %v; want one", got)
	}
	b.append(t, tallystick.Use{
		Source: "broker", Side: tallystick.SideHolder, Time: noon.Add(-time.Minute), Until: noon.Add(time.Minute), Count: 3, Level: tallystick.LevelRequest,
		Outcome: tallystick.OutcomeSuccess, Other: map[string]string{"lost": "3"},
	})
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 0 {
		t.Errorf("foreign are still %v", got)
	}
}

// TestWhatAnotherBookLostExplainsNothing has a book of other credentials lose uses.
func TestWhatAnotherBookLostExplainsNothing(t *testing.T) {
	b := newBench(t)
	other := held(noon.Add(-time.Hour), token(7))
	other.Source, other.Credential = "other", []string{"x5t:1949413edcbdebde7abadfbcafbe6ab48d15c218"}
	b.append(t, held(noon.Add(-time.Hour), token(1)), other, tallystick.Use{
		Source: "other", Side: tallystick.SideHolder, Time: noon, Until: noon.Add(10 * time.Minute), Count: 7, Level: tallystick.LevelRequest,
		Outcome: tallystick.OutcomeSuccess, Other: map[string]string{"lost": "7"},
	})
	for _, source := range []string{"broker", "other"} {
		b.close(t, source, tallystick.SideHolder, noon.Add(24*time.Hour))
	}
	b.rest(t)
	b.append(t, relied(noon.Add(time.Minute), token(2), "198.51.100.9"))
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the one use, which the other book does not speak of", got)
	}
}

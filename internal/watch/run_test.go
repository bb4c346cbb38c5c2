// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// TestRunsWhileSourcesAppend has several sources deliver at once while the watch
// runs, saves and is asked, and ends it in the middle of that.
func TestRunsWhileSourcesAppend(t *testing.T) {
	b := newBench(t)
	running, stop := context.WithCancel(t.Context())
	var parts, sources sync.WaitGroup
	parts.Go(func() {
		_ = b.Run(running, func(err error) { t.Errorf("a round: %v", err) })
	})
	const each = 40
	for source := range 3 {
		sources.Go(func() {
			for n := range each {
				at := noon.Add(time.Duration(n) * time.Minute)
				holder, relying := held(at, token(1000*source+n)), relied(at, token(1000*source+n), "203.0.113.7")
				holder.Source, relying.Source = fmt.Sprintf("broker-%d", source), fmt.Sprintf("entra-%d", source)
				relying.ID += fmt.Sprint(source)
				list := []tallystick.Use{holder, relying}
				if n%10 == 0 {
					list = list[1:] // a thief
				}
				if _, err := b.Append(t.Context(), relying.Source, ledger.Batch{Uses: list}, nil); err != nil {
					t.Error(err)
				}
				b.Counts()
				b.Pending(0, func(time.Time, int64) {})
			}
		})
	}
	if err := b.saveCounts(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.save(t.Context()); err != nil {
		t.Error(err)
	}
	sources.Wait()
	stop()
	parts.Wait()
	b.stop(t)
	b.start(t)
	for source := range 3 {
		b.close(t, fmt.Sprintf("broker-%d", source), tallystick.SideHolder, noon.Add(24*time.Hour))
	}
	b.rest(t)
	if got := len(b.said(t, tallystick.VerdictForeign)); got != 3*each/10 {
		t.Errorf("%d are foreign; want %d", got, 3*each/10)
	}
}

// TestFindingsAreWrittenThoughOthersComeMeanwhile raises findings while the outbox
// is being written.
func TestFindingsAreWrittenThoughOthersComeMeanwhile(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(0)))
	b.rest(t)
	const all = 40 // a page of findings has more
	one := b.names[key].now()
	var raising sync.WaitGroup
	raising.Go(func() {
		for n := range all {
			b.mu.Lock()
			b.hit(one, &rule.Rule{Name: fmt.Sprintf("made-up-%d", n), Severity: tallystick.SeverityLow}, rule.Hit{Evidence: "seen"})
			b.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	})
	for range 2 * all {
		if err := b.write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	raising.Wait()
	if err := b.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range b.findings(t) {
		if strings.HasPrefix(name, "made-up-") {
			n++
		}
	}
	if n != all {
		t.Errorf("%d of %d findings are there", n, all)
	}
}

// TestIDsAreEnoughForAllThatComeAtOnce has more new credentials on their way than
// one block has ids.
func TestIDsAreEnoughForAllThatComeAtOnce(t *testing.T) {
	b := newBench(t)
	b.mu.Lock()
	b.nextID, b.endID = 1_000_000, 1_000_003
	b.mu.Unlock()
	var sources sync.WaitGroup
	for source := range 8 {
		sources.Go(func() {
			u := relied(noon, token(source), "203.0.113.7")
			u.Credential = []string{fmt.Sprintf("x5t:%040d", source)}
			if _, err := b.Append(t.Context(), "entra", ledger.Batch{Uses: []tallystick.Use{u}}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	sources.Wait()
	if b.nextID > b.endID || b.promised != 0 || len(b.used) != 8 {
		t.Errorf("ids up to %d of %d are taken, %d are promised, for %d credentials", b.nextID, b.endID, b.promised, len(b.used))
	}
}

func TestWhatCannotBeSavedIsSaidAndKept(t *testing.T) {
	b := newBench(t)
	b.append(t, held(noon, token(1)), relied(noon, token(1), "203.0.113.7"))
	b.rest(t)
	if err := b.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.save(t.Context()); err == nil {
		t.Error("saving into a closed store was well")
	}
	if b.since != 2 || len(b.hours) != 2 {
		t.Errorf("%d records and %d hours are left to save; want all of them", b.since, len(b.hours))
	}
	if err := b.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	b.start(t) // for the end of the test
	if err := b.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	var holder int64
	err := b.DB.EachUseHour(t.Context(), func(h store.UseHour) error {
		if h.Side == tallystick.SideHolder {
			holder += h.Uses
		}
		return nil
	})
	if err != nil || holder != 1 {
		t.Errorf("the holder made %d uses, %v; want 1", holder, err)
	}
}

func TestASourceThatNeverSpokeIsSilent(t *testing.T) {
	b := newBench(t)
	one := store.Source{Name: "dc1", Kind: store.SourceSyslog, Side: tallystick.SideRelying, Silence: time.Hour, Created: b.now.Add(-2 * time.Hour), CreatedBy: "ada"}
	if _, err := b.DB.AddSource(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := b.judgeBooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.findings(t)["silent-source"]; got != "book:relying/dc1 medium" {
		t.Errorf("the finding is %q", got)
	}
}

// TestASpanWhoseSettlingWasCutShortIsDueAgain cuts a round short that was to settle
// what waited for a book.
func TestASpanWhoseSettlingWasCutShortIsDueAgain(t *testing.T) {
	b := newBench(t)
	b.append(t, relied(noon, token(1), "198.51.100.9"))
	b.rest(t) // without a holder it waits
	b.append(t, held(noon.Add(time.Minute), token(2)))
	b.rest(t)
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	b.due() // as the round that was cut short had begun
	if err := b.settleSpans(ended); err == nil {
		t.Fatal("a round that was cut short was well")
	}
	b.rest(t)
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("foreign are %v; want the use that waited", got)
	}
}

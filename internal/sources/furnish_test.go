// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// A house is sources over a real store, ledger and archive.
type house struct {
	testing.TB
	*Sources
	dir     string // for the files of tests
	ledger  *ledger.Ledger
	appends *appender
	audit   *audit.Log
}

// An appender puts batches into a ledger, and fails when it is told to.
type appender struct {
	*ledger.Ledger
	mu      sync.Mutex
	err     error // guarded by mu; in place of an append
	after   error // guarded by mu; behind an append that was made
	changes []tallystick.Change
	batches int
	largest int
}

func (a *appender) Append(ctx context.Context, _ string, batch ledger.Batch, changes []tallystick.Change) (ledger.Appended, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return ledger.Appended{}, a.err
	}
	a.changes = append(a.changes, changes...)
	a.batches++
	a.largest = max(a.largest, len(batch.Uses))
	result, err := a.Ledger.Append(ctx, batch)
	return result, errors.Join(err, a.after)
}

// fails makes it fail, or work again.
func (a *appender) fails(err, after error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.after = err, after
}

var admin = gate.Local("test")

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	log, err := audit.Open(t.Context(), db, filepath.Join(dir, "audit.key"))
	must(t, err)
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	raw, err := archive.Open(filepath.Join(dir, "raw"), time.Now)
	must(t, err)
	t.Cleanup(func() { must(t, raw.Close()) })
	h := &house{TB: t, dir: filepath.Join(dir, "logs"), ledger: l, appends: &appender{Ledger: l}, audit: log}
	h.Sources = New(Config{DB: db, Gate: gate.New(log, time.Now), Appender: h.appends, Archive: raw, Now: time.Now, Poll: 10 * time.Millisecond})
	must(t, os.Mkdir(h.dir, 0o700))
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add adds a source; what is not said of it is.
func (h *house) add(one store.Source) (token string) {
	h.Helper()
	if one.Name == "" {
		one.Name = "edge"
	}
	if one.Side == "" {
		one.Side = tallystick.SideRelying
	}
	one.KeepRaw = DefaultKeepRaw
	token, _, err := h.Add(h.Context(), admin, one, "")
	must(h.TB, err)
	return token
}

// source returns what is known of a source.
func (h *house) source(name string) store.Source {
	h.Helper()
	one, err := h.DB.Source(h.Context(), name)
	must(h.TB, err)
	return one
}

// position returns how far a source is read.
func (h *house) position(one store.Source) string {
	h.Helper()
	position, err := h.DB.SourcePosition(h.Context(), one.ID)
	must(h.TB, err)
	return position
}

// run runs the sources until the function that it returns is called.
func (h *house) run() (stop func()) {
	ctx, cancel := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.Sources.Run(ctx, func(err error) { h.TB.Log(err) })
	}()
	return func() { cancel(); <-ended }
}

// passes looks so many times at a source, as after a start.
func (h *house) passes(name string, times int) {
	h.Helper()
	w, err := h.newWatcher(h.Context(), h.source(name))
	must(h.TB, err)
	for range times {
		_, err = w.pass(h.Context())
		must(h.TB, err)
	}
}

// path returns the path of a file of the test.
func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

// write appends to a file.
func (h *house) write(name, text string) {
	h.Helper()
	must(h.TB, os.MkdirAll(filepath.Dir(h.path(name)), 0o700))
	f, err := os.OpenFile(h.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(h.TB, err)
	_, err = f.WriteString(text)
	must(h.TB, errors.Join(err, f.Close()))
}

var start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// record returns use record n as a line.
func record(n int) string {
	return fmt.Sprintf(`{"v":1,"id":"r%d","time":%q,"credential":["x5t:aa"],"relying_party":"https:api"}`+"\n", n, start.Add(time.Duration(n)*time.Second).Format(time.RFC3339))
}

// records returns the use records from one number to before another.
func records(from, to int) string {
	var text strings.Builder
	for n := from; n < to; n++ {
		text.WriteString(record(n))
	}
	return text.String()
}

// uses returns everything that is in the ledger.
func (h *house) uses() []tallystick.Use {
	h.Helper()
	var all []tallystick.Use
	must(h.TB, h.ledger.Scan(h.Context(), ledger.Query{}, func(u *tallystick.Use) error {
		all = append(all, *u)
		return nil
	}))
	return all
}

// wantIDs checks that the ledger has the records from 0 to before n, each once.
func (h *house) wantIDs(n int) {
	h.Helper()
	count := map[string]int{}
	for _, u := range h.uses() {
		count[u.ID]++
	}
	for i := range n {
		if id := fmt.Sprintf("r%d", i); count[id] != 1 {
			h.Errorf("%s is there %d times", id, count[id])
		}
	}
	if len(count) != n {
		h.Errorf("there are %d records, want %d", len(count), n)
	}
}

// await waits until something is so.
func (h *house) await(what string, so func() bool) {
	h.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("it did not come to be that %s", what)
		}
	}
}

// exec changes the database behind its back.
func (h *house) exec(query string) {
	h.Helper()
	storetest.Exec(h.TB, filepath.Join(filepath.Dir(h.dir), "tally.db"), query)
}

// bookLines returns the lines of a book that package holder wrote: n records and
// what closes it.
func bookLines(t *testing.T, n int) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "book.ndjson")
	book, err := holder.Open(holder.Config{Source: "broker", Holder: "sync", File: path, Credential: []string{"x5t:aa"}})
	must(t, err)
	for range n {
		book.Record(tallystick.Use{RelyingParty: "https:api", Outcome: tallystick.OutcomeSuccess})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = book.Run(ctx) // writes the rest and ends
	text, err := os.ReadFile(path)
	must(t, err)
	return strings.SplitAfter(strings.TrimSuffix(string(text), "\n")+"\n", "\n")[:strings.Count(string(text), "\n")]
}

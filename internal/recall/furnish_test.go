// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var (
	olga = gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}
	otto = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}
	vera = gate.Actor{Name: "vera", Role: gate.Viewer, Via: "session"}
)

// A house is an engine with doors in this process: two places, and two holders of which
// one signs in at three doors.
type house struct {
	*recall.Engine
	t       testing.TB
	estate  *recalltest.Estate
	desk    *recalltest.Desk
	clock   *steps
	log     *records
	ledger  *ledger
	olds    map[string]driver.Public // by door
	between []recalltest.Connection
}

// steps is a clock that is set off.
type steps struct{ off atomic.Int64 }

func (c *steps) now() time.Time       { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *steps) pass(d time.Duration) { c.off.Add(int64(d)) }

// records are an audit log that is kept in memory, and may fail.
type records struct {
	mu    sync.Mutex
	list  []audit.Record                        // guarded by mu
	fault func(detail string, after bool) error // of what came of steps
}

func (r *records) Append(_ context.Context, one audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil && one.Action == "recall-step" {
		if err := r.fault(one.Detail, false); err != nil {
			return err
		}
	}
	r.list = append(r.list, one)
	if r.fault != nil && one.Action == "recall-step" {
		return r.fault(one.Detail, true)
	}
	return nil
}

// ledger answers what it is told to.
type ledger struct {
	mu     sync.Mutex
	answer func(recall.DrainQuestion) recall.DrainAnswer // guarded by mu; nil: nobody uses anything, all is closed
	now    func() time.Time
}

func (l *ledger) Quiet(_ context.Context, q recall.DrainQuestion) (recall.DrainAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answer == nil {
		return recall.DrainAnswer{Books: 1, Closed: l.now()}, nil
	}
	return l.answer(q), nil
}

func (l *ledger) says(answer func(recall.DrainQuestion) recall.DrainAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// desk is a CA whose certificates can be burnt.
type deskCA struct {
	mu    sync.Mutex
	burnt map[string]bool // guarded by mu; by name of the credential
}

func (c *deskCA) Revoke(context.Context, [][]byte, tallystick.Recall) error { return nil }

func (c *deskCA) Lists(context.Context, driver.Public) ([][]byte, error) { return nil, nil }

func (c *deskCA) Authorities(context.Context, driver.Public) ([][]byte, error) { return nil, nil }

func (c *deskCA) Burnt(_ context.Context, p driver.Public) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range p.Names() {
		if c.burnt[name] {
			return "it is on a list", nil
		}
	}
	return "", nil
}

const second = time.Second

// newHouse furnishes one over a store.
func newHouse(t testing.TB, db *store.DB, change func(*recall.Config)) *house {
	t.Helper()
	h := &house{t: t, clock: &steps{}, log: &records{}, olds: map[string]driver.Public{}}
	h.ledger = &ledger{now: h.clock.now}
	var err error
	if h.desk, err = recalltest.NewDesk(); err != nil {
		t.Fatal(err)
	}
	h.estate = recalltest.New("desk", h.clock.now)
	h.furnish()
	c := recall.Config{
		DB: db, Gate: gate.New(h.log, h.clock.now), Log: h.log, Doors: h.estate, Uses: h.ledger, Now: h.clock.now, Node: "one",
		Issuers:  func(string) (driver.Issuer, error) { return h.desk, nil },
		Defaults: recall.Defaults{Quiet: second, Waves: tallystick.Waves{Canary: 1, Growth: 3, Errors: 0}},
	}
	if change != nil {
		change(&c)
	}
	if h.Engine, err = recall.New(c); err != nil {
		t.Fatal(err)
	}
	return h
}

// furnish makes the doors. All old certificates are of one key, which is burnt.
func (h *house) furnish() {
	key, err := recalltest.NewKey()
	if err != nil {
		h.t.Fatal(err)
	}
	certify := func(name string) driver.Public {
		p, err := h.desk.Certify(name, key.Public())
		if err != nil {
			h.t.Fatal(err)
		}
		h.olds[name] = p
		return p
	}
	for _, name := range []string{"web1", "web2"} {
		h.estate.AddPlace(name, certify(name))
	}
	for holder, doors := range map[string][]string{"app1": {"ldap"}, "app2": {"mail1", "mail2", "mail3"}} {
		old := certify(holder)
		h.estate.AddHolder(holder, old)
		for _, door := range doors {
			h.estate.AddRelying(door, old)
			h.between = append(h.between, recalltest.Connection{Holder: holder, Relying: door})
		}
	}
}

// onSQLite is newHouse on a new SQLite store.
func onSQLite(t testing.TB, change func(*recall.Config)) *house {
	t.Helper()
	return newHouse(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), change)
}

// burntKey is what is recalled.
func (h *house) burntKey() tallystick.Burnt {
	for _, name := range h.olds["web1"].Names() {
		if key, is := strings.CutPrefix(name, "spki-sha256:"); is {
			return tallystick.Burnt{Kind: tallystick.BurntKey, Value: key}
		}
	}
	h.t.Fatal("the certificate has no key")
	return tallystick.Burnt{}
}

// open opens a recall of everything, and begins it.
func (h *house) open(change func(*recall.Request)) tallystick.Recall {
	h.t.Helper()
	r := recall.Request{Name: "key-of-all", What: h.burntKey(), Why: "a laptop was stolen"}
	if change != nil {
		change(&r)
	}
	opened, err := h.Open(h.t.Context(), olga, r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(h.Approve(h.t.Context(), otto, opened.ID, opened.Deadline))
	h.must(h.Start(h.t.Context(), olga, opened.ID))
	return opened
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// turn works until there is nothing to do now.
func (h *house) turn() {
	h.t.Helper()
	for range 2000 {
		n, err := h.Turn(h.t.Context())
		h.must(err)
		if n == 0 {
			return
		}
	}
	h.t.Fatal("there is always something to do")
}

// finish works, and lets the clock go on where things rest, until the recall is over or stops.
func (h *house) finish(id int64) recall.Status {
	h.t.Helper()
	for range 100 {
		h.turn()
		if s := h.status(id); s.State.Over() || s.State == tallystick.RecallStopped {
			return s
		}
		h.clock.pass(6 * second)
	}
	h.tell(id)
	h.t.Fatal("the recall does not come to an end")
	return recall.Status{}
}

func (h *house) status(id int64) recall.Status {
	h.t.Helper()
	s, err := h.Status(h.t.Context(), vera, id)
	h.must(err)
	return s
}

// tell logs what happened.
func (h *house) tell(id int64) {
	h.t.Helper()
	events, err := h.Events(h.t.Context(), vera, id, 0, 1000)
	h.must(err)
	for _, e := range events {
		h.t.Logf("%3d %-8s %d %s", e.N, e.Kind, e.Target, e.Text)
	}
	steps, err := h.Steps(h.t.Context(), vera, id, 0, 0, 1000)
	h.must(err)
	for _, s := range steps {
		h.t.Logf("step %d of %d: %s at %q in wave %d: %s, waits for %d, %d failures: %s", s.ID, s.Target, s.Act, s.Door, s.Wave, s.State, s.Waits, s.Failures, s.Error)
	}
}

// check looks that everything is as it must be at the end.
func (h *house) check(id int64) {
	h.t.Helper()
	h.soFar()
	if s := h.status(id); s.State != tallystick.RecallDone || s.Done != s.Total {
		h.tell(id)
		h.t.Fatalf("it is %s (%s) with %d of %d", s.State, s.Reason, s.Done, s.Total)
	}
	for door, old := range h.olds {
		if h.estate.Shown(door).Is(old) {
			h.t.Errorf("%s still has the old one", door)
		}
	}
	for _, c := range h.between {
		if h.estate.Lets(c.Relying, h.olds[c.Holder]) || !h.estate.Denies(c.Relying, h.olds[c.Holder]) {
			h.t.Errorf("%s lets the old one of %s in", c.Relying, c.Holder)
		}
		if n := h.estate.Trusted(c.Relying); n != 1 {
			h.t.Errorf("%s lets %d credentials in", c.Relying, n)
		}
	}
	if twice, made := h.desk.Twice(); len(twice) > 0 || made != 4 {
		h.t.Errorf("%d certificates were made, twice for %v", made, twice)
	}
	if n := h.estate.Keys(); n != 0 {
		h.t.Errorf("%d keys are left behind", n)
	}
}

// soFar looks that nothing is that must never be.
func (h *house) soFar() {
	h.t.Helper()
	if without := h.estate.Without(h.between); len(without) > 0 {
		h.t.Fatalf("without a credential that works: %v", without)
	}
	if wrongs := h.estate.Wrongs(); len(wrongs) > 0 {
		h.t.Fatal(strings.Join(wrongs, "\n"))
	}
}

// targets returns the targets by what they are of.
func (h *house) targets(id int64) map[string]tallystick.RecallTarget {
	h.t.Helper()
	list, err := h.Targets(h.t.Context(), vera, id, recall.Filter{}, 0, 1000)
	h.must(err)
	named := map[string]tallystick.RecallTarget{}
	for _, t := range list {
		named[strings.Trim(fmt.Sprint(t.Holder, " ", t.Relying), " ")] = t
	}
	return named
}

func encode(v any) ([]byte, error) { return json.Marshal(v) }

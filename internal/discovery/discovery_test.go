// SPDX-License-Identifier: Apache-2.0

package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// An estate is a driver whose one target the test holds in its hand.
type estate struct {
	mu    sync.Mutex
	keys  []string                                              // guarded by mu; what there is to see
	err   error                                                 // guarded by mu; what the look ends with
	midst func(ctx context.Context, n int, s driver.Sink) error // called after each sighting; may be nil
}

func (e *estate) Find(ctx context.Context, r driver.FindRequest, sink driver.Sink) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for n, key := range e.keys {
		raw := []byte(key)
		s := tallystick.Sighting{
			Credential: tallystick.Credential{ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindKey, Raw: raw, Subject: key},
			Place:      tallystick.FilePlace("/" + key), Role: tallystick.RolePresents, Seen: r.Now(),
		}
		if err := sink.Saw(s); err != nil {
			return err
		}
		sink.Progress(int64(n+1), int64(len(e.keys)))
		if e.midst != nil {
			if err := e.midst(ctx, n, sink); err != nil {
				return err
			}
		}
	}
	return e.err
}

func (e *estate) driver() driver.Driver {
	return driver.New("estate", "what the test holds", func(struct{}) (*estate, error) { return e, nil })
}

var admin = gate.Actor{Name: "ann", Role: gate.Admin, Via: "test"}

func newGate(t *testing.T, db *store.DB) *gate.Gate {
	t.Helper()
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	return gate.New(log, time.Now)
}

// start returns a discovery over a new store, with one job that runs when asked.
func start(t *testing.T, db *store.DB, e *estate, node string) *discovery.Discovery {
	t.Helper()
	return startBehind(t, newGate(t, db), db, e, node)
}

func startBehind(t *testing.T, g *gate.Gate, db *store.DB, e *estate, node string) *discovery.Discovery {
	t.Helper()
	d, err := discovery.New(discovery.Config{
		DB: db, Gate: g, Now: time.Now, Node: node, Changed: func(bool) {},
		Jobs:    []discovery.Job{{Name: "job", Driver: "estate", Targets: []string{"all"}}},
		Drivers: []driver.Driver{e.driver()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// look asks for a run and waits until it has ended.
func look(t *testing.T, d *discovery.Discovery) store.Run {
	t.Helper()
	run, err := d.Start(t.Context(), admin, "job")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, func(err error) { t.Error(err) }) }()
	defer func() {
		stop()
		<-done
	}()
	for ctx.Err() == nil {
		report, err := d.Report(ctx, admin, run.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !report.Run.Finished.IsZero() {
			return report.Run
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the run does not end")
	return run
}

// signer is a driver that signs in to look.
type signer struct{}

func (signer) Find(_ context.Context, r driver.FindRequest, _ driver.Sink) error {
	r.Used(tallystick.Use{RelyingParty: "entra:t/graph"})
	return nil
}

func TestWhoLooksTellsItsSignIns(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	told := make(chan string, 1)
	d, err := discovery.New(discovery.Config{
		DB: db, Gate: newGate(t, db), Now: time.Now, Node: "node", Changed: func(bool) {},
		Jobs:    []discovery.Job{{Name: "job", Driver: "signer"}},
		Drivers: []driver.Driver{driver.New("signer", "signs in", func(struct{}) (signer, error) { return signer{}, nil })},
		Used:    func(use tallystick.Use) { told <- use.RelyingParty },
	})
	if err != nil {
		t.Fatal(err)
	}
	if run := look(t, d); run.State != store.RunDone {
		t.Fatal(run.Error)
	}
	if party := <-told; party != "entra:t/graph" {
		t.Error(party)
	}
}

func TestALookRecordsWhatIsThereAndWhatIsGone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		e := &estate{keys: []string{"a", "b", "c"}}
		d := start(t, db, e, "node")
		first := look(t, d)
		if first.State != store.RunDone || first.Appeared != 3 || first.Sightings != 3 || first.Done != 3 {
			t.Fatalf("the first look ended as %+v", first)
		}
		e.keys = []string{"b", "c", "d"}
		second := look(t, d)
		if second.Appeared != 1 || second.Vanished != 1 {
			t.Errorf("the second look ended as %+v; want one new, one gone", second)
		}
		report, err := d.Report(t.Context(), admin, second.ID, 0)
		if err != nil || discovery.Sentence(report.Changes) != "1 new, 1 gone" {
			t.Errorf("the report says %+v, %v", report, err)
		}
		if words := discovery.Sentence(*first.Changes); words != "the first look: 3 keys" {
			t.Errorf("the first look is told as %q", words)
		}
	})
}

func TestAFailedLookSaysNothingIsGone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		e := &estate{keys: []string{"a", "b"}}
		d := start(t, db, e, "node")
		look(t, d)
		e.keys, e.err = nil, errors.New("the estate is closed")
		run := look(t, d)
		if run.State != store.RunFailed || run.Vanished != 0 || run.Error != "the estate is closed" {
			t.Errorf("the failed look ended as %+v", run)
		}
		n, err := db.CountCredentials(t.Context(), store.CredentialFilter{})
		if n != 2 || err != nil {
			t.Errorf("%d credentials are left, %v; want both", n, err)
		}
	})
}

// credentials counts all of them, which a list does not.
func credentials(t *testing.T, db *store.DB) int64 {
	t.Helper()
	summary, err := db.Summary(t.Context(), time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return summary.Credentials
}

// A process that is stopped gives its run back; the next process does it again
// at once, and nothing counts twice.
func TestAStoppedLookGoesOn(t *testing.T) {
	url := filepath.Join(t.TempDir(), "tally.db") // SQLite: a bubble cannot wait for a server
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, url)
		e := &estate{}
		for n := range 17_000 { // more than one batch, so that some of it is written
			e.keys = append(e.keys, fmt.Sprint(n))
		}
		dying, kill := context.WithCancel(t.Context())
		e.midst = func(ctx context.Context, n int, _ driver.Sink) error {
			if n < 16_500 {
				return nil
			}
			kill()
			<-ctx.Done()
			return ctx.Err()
		}
		g := newGate(t, db)
		first := startBehind(t, g, db, e, "first")
		run, err := first.Start(t.Context(), admin, "job")
		if err != nil {
			t.Fatal(err)
		}
		_ = first.Run(dying, func(err error) { t.Error(err) })
		if n := credentials(t, db); n != 16_000 {
			t.Fatalf("%d credentials were written before the stop, want a whole batch", n)
		}
		e.midst = nil
		second := startBehind(t, g, db, e, "second")
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		_ = second.Run(ctx, func(err error) { t.Error(err) })
		report, err := second.Report(t.Context(), admin, run.ID, 0)
		if err != nil || report.Run.State != store.RunDone || report.Run.Attempt != 1 || report.Run.Sightings != 17_000 {
			t.Errorf("the run ended as %+v, %v", report.Run, err)
		}
		if n := credentials(t, db); n != 17_000 {
			t.Errorf("%d credentials, want 17000", n)
		}
	})
}

func TestACancelledLookStops(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		e := &estate{keys: []string{"a", "b"}}
		d := start(t, db, e, "node")
		e.midst = func(ctx context.Context, n int, _ driver.Sink) error {
			runs, err := d.Runs(ctx, admin, "", 0, 1)
			if err == nil {
				err = d.Cancel(ctx, admin, runs[0].ID)
			}
			if err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			return ctx.Err()
		}
		if run := look(t, d); run.State != store.RunCancelled {
			t.Errorf("the run ended as %s, want cancelled", run.State)
		}
	})
}

func TestTheScheduleAsksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		g := newGate(t, db)
		for _, process := range []struct {
			targets []string
			lasts   time.Duration
			runs    int // in all
		}{
			{nil, 150 * time.Minute, 3}, {nil, time.Minute, 3}, // started again, it waits for its hour
			{[]string{"elsewhere"}, time.Minute, 4}, // what was changed is not made to wait
		} {
			d, err := discovery.New(discovery.Config{
				DB: db, Gate: g, Now: time.Now, Node: "node", Changed: func(bool) {},
				Jobs:    []discovery.Job{{Name: "job", Driver: "estate", Every: time.Hour, Targets: process.targets}},
				Drivers: []driver.Driver{(&estate{keys: []string{"a"}}).driver()},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), process.lasts)
			_ = d.Run(ctx, func(err error) { t.Error(err) })
			stop()
			runs, err := d.Runs(t.Context(), admin, "", 0, 10)
			if err != nil || len(runs) != process.runs {
				t.Errorf("%d runs after %v at %v, %v; want %d", len(runs), process.lasts, process.targets, err, process.runs)
			}
		}
	})
}

func TestWhoMayNotStart(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	d := start(t, db, &estate{}, "node")
	viewer := gate.Actor{Name: "vic", Role: gate.Viewer, Via: "test"}
	if _, err := d.Start(t.Context(), viewer, "job"); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("a viewer who starts a run gets %v, want ErrDenied", err)
	}
	if _, err := d.Start(t.Context(), gate.Actor{}, "nothing"); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Errorf("a stranger learns of jobs: %v, want ErrUnsigned", err)
	}
	if _, err := d.Start(t.Context(), admin, "nothing"); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("starting what is not there gives %v, want ErrNotFound", err)
	}
}

func TestBadJobs(t *testing.T) {
	e := &estate{}
	for name, jobs := range map[string][]discovery.Job{
		"driver": {{Name: "a", Driver: "nothing"}},
		"option": {{Name: "a", Driver: "estate", Options: map[string]string{"x": "1"}}},
		"twice":  {{Name: "a", Driver: "estate"}, {Name: "a", Driver: "estate"}},
	} {
		_, err := discovery.New(discovery.Config{Jobs: jobs, Drivers: []driver.Driver{e.driver()}})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// A run whose process was killed is done again when its lease has run out, also
// when the killed process had a clock that was years ahead; and it is given up
// when three processes have died of it.
func TestAKilledLookIsTakenOver(t *testing.T) {
	for name, c := range map[string]struct {
		deaths int
		ahead  time.Duration
		state  string
	}{
		"once": {1, 0, store.RunDone}, "by a wrong clock": {1, 5 * 365 * 24 * time.Hour, store.RunDone}, "for ever": {3, 0, store.RunFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
				d := start(t, db, &estate{keys: []string{"a"}}, "node")
				run, err := d.Start(t.Context(), admin, "job")
				if err != nil {
					t.Fatal(err)
				}
				for n := range c.deaths {
					now := time.Now().Add(c.ahead)
					if _, err := db.ClaimRun(t.Context(), fmt.Sprint("dead ", n), now, 30*time.Second); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
				defer stop()
				_ = d.Run(ctx, func(err error) { t.Error(err) })
				report, err := d.Report(t.Context(), admin, run.ID, 0)
				if err != nil || report.Run.State != c.state {
					t.Errorf("the run ended as %+v, %v; want %s", report.Run, err, c.state)
				}
			})
		})
	}
}

func TestAllChangesAreTold(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		e := &estate{}
		for n := range 1200 { // more than a report lists
			e.keys = append(e.keys, fmt.Sprint(n))
		}
		d := start(t, db, e, "node")
		count := func(run store.Run) map[string]int {
			kinds := map[string]int{}
			err := d.Changes(t.Context(), admin, run.ID, 0, func(c store.RunChange) error { kinds[c.Kind]++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			return kinds
		}
		if got := count(look(t, d)); got["new"] != 1200 {
			t.Errorf("the first look changed %v", got)
		}
		e.keys = e.keys[:100]
		if got := count(look(t, d)); got["gone"] != 1100 || got["new"] != 0 {
			t.Errorf("the second look changed %v", got)
		}
	})
}

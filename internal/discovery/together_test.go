// SPDX-License-Identifier: Apache-2.0

package discovery_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/drivers/tls"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// together starts a process that does several jobs at once; now is its clock.
func together(t *testing.T, g *gate.Gate, db *store.DB, atOnce int, node string, now func() time.Time, jobs []discovery.Job, drivers ...driver.Driver) walker {
	t.Helper()
	d, err := discovery.New(discovery.Config{
		DB: db, Gate: g, Now: now, Node: node, AtOnce: atOnce, Jobs: jobs, Drivers: drivers, Changed: func(bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, func(error) {}) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return walker{d, stop}
}

func ask(t *testing.T, d walker, jobs ...string) {
	t.Helper()
	for _, job := range jobs {
		if _, err := d.Start(t.Context(), admin, job); err != nil {
			t.Fatal(err)
		}
	}
}

func running(run store.Run) bool { return run.State == store.RunRunning }
func done(run store.Run) bool    { return run.State == store.RunDone }

// mute is a server on loopback that takes connections and says nothing. It tells
// how many have come.
func mute(t *testing.T) (address string, came *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	came = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return listener.Addr().String(), came
}

// Two looks that wait for endpoints that never answer hold up neither each other
// nor a quick one, can be turned one by one, and stop with the process.
func TestSlowLooksHoldNobodyUp(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	left, cameLeft := mute(t)
	right, cameRight := mute(t)
	slow := map[string]string{"timeout": "10m"}
	d := together(t, newGate(t, db), db, 3, "node", time.Now, []discovery.Job{
		{Name: "left", Driver: "tls", Targets: []string{left}, Options: slow},
		{Name: "right", Driver: "tls", Targets: []string{right}, Options: slow},
		{Name: "quick", Driver: "estate", Targets: []string{"all"}},
	}, tls.Driver(), (&estate{keys: []string{"a"}}).driver())
	ask(t, d, "left", "right", "quick")
	awaitJob(t, db, "quick", "done", done)
	one := awaitJob(t, db, "left", "running", func(run store.Run) bool { return running(run) && cameLeft.Load() == 1 })
	other := awaitJob(t, db, "right", "running", func(run store.Run) bool { return running(run) && cameRight.Load() == 1 })
	if err := d.Pause(t.Context(), admin, one.ID); err != nil {
		t.Fatal(err)
	}
	ask(t, d, "quick") // and while one of them is paused
	awaitJob(t, db, "quick", "done again", done)
	if run := awaitJob(t, db, "left", "paused", paused); run.ID != one.ID {
		t.Errorf("run %d goes on beside the paused %d", run.ID, one.ID)
	}
	if run := awaitJob(t, db, "right", "running", running); run.ID != other.ID || cameRight.Load() != 1 {
		t.Errorf("the other look began again: %+v", run)
	}
	if err := d.Resume(t.Context(), admin, one.ID); err != nil {
		t.Fatal(err)
	}
	awaitJob(t, db, "left", "running again", func(run store.Run) bool { return running(run) && cameLeft.Load() == 2 })
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("two looks took %s to stop", took)
	}
	for _, job := range []string{"left", "right"} {
		if run := awaitJob(t, db, job, "given back", func(run store.Run) bool { return run.State == store.RunWaiting }); run.Attempt != 0 {
			t.Errorf("%s was given back as %+v", job, run)
		}
	}
}

// When a process is killed with two looks under way, the next takes up both
// where they stood.
func TestTwoKilledLooksGoOn(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		doomed, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		db := storetest.Open(t, url)
		g := newGate(t, db)
		roads := map[string]*road{"near": {length: 20, stopAt: 12}, "far": {length: 20, stopAt: 7}}
		jobs := []discovery.Job{{Name: "near", Driver: "near"}, {Name: "far", Driver: "far"}}
		drivers := []driver.Driver{
			driver.New("near", "milestones", func(struct{}) (*road, error) { return roads["near"], nil }),
			driver.New("far", "milestones", func(struct{}) (*road, error) { return roads["far"], nil }),
		}
		first := together(t, g, doomed, 4, "first", time.Now, jobs, drivers...)
		ask(t, first, "near", "far")
		awaitJob(t, db, "near", "under way", func(run store.Run) bool { return run.Position != "" && run.Done == 12 })
		awaitJob(t, db, "far", "under way", func(run store.Run) bool { return run.Position != "" && run.Done == 7 })
		if err := doomed.Close(); err != nil { // as if it were killed: it can say nothing more
			t.Fatal(err)
		}
		first.stop()
		roads["near"].stopAt, roads["far"].stopAt = 0, 0
		together(t, g, db, 4, "second", func() time.Time { return time.Now().Add(time.Minute) }, jobs, drivers...)
		for job, stood := range map[string]string{"near": "12", "far": "7"} {
			run := awaitJob(t, db, job, "over", ended)
			if run.State != store.RunDone || run.Attempt != 2 || run.Sightings != 16 || run.Misses != 4 || run.Appeared != 16 {
				t.Errorf("%s ended as %+v", job, run)
			}
			if diff := cmp.Diff([]string{"", stood}, roads[job].resumed); diff != "" {
				t.Errorf("%s began at (-want +got):\n%s", job, diff)
			}
		}
	})
}

// Looks that see the same, and that end the same, count right.
func TestLooksThatSeeTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var jobs []discovery.Job
		var drivers []driver.Driver
		estates := map[string]*estate{"a": {}, "b": {}, "c": {}, "d": {}}
		for name, e := range estates {
			for n := range 600 {
				e.keys = append(e.keys, fmt.Sprint((n*7919+int(name[0])*131)%600)) // each in an order of its own
			}
			jobs = append(jobs, discovery.Job{Name: name, Driver: name})
			drivers = append(drivers, driver.New(name, "the same", func(struct{}) (*estate, error) { return e, nil }))
		}
		d := together(t, newGate(t, db), db, 4, "node", time.Now, jobs, drivers...)
		ask(t, d, "a", "b", "c", "d")
		for name := range estates {
			if run := awaitJob(t, db, name, "over", ended); run.State != store.RunDone || run.Sightings != 600 || run.Appeared != 600 {
				t.Errorf("%s ended as %+v", name, run)
			}
		}
		if n := credentials(t, db); n != 600 {
			t.Errorf("%d credentials, want 600", n)
		}
		for _, e := range estates {
			e.mu.Lock()
			e.keys = e.keys[:0]
			for n := range 150 {
				e.keys = append(e.keys, fmt.Sprint(n))
			}
			e.mu.Unlock()
		}
		ask(t, d, "a", "b", "c", "d")
		for name := range estates {
			if run := awaitJob(t, db, name, "over again", func(run store.Run) bool { return run.Ended() && run.Sightings != 600 }); run.State != store.RunDone || run.Vanished != 450 {
				t.Errorf("%s ended as %+v", name, run)
			}
		}
		if n, err := db.CountCredentials(t.Context(), store.CredentialFilter{}); n != 150 || err != nil {
			t.Errorf("%d credentials are left, %v; want 150", n, err)
		}
	})
}

// A gang is a driver whose looks last until the test lets them go, and heed
// nobody else.
type gang struct {
	now, most atomic.Int64 // looks that go on
	let       chan struct{}
}

func (g *gang) Find(context.Context, driver.FindRequest, driver.Sink) error {
	now := g.now.Add(1)
	g.most.Store(max(g.most.Load(), now))
	<-g.let
	g.now.Add(-1)
	return nil
}

func (g *gang) driver() driver.Driver {
	return driver.New("gang", "what the test lets go", func(struct{}) (*gang, error) { return g, nil })
}

// However slowly a cancelled look comes to rest, the next one of its job waits.
func TestAJobNeverLooksTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		slow := &gang{let: make(chan struct{})}
		d := together(t, newGate(t, db), db, 4, "node", time.Now, []discovery.Job{{Name: "job", Driver: "gang"}}, slow.driver())
		ask(t, d, "job")
		first := await(t, db, "running", running)
		if err := d.Cancel(t.Context(), admin, first.ID); err != nil {
			t.Fatal(err)
		}
		ask(t, d, "job")
		time.Sleep(5 * time.Minute)
		second := await(t, db, "waiting", func(run store.Run) bool { return run.ID != first.ID })
		if second.State != store.RunWaiting || slow.most.Load() != 1 {
			t.Errorf("%d looks at once, the second is %s", slow.most.Load(), second.State)
		}
		slow.let <- struct{}{}
		await(t, db, "running", func(run store.Run) bool { return run.ID == second.ID && running(run) })
		close(slow.let)
		await(t, db, "done", done)
		d.stop()
	})
}

// No more go on than may, and those that wait begin in the order in which they
// were asked for.
func TestLooksWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		slow := &gang{let: make(chan struct{})}
		var jobs []discovery.Job
		names := []string{"e", "d", "c", "b", "a"}
		for _, name := range names {
			jobs = append(jobs, discovery.Job{Name: name, Driver: "gang"})
		}
		d := together(t, newGate(t, db), db, 2, "node", time.Now, jobs, slow.driver())
		for _, name := range names {
			ask(t, d, name)
			time.Sleep(time.Second)
		}
		for begun := 2; begun < len(names); begun++ {
			slow.let <- struct{}{}
			time.Sleep(time.Second)
			for i, name := range names {
				if run := awaitJob(t, db, name, "there", func(store.Run) bool { return true }); run.Started.IsZero() != (i > begun) {
					t.Errorf("with %d that may have begun, %s is %s", begun+1, name, run.State)
				}
			}
		}
		close(slow.let)
		for _, name := range names {
			awaitJob(t, db, name, "done", done)
		}
		if most := slow.most.Load(); most != 2 {
			t.Errorf("%d looks at once, want 2", most)
		}
		d.stop()
	})
}

// A caller is a driver that asks one host as often as it may, without dialling.
type caller struct{ times int }

func (c caller) Find(ctx context.Context, _ driver.FindRequest, _ driver.Sink) error {
	limits := network.NewLimits(0, 10)
	for range c.times {
		if err := limits.Wait(ctx, netip.MustParseAddr("192.0.2.1")); err != nil {
			return err
		}
	}
	return nil
}

// Two looks at one host are together no more to it than one.
func TestLooksShareTheirHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		calling := driver.New("caller", "one host", func(struct{}) (caller, error) { return caller{100}, nil })
		d := together(t, newGate(t, db), db, 2, "node", time.Now, []discovery.Job{{Name: "a", Driver: "caller"}, {Name: "b", Driver: "caller"}}, calling)
		ask(t, d, "a", "b")
		one, other := awaitJob(t, db, "a", "done", done), awaitJob(t, db, "b", "done", done)
		first, last := one.Started, one.Finished
		if other.Started.Before(first) {
			first = other.Started
		}
		if other.Finished.After(last) {
			last = other.Finished
		}
		// 200 connections at 10 a second, of which the first 10 begin at once.
		if took := last.Sub(first); took < 18900*time.Millisecond || took > 21*time.Second {
			t.Errorf("both took %s, want 19s", took)
		}
		d.stop()
	})
}

// A panic in one look takes no other along.
func TestAPanicTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		bad := &estate{keys: []string{"a"}}
		bad.midst = func(context.Context, int, driver.Sink) error { panic("at the first") }
		good := &gang{let: make(chan struct{})}
		d := together(t, newGate(t, db), db, 2, "node", time.Now, []discovery.Job{{Name: "bad", Driver: "estate"}, {Name: "good", Driver: "gang"}}, bad.driver(), good.driver())
		ask(t, d, "good", "bad")
		time.Sleep(3 * time.Minute) // for the leases of those who die of it
		run := awaitJob(t, db, "bad", "given up", ended)
		if run.State != store.RunFailed {
			t.Errorf("the look that panics ended as %s", run.State)
		}
		if run := awaitJob(t, db, "good", "running", running); run.Attempt != 1 {
			t.Errorf("the other one began %d times", run.Attempt)
		}
		close(good.let)
		awaitJob(t, db, "good", "done", done)
		d.stop()
	})
}

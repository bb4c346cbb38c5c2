// SPDX-License-Identifier: Apache-2.0

package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// A road is a driver that walks from milestone to milestone, tells where it is,
// and can go on from there. At every fifth it sees nothing.
type road struct {
	mu      sync.Mutex
	length  int
	home    string   // where the audit log has its key, once there is a process
	stopAt  int      // where it waits for the end of the look; 0 is nowhere
	resumed []string // guarded by mu; the positions that looks began at
	walked  []int    // guarded by mu; milestones that were passed
}

func (r *road) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resumed = append(r.resumed, request.Resume)
	begin, _ := strconv.Atoi(request.Resume)
	for n := begin + 1; n <= r.length; n++ {
		r.walked = append(r.walked, n)
		var err error
		place := tallystick.TLSPlace(fmt.Sprintf("10.0.0.%d:443", n))
		if n%5 == 0 {
			err = sink.Missed(tallystick.Miss{Place: place, Error: "timeout", Seen: request.Now()})
		} else {
			raw := fmt.Appendf(nil, "milestone %d", n)
			err = sink.Saw(tallystick.Sighting{
				Credential: tallystick.Credential{ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindKey, Raw: raw},
				Place:      place, Role: tallystick.RolePresents, Seen: request.Now(),
			})
		}
		if err != nil {
			return err
		}
		sink.Progress(int64(n), int64(r.length))
		if err := sink.(driver.Checkpointer).Checkpoint(strconv.Itoa(n)); err != nil {
			return err
		}
		if n == r.stopAt {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	return nil
}

// A walker is a discovery over a road, in a process of its own.
type walker struct {
	*discovery.Discovery
	stop func() // and wait until it has stopped
}

// options of a road, of which one is a secret.
type roadOptions struct {
	Gait string        `option:"gait" help:"how to walk"`
	Word driver.Secret `option:"word" help:"what opens the gates"`
}

func (r *road) driver() driver.Driver {
	return driver.New("road", "milestones", func(roadOptions) (*road, error) { return r, nil })
}

// walk starts a process; now is its clock.
func walk(t *testing.T, db *store.DB, r *road, node string, now func() time.Time, options map[string]string) walker {
	t.Helper()
	if r.home == "" {
		r.home = t.TempDir()
	}
	log, err := audit.Open(t.Context(), db, filepath.Join(r.home, "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.New(discovery.Config{
		DB: db, Gate: gate.New(log, now), Now: now, Node: node, Changed: func(bool) {},
		Jobs:    []discovery.Job{{Name: "job", Driver: "road", Targets: []string{"all"}, Options: options, Every: time.Hour}},
		Drivers: []driver.Driver{r.driver()},
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

// await waits until the newest run is as it should be.
func await(t *testing.T, db *store.DB, what string, ok func(store.Run) bool) store.Run {
	t.Helper()
	return awaitJob(t, db, "job", what, ok)
}

// awaitJob is await for one of several jobs.
func awaitJob(t *testing.T, db *store.DB, job, what string, ok func(store.Run) bool) store.Run {
	t.Helper()
	var run store.Run
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		runs, err := db.Runs(t.Context(), job, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) > 0 {
			if run = runs[0]; ok(run) {
				return run
			}
		}
	}
	t.Fatalf("the run of %s is not %s: %+v", job, what, run)
	return run
}

func ended(run store.Run) bool  { return run.Ended() }
func paused(run store.Run) bool { return run.State == store.RunPaused }

// arrived checks that a run came to its end, and what it knows of its way.
func arrived(t *testing.T, db *store.DB, run store.Run) {
	t.Helper()
	if run.State != store.RunDone || run.Sightings != 16 || run.Misses != 4 || run.Missed["timeout"] != 4 || run.Done != 20 || run.Position != "" {
		t.Errorf("the run ended as %+v", run)
	}
	if run.Appeared != 16 || run.Changes == nil || run.Changes.New != 16 || run.Changes.Gone != 0 {
		t.Errorf("it changed %d, %+v", run.Appeared, run.Changes)
	}
	misses, err := db.Misses(t.Context(), run.ID, store.MissFilter{}, "", 100)
	if err != nil || len(misses) != 4 {
		t.Errorf("%d misses are listed, %v", len(misses), err)
	}
	if n, err := db.CountCredentials(t.Context(), store.CredentialFilter{}); n != 16 || err != nil {
		t.Errorf("%d credentials, %v", n, err)
	}
}

// The next process goes on where a killed one stood: nothing that was reported
// is lost, asked for again, or taken for gone.
func TestAKilledLookGoesOnWhereItStood(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		r := &road{length: 20, stopAt: 12}
		doomed, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		first := walk(t, doomed, r, "first", time.Now, nil)
		db := storetest.Open(t, url)
		await(t, db, "under way", func(run store.Run) bool { return run.Position != "" && run.Done == 12 })
		if err := doomed.Close(); err != nil { // as if it were killed: it can say nothing more
			t.Fatal(err)
		}
		first.stop()
		r.stopAt = 0
		walk(t, db, r, "second", func() time.Time { return time.Now().Add(time.Minute) }, nil) // when the lease has run out
		run := await(t, db, "over", ended)
		arrived(t, db, run)
		if diff := cmp.Diff([]string{"", "12"}, r.resumed); diff != "" || len(r.walked) != 20 || run.Attempt != 2 {
			t.Errorf("%d milestones in %d attempts, which began at (-want +got):\n%s", len(r.walked), run.Attempt, diff)
		}
	})
}

func TestAPausedLookGoesOnWhenAsked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := &road{length: 20, stopAt: 12}
		first := walk(t, db, r, "first", time.Now, nil)
		run := await(t, db, "under way", func(run store.Run) bool { return run.State == store.RunRunning })
		if err := first.Pause(t.Context(), admin, run.ID); err != nil {
			t.Fatal(err)
		}
		run = await(t, db, "parked", func(run store.Run) bool { return paused(run) && run.Done == 12 })
		if run.Attempt != 0 || run.Sightings != 10 {
			t.Errorf("it is parked as %+v", run)
		}
		if err := first.Pause(t.Context(), admin, run.ID); err != nil {
			t.Errorf("pausing what is paused: %v", err)
		}
		if again, err := first.Start(t.Context(), admin, "job"); err != nil || again.ID != run.ID || !paused(again) {
			t.Errorf("a start beside it gives %+v, %v", again, err)
		}
		first.stop()
		r.stopAt = 0
		// It stays so over a restart, and hours later its schedule asks for no second run.
		second := walk(t, db, r, "second", func() time.Time { return time.Now().Add(5 * time.Hour) }, nil)
		time.Sleep(200 * time.Millisecond)
		if now := await(t, db, "still paused", paused); now.ID != run.ID {
			t.Errorf("run %d was queued beside %d", now.ID, run.ID)
		}
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer, Via: "test"}
		if err := second.Resume(t.Context(), viewer, run.ID); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer resumes a run: %v", err)
		}
		if err := second.Resume(t.Context(), admin, run.ID); err != nil {
			t.Fatal(err)
		}
		await(t, db, "over", func(now store.Run) bool { return now.ID != run.ID || now.Ended() })
		if run, err := db.Run(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		} else {
			arrived(t, db, run)
		}
		if len(r.resumed) < 2 || r.resumed[1] != "12" {
			t.Errorf("the looks began at %q", r.resumed)
		}
		for what, turn := range map[string]func(context.Context, gate.Actor, int64) error{"pause": second.Pause, "resume": second.Resume, "cancel": second.Cancel} {
			if err := turn(t.Context(), admin, run.ID); !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("%s of what has ended: %v", what, err)
			}
			if err := turn(t.Context(), admin, 1e9); !errors.Is(err, tallystick.ErrNotFound) {
				t.Errorf("%s of what is not there: %v", what, err)
			}
		}
	})
}

// A position is for the targets and options that it was told for; a secret is
// not part of that, because it must not be guessed from what is stored.
func TestAPositionOfAnotherPlanIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		then  map[string]string
		begin string
	}{
		"same":    {map[string]string{"gait": "slow", "word": "sesame"}, "12"},
		"secret":  {map[string]string{"gait": "slow", "word": "open"}, "12"},
		"another": {map[string]string{"gait": "fast"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
			r := &road{length: 20, stopAt: 12}
			first := walk(t, db, r, "first", time.Now, map[string]string{"gait": "slow", "word": "sesame"})
			run := await(t, db, "under way", func(run store.Run) bool { return run.State == store.RunRunning })
			if err := first.Pause(t.Context(), admin, run.ID); err != nil {
				t.Fatal(err)
			}
			await(t, db, "parked", func(run store.Run) bool { return run.Done == 12 })
			first.stop()
			r.stopAt = 0
			second := walk(t, db, r, "second", time.Now, c.then)
			if err := second.Resume(t.Context(), admin, run.ID); err != nil {
				t.Fatal(err)
			}
			arrived(t, db, await(t, db, "over", ended))
			if len(r.resumed) != 2 || r.resumed[1] != c.begin {
				t.Errorf("the looks began at %q, want the second at %q", r.resumed, c.begin)
			}
		})
	}
}

// A look tells how fast it goes and when it ends by that.
func TestALookTellsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
		e := &estate{}
		for n := range 600 {
			e.keys = append(e.keys, fmt.Sprint(n))
		}
		var seen store.Run
		d := start(t, db, e, "node")
		e.midst = func(ctx context.Context, n int, _ driver.Sink) error {
			time.Sleep(100 * time.Millisecond)
			if n == 300 {
				runs, err := d.Runs(ctx, admin, "job", 0, 1)
				if err != nil {
					return err
				}
				seen = runs[0]
			}
			return nil
		}
		if _, err := d.Start(t.Context(), admin, "job"); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		began := time.Now()
		_ = d.Run(ctx, func(err error) { t.Error(err) })
		if seen.Rate < 9 || seen.Rate > 11 || seen.Total != 600 {
			t.Errorf("half way it said %+v", seen)
		}
		if left := seen.Expected.Sub(began); left < 55*time.Second || left > 65*time.Second {
			t.Errorf("it expected to end after %s, not after a minute", left)
		}
	})
}

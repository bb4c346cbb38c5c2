// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// begin queues and claims a run of a source.
func begin(t *testing.T, db *store.DB, source, node string, now time.Time) store.Run {
	t.Helper()
	if _, err := db.AddRun(t.Context(), store.Run{Source: source, Driver: "tls", Targets: []string{"10.0.0.0/24"}, Requested: "test", Queued: now}); err != nil {
		t.Fatal(err)
	}
	run, err := db.ClaimRun(t.Context(), node, now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// What a node says of its run comes back whole, to whoever goes on with it.
func TestARunKeepsHowFarItCame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		run := begin(t, db, "front-ends", "a", noon)
		run.Done, run.Total, run.Sightings, run.Misses, run.Appeared = 40, 100, 30, 10, 5
		run.Position, run.Missed, run.Rate, run.Expected = "plan 40", map[string]int64{"timeout": 9, "refused": 1}, 2.5, noon.Add(24*time.Second)
		if err := db.RenewRun(t.Context(), run, noon.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		got, err := db.Run(t.Context(), run.ID)
		if diff := cmp.Diff(run, got); diff != "" || err != nil {
			t.Errorf("as it was renewed (-want +got), %v:\n%s", err, diff)
		}
		taken, err := db.ClaimRun(t.Context(), "b", noon.Add(2*time.Minute), time.Minute)
		if err != nil || taken.ID != run.ID || taken.Position != "plan 40" || taken.Missed["timeout"] != 9 || taken.Attempt != 2 {
			t.Errorf("as it is taken over: %+v, %v", taken, err)
		}
		if err := db.RenewRun(t.Context(), run, noon.Add(time.Hour)); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("the first node renews what another one has: %v", err)
		}
	})
}

// The run that was asked for first is claimed first, whatever its number, unless
// its source is busy.
func TestRunsAreClaimedInTheirOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for n, source := range []string{"third", "second", "first"} {
			if _, err := db.AddRun(t.Context(), store.Run{Source: source, Queued: noon.Add(-time.Duration(n) * time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, busy := range [][]string{{"first", "none"}, nil, {"first", "second", "third"}, {"first", "second"}} {
			run, err := db.ClaimRun(t.Context(), "a", noon, time.Minute, busy...)
			if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
				t.Fatal(err)
			}
			got = append(got, run.Source)
		}
		if diff := cmp.Diff([]string{"second", "first", "", "third"}, got); diff != "" {
			t.Errorf("claimed (-want +got):\n%s", diff)
		}
	})
}

func TestARunIsPaused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		run := begin(t, db, "front-ends", "a", noon)
		if err := db.PauseRun(ctx, run.ID); err != nil {
			t.Fatal(err)
		}
		if err := db.RenewRun(ctx, run, noon.Add(time.Minute)); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("a node renews what is paused: %v", err)
		}
		run.Position, run.Done = "plan 7", 7
		if err := db.ParkRun(ctx, run); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ClaimRun(ctx, "b", noon.Add(time.Hour), time.Minute); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("what is paused is claimed: %v", err)
		}
		if beside, err := db.AddRun(ctx, store.Run{Source: "front-ends", Queued: noon.Add(time.Hour)}); err != nil || beside.ID != run.ID {
			t.Errorf("run %d is queued beside it, %v", beside.ID, err)
		}
		last, err := db.LastRuns(ctx)
		if diff := cmp.Diff(map[string]store.LastRun{"front-ends": {Queued: noon, Open: true, Driver: run.Driver, Targets: run.Targets}}, last, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("the schedule is told (-want +got), %v:\n%s", err, diff)
		}
		if err := db.ResumeRun(ctx, run.ID); err != nil {
			t.Fatal(err)
		}
		again, err := db.ClaimRun(ctx, "b", noon.Add(time.Hour), time.Minute)
		if err != nil || again.ID != run.ID || again.Position != "plan 7" || again.Done != 7 || again.Attempt != 1 {
			t.Errorf("it goes on as %+v, %v", again, err)
		}
		if err := db.ParkRun(ctx, run); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("the first node parks what another one has: %v", err)
		}
		if err := db.PauseRun(ctx, run.ID); err != nil {
			t.Fatal(err)
		}
		if err := db.CancelRun(ctx, run.ID, noon); err != nil {
			t.Errorf("what is paused cannot be cancelled: %v", err)
		}
		for what, err := range map[string]error{"pause": db.PauseRun(ctx, run.ID), "resume": db.ResumeRun(ctx, run.ID)} {
			if !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("%s of what has ended: %v", what, err)
			}
		}
	})
}

// The history does not grow for ever: of a job the newest hundred runs stay, and
// those that changed something.
func TestOldRunsAreForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		other := begin(t, db, "other", "a", noon)
		other.State = store.RunDone
		if err := db.FinishRun(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		var changed int64
		var run store.Run
		for n := range 130 {
			run = begin(t, db, "front-ends", "a", noon.Add(time.Duration(n)*time.Hour))
			run.State, run.Misses = store.RunDone, 1
			run.Changes = &store.ChangeCounts{}
			if n == 3 {
				run.Changes.Renewed, changed = 1, run.ID
			}
			miss := tallystick.Miss{Place: "tls://10.0.0.1:443", Error: "timeout", Seen: noon}
			if _, err := db.Record(t.Context(), store.Batch{Run: run.ID, Source: "front-ends", Misses: []tallystick.Miss{miss}}); err != nil {
				t.Fatal(err)
			}
			if err := db.FinishRun(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Forget(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		runs, err := db.Runs(t.Context(), "front-ends", 0, 1000)
		if err != nil || len(runs) != 101 || runs[100].ID != changed || runs[100].Changes.Renewed != 1 {
			t.Errorf("%d runs are left, %v", len(runs), err)
		}
		for i, want := range map[int]int{0: 1, 9: 1, 10: 0} {
			if misses, err := db.Misses(t.Context(), runs[i].ID, store.MissFilter{}, "", 10); err != nil || len(misses) != want {
				t.Errorf("of the run %d before the last, %d misses are listed, %v", i, len(misses), err)
			}
		}
		if _, err := db.Run(t.Context(), other.ID); err != nil {
			t.Errorf("a run of another job is gone: %v", err)
		}
	})
}

func TestOldFactsAreForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := sighting(1, "file:///a.pem", noon)
		var run store.Run
		for n := range 30 {
			s.Seen = noon.Add(time.Duration(n) * time.Hour)
			s.File = &tallystick.FileFacts{Format: "pem", Owner: fmt.Sprint("owner ", n)}
			run, _ = look(t, db, s.Seen, []tallystick.Sighting{s})
			if err := db.Forget(t.Context(), run); err != nil {
				t.Fatal(err)
			}
		}
		past, err := store.PastFacts(t.Context(), db, s.Credential.ID, 100)
		if err != nil || len(past) != 20 || past[0].File.Owner != "owner 28" || past[19].File.Owner != "owner 9" {
			t.Errorf("%d facts are left, %v", len(past), err)
		}
	})
}

func TestMissesAreListedByReasonAndNetwork(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var misses []tallystick.Miss
		for n := range 9 {
			misses = append(misses, tallystick.Miss{
				Place: tallystick.Place(fmt.Sprintf("tls://10.0.%d.%d:443", n%3, n)), Error: []string{"timeout", "refused"}[n%2], Seen: noon,
			})
		}
		run, _ := look(t, db, noon, nil, misses...)
		counts, err := db.CountMisses(t.Context(), run.ID)
		if diff := cmp.Diff(map[string]int64{"timeout": 5, "refused": 4}, counts); diff != "" || err != nil {
			t.Errorf("the numbers (-want +got), %v:\n%s", err, diff)
		}
		list, err := db.Misses(t.Context(), run.ID, store.MissFilter{Word: "timeout", Network: "10.0.0.0/24"}, "", 10)
		if err != nil || len(list) != 2 || list[0].Place != "tls://10.0.0.0:443" || list[1].Place != "tls://10.0.0.6:443" {
			t.Errorf("%+v, %v", list, err)
		}
		list, err = db.Misses(t.Context(), run.ID, store.MissFilter{Word: "timeout"}, "tls://10.0.1.4:443", 1)
		if err != nil || len(list) != 1 || list[0].Place != "tls://10.0.2.2:443" {
			t.Errorf("after one: %+v, %v", list, err)
		}
		if _, err := db.Misses(t.Context(), run.ID, store.MissFilter{Network: "10.0.0.0/8"}, "", 1); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("what is no network: %v", err)
		}
	})
}

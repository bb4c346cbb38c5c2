// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// onPostgres runs a test where several write at a time, with a connection besides those of the store.
func onPostgres(t *testing.T, test func(t *testing.T, r *recaller, raw *sql.DB)) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		if !strings.HasPrefix(url, "postgres") {
			return // on SQLite one writes at a time
		}
		raw, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		test(t, &recaller{t, storetest.Open(t, url), noon}, raw)
	})
}

// awaitWaiting returns when n transactions wait for others.
func awaitWaiting(t *testing.T, raw *sql.DB, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var waiting int
		if err := raw.QueryRow(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting >= n {
			return
		}
	}
	t.Fatalf("there are never %d that wait", n)
}

// A block ends while holds are given up: what proves it must not wait for it any more.
func TestAStepEndsWhileHoldsAreGivenUp(t *testing.T) {
	onPostgres(t, func(t *testing.T, r *recaller, raw *sql.DB) {
		p := aPlan("one", 1)
		one := r.begin(p)
		for range 2 { // the key, and that it is trusted
			r.finish(r.claim("a", 10)[0], "{}")
		}
		block, at := r.claim("a", 10)[0], p.Recall.Deadline.Add(time.Second)
		if met, err := r.db.MeetDeadline(t.Context(), one.ID, at); err != nil || !met || block.Act != tallystick.ActBlock {
			t.Fatalf("met %v, %v, with %s under way", met, err, block.Act)
		}
		tx, err := raw.Begin()
		r.must(err)
		defer tx.Rollback() // after its commit it does nothing
		for _, change := range []string{
			`UPDATE recall_steps SET state = 'done', owner = '' WHERE id = $1`,
			`UPDATE recall_steps SET state = 'ready', waits = waits - 1 WHERE state = 'waiting' AND waits = 1 AND id IN (SELECT behind FROM recall_after WHERE step_id = $1)`,
		} {
			_, err := tx.Exec(change, block.ID)
			r.must(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.db.GiveUpHolds(t.Context(), one.ID, at, at.Add(time.Minute)) }()
		awaitWaiting(t, raw, 1)
		r.must(tx.Commit())
		r.must(<-done)
		steps, err := r.db.RecallSteps(t.Context(), one.ID, store.StepFilter{Act: tallystick.ActProve}, 0, 10)
		if err != nil || len(steps) != 1 || steps[0].State != tallystick.StepReady || steps[0].Waits != 0 {
			t.Errorf("the proof is %+v, %v", steps, err)
		}
	})
}

// A canary fails while the deadline acts: the recall goes on, because the old one must be blocked.
func TestAFailureStopsNoRecallWhoseDeadlineActs(t *testing.T) {
	onPostgres(t, func(t *testing.T, r *recaller, raw *sql.DB) {
		p := aPlan("one", 4)
		one := r.begin(p)
		r.finish(r.claim("a", 10)[0], "{}") // the key
		failing := r.claim("a", 10)[0]
		tx, err := raw.Begin()
		r.must(err)
		defer tx.Rollback() // after its commit it does nothing
		_, err = tx.Exec(`SELECT 1 FROM recalls WHERE id = $1 FOR UPDATE`, one.ID)
		r.must(err)
		at := p.Recall.Deadline.Add(time.Second)
		done := make(chan error, 2)
		go func() { _, err := r.db.MeetDeadline(t.Context(), one.ID, at); done <- err }()
		awaitWaiting(t, raw, 1)
		go func() {
			s := failing.RecallStepRow
			s.Failures, s.Error = 5, "no"
			done <- r.db.FailRecallStep(t.Context(), s, store.StepOutcome{At: at}, "")
		}()
		awaitWaiting(t, raw, 2)
		r.must(tx.Commit())
		<-done // which of the two comes second may find that the step is no longer its own
		<-done
		if row, err := r.db.Recall(t.Context(), one.ID); err != nil || row.State != tallystick.RecallRunning || row.Blocked.IsZero() {
			t.Errorf("it is %s (%s), blocked at %s, %v", row.State, row.Reason, row.Blocked, err)
		}
	})
}

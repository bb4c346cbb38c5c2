// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/tallystick/tallystick"
)

// The states of a run.
const (
	RunWaiting   = "waiting"
	RunRunning   = "running"
	RunDone      = "done"
	RunFailed    = "failed"
	RunCancelled = "cancelled"
)

// A Run is one look of a driver at its targets. A run that a killed process
// left running is taken up by the next process that finds its lease expired.
type Run struct {
	ID        int64     `json:"id"`
	Source    string    `json:"source"` // the job it belongs to
	Driver    string    `json:"driver"`
	Targets   []string  `json:"targets"`
	Requested string    `json:"requested_by"`
	State     string    `json:"state"`
	Queued    time.Time `json:"queued"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
	Attempt   int64     `json:"attempt"`
	Node      string    `json:"node,omitempty"`
	Done      int64     `json:"done"`
	Total     int64     `json:"total"`
	Sightings int64     `json:"sightings"`
	Misses    int64     `json:"misses"`
	Appeared  int64     `json:"appeared"`
	Vanished  int64     `json:"vanished"`
	Error     string    `json:"error,omitempty"`
}

const runColumns = `id, source, driver, targets, requested, state, queued, started, finished, attempt, node,
	done, total, sightings, misses, appeared, vanished, error`

func scanRun(row scanner) (Run, error) {
	var r Run
	var targets string
	var queued, started, finished int64
	err := row.Scan(&r.ID, &r.Source, &r.Driver, &targets, &r.Requested, &r.State, &queued, &started, &finished,
		&r.Attempt, &r.Node, &r.Done, &r.Total, &r.Sightings, &r.Misses, &r.Appeared, &r.Vanished, &r.Error)
	if err != nil {
		return r, err
	}
	r.Queued, r.Started, r.Finished = timeOf(queued), timeOf(started), timeOf(finished)
	return r, json.Unmarshal([]byte(targets), &r.Targets)
}

// AddRun queues a run and returns it. When the source has one that is waiting
// or running already, that one is returned: two looks at once see no more.
func (db *DB) AddRun(ctx context.Context, r Run) (Run, error) {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return r, err
	}
	err = db.tx(ctx, func(tx *writing) error {
		const pending = `SELECT ` + runColumns + ` FROM runs WHERE source = $1 AND state IN ('waiting', 'running') ORDER BY id LIMIT 1`
		found, err := scanRun(tx.QueryRowContext(ctx, pending, r.Source))
		if err == nil {
			r = found
			return nil
		}
		if err != sql.ErrNoRows {
			return err
		}
		r.ID, r.State = id, RunWaiting
		const insert = `INSERT INTO runs (id, source, driver, targets, requested, state, queued) VALUES ($1, $2, $3, $4, $5, $6, $7)`
		_, err = tx.ExecContext(ctx, insert, r.ID, r.Source, r.Driver, stringsText(r.Targets), r.Requested, r.State, micros(r.Queued))
		return err
	})
	return r, db.wrap("couldn't queue the run", err)
}

// ClaimRun takes the oldest run that waits, or whose node stopped renewing its
// lease, for a node and for a time. A lease that ends later than any that is
// given now was given by a clock that was wrong, and has run out as well. It
// returns ErrNotFound when there is no such run.
func (db *DB) ClaimRun(ctx context.Context, node string, now time.Time, lease time.Duration) (Run, error) {
	var r Run
	err := db.tx(ctx, func(tx *writing) error {
		pick := `SELECT id FROM runs WHERE state = 'waiting' OR (state = 'running' AND (lease_until < $1 OR lease_until > $2))
			ORDER BY id LIMIT 1` + db.engine.locking()
		var id int64
		if err := tx.QueryRowContext(ctx, pick, micros(now), micros(now.Add(2*lease))).Scan(&id); err != nil {
			return err
		}
		const claim = `UPDATE runs SET state = 'running', node = $1, lease_until = $2, attempt = attempt + 1,
			started = CASE WHEN started = 0 THEN $3 ELSE started END WHERE id = $4 RETURNING ` + runColumns
		var err error
		r, err = scanRun(tx.QueryRowContext(ctx, claim, node, micros(now.Add(lease)), micros(now), id))
		return err
	})
	return r, db.wrap("couldn't claim a run", err)
}

// RenewRun keeps the claim on a run, with its numbers so far. It is
// ErrConflict when the run is no longer the node's: cancelled, or taken over.
func (db *DB) RenewRun(ctx context.Context, r Run, until time.Time) error {
	const query = `UPDATE runs SET lease_until = $1, done = $2, total = $3, sightings = $4, misses = $5, appeared = $6
		WHERE id = $7 AND node = $8 AND attempt = $9 AND state = 'running'`
	return db.ownRun(ctx, "couldn't renew the run", query, micros(until), r.Done, r.Total, r.Sightings, r.Misses, r.Appeared, r.ID, r.Node, r.Attempt)
}

// FinishRun ends a run in r.State with its numbers. It is ErrConflict when the
// run is no longer the node's.
func (db *DB) FinishRun(ctx context.Context, r Run) error {
	const query = `UPDATE runs SET state = $1, finished = $2, done = $3, total = $4, sightings = $5, misses = $6, appeared = $7,
		vanished = $8, error = $9, lease_until = 0 WHERE id = $10 AND node = $11 AND attempt = $12 AND state = 'running'`
	return db.ownRun(ctx, "couldn't finish the run", query, r.State, micros(r.Finished), r.Done, r.Total, r.Sightings, r.Misses,
		r.Appeared, r.Vanished, cleanText(r.Error), r.ID, r.Node, r.Attempt)
}

func (db *DB) ownRun(ctx context.Context, doing, query string, args ...any) error {
	result, err := db.write.ExecContext(ctx, query, args...)
	if err != nil {
		return db.wrap(doing, err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return db.wrap(doing, orConflict(err))
	}
	return nil
}

func orConflict(err error) error {
	if err != nil {
		return err
	}
	return tallystick.ErrConflict
}

// ReleaseRun gives a run back that a node is about to leave undone, so that the
// next one need not wait for the lease and nobody takes it for deadly.
func (db *DB) ReleaseRun(ctx context.Context, r Run) error {
	const query = `UPDATE runs SET state = 'waiting', lease_until = 0, attempt = attempt - 1
		WHERE id = $1 AND node = $2 AND attempt = $3 AND state = 'running'`
	return db.ownRun(ctx, "couldn't give the run back", query, r.ID, r.Node, r.Attempt)
}

// CancelRun cancels a run that has not ended. Its node notices when it renews.
func (db *DB) CancelRun(ctx context.Context, id int64, now time.Time) error {
	const query = `UPDATE runs SET state = 'cancelled', finished = $1 WHERE id = $2 AND state IN ('waiting', 'running')`
	return db.ownRun(ctx, "couldn't cancel the run", query, micros(now), id)
}

// Run returns one run.
func (db *DB) Run(ctx context.Context, id int64) (Run, error) {
	r, err := scanRun(db.read.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id))
	return r, db.wrap("couldn't read the run", err)
}

// Runs returns the newest runs with an id below before, newest first; before 0
// means from the newest.
func (db *DB) Runs(ctx context.Context, before int64, limit int) ([]Run, error) {
	if before <= 0 {
		before = forever
	}
	const query = `SELECT ` + runColumns + ` FROM runs WHERE id < $1 ORDER BY id DESC LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, before, limit)
	return collect(db, "couldn't list the runs", rows, err, func(rows *sql.Rows) (Run, error) { return scanRun(rows) })
}

// LastRuns returns for each source when its last run was queued.
func (db *DB) LastRuns(ctx context.Context) (map[string]time.Time, error) {
	last := map[string]time.Time{}
	rows, err := db.read.QueryContext(ctx, `SELECT source, MAX(queued) FROM runs GROUP BY source`)
	err = each(rows, err, func(rows *sql.Rows) error {
		var source string
		var queued int64
		err := rows.Scan(&source, &queued)
		last[source] = timeOf(queued)
		return err
	})
	return last, db.wrap("couldn't read the last runs", err)
}

// Misses returns where a run could not see, in the order of places after one.
func (db *DB) Misses(ctx context.Context, run int64, after string, limit int) ([]tallystick.Miss, error) {
	const query = `SELECT place, error, detail, seen FROM misses WHERE run_id = $1 AND place > $2 ORDER BY place, error LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, run, after, limit)
	return collect(db, "couldn't list what was missed", rows, err, func(rows *sql.Rows) (tallystick.Miss, error) {
		var m tallystick.Miss
		var seen int64
		err := rows.Scan(&m.Place, &m.Error, &m.Detail, &seen)
		m.Seen = timeOf(seen)
		return m, err
	})
}

// keptRuns is how many runs of a source keep the list of what they missed.
const keptRuns = 10

// ForgetMisses drops what the older runs of a source could not see: every run
// lists the same places again, and nothing else refers to the list.
func (db *DB) ForgetMisses(ctx context.Context, source string) error {
	const query = `DELETE FROM misses WHERE run_id IN (SELECT id FROM runs WHERE source = $1 AND misses > 0
		AND id NOT IN (SELECT id FROM runs WHERE source = $1 ORDER BY id DESC LIMIT $2))`
	_, err := db.write.ExecContext(ctx, query, source, keptRuns)
	return db.wrap("couldn't forget what was missed", err)
}

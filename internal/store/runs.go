// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/tallystick/tallystick"
)

// The states of a run. A run waits until a node claims it, runs, and ends as
// done, failed or cancelled. A person may pause one that waits or runs; it stays
// paused, over restarts too, until a person lets it go on (it waits again) or
// cancels it.
const (
	RunWaiting   = "waiting"
	RunRunning   = "running"
	RunPaused    = "paused"
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

	// Rate is how many units of Done were done in a second lately, and Expected
	// when the run ends by that; both are zero while it is not known.
	Rate     float64          `json:"rate,omitempty"`
	Expected time.Time        `json:"expected,omitzero"`
	Missed   map[string]int64 `json:"missed,omitempty"`  // the misses by their word
	Changes  *ChangeCounts    `json:"changes,omitempty"` // of one that has ended
	// Position is where the run goes on when it is taken up again; "" is at the
	// beginning. Everything that was seen before it is stored.
	Position string `json:"-"`
}

// Ended says whether nothing more comes of the run.
func (r *Run) Ended() bool {
	return r.State == RunDone || r.State == RunFailed || r.State == RunCancelled
}

const runColumns = `id, source, driver, targets, requested, state, queued, started, finished, attempt, node,
	done, total, sightings, misses, appeared, vanished, error, rate, expected, missed, changes, position`

func scanRun(row scanner) (Run, error) {
	var r Run
	var targets, missed, changes string
	var queued, started, finished, expected int64
	err := row.Scan(&r.ID, &r.Source, &r.Driver, &targets, &r.Requested, &r.State, &queued, &started, &finished,
		&r.Attempt, &r.Node, &r.Done, &r.Total, &r.Sightings, &r.Misses, &r.Appeared, &r.Vanished, &r.Error,
		&r.Rate, &expected, &missed, &changes, &r.Position)
	if err != nil {
		return r, err
	}
	r.Queued, r.Started, r.Finished, r.Expected = timeOf(queued), timeOf(started), timeOf(finished), timeOf(expected)
	for _, column := range []struct {
		text string
		into any
	}{{targets, &r.Targets}, {missed, &r.Missed}, {changes, &r.Changes}} {
		if column.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(column.text), column.into); err != nil {
			return r, err
		}
	}
	return r, nil
}

// AddRun queues a run and returns it. When the source has one that has not
// ended, that one is returned: two looks at once see no more, and one that a
// person has paused is theirs to let go on.
func (db *DB) AddRun(ctx context.Context, r Run) (Run, error) {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return r, err
	}
	err = db.tx(ctx, func(tx *writing) error {
		const pending = `SELECT ` + runColumns + ` FROM runs WHERE source = $1 AND state IN ('waiting', 'running', 'paused') ORDER BY id LIMIT 1`
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

// ClaimRun takes the run that was queued first of those that wait, or whose node
// stopped renewing its lease, for a node and for a time. Runs of the sources that
// are busy are left: the node has not let go of the one before. A lease that ends
// later than any that is given now was given by a clock that was wrong, and has run
// out as well. It returns ErrNotFound when there is no such run.
func (db *DB) ClaimRun(ctx context.Context, node string, now time.Time, lease time.Duration, busy ...string) (Run, error) {
	var r Run
	args := []any{micros(now), micros(now.Add(2 * lease))}
	others := ""
	for _, source := range busy {
		args = append(args, source)
		others += " AND source <> $" + itoa(int64(len(args)))
	}
	err := db.tx(ctx, func(tx *writing) error {
		pick := `SELECT id FROM runs WHERE (state = 'waiting' OR (state = 'running' AND (lease_until < $1 OR lease_until > $2)))` + others + `
			ORDER BY queued, id LIMIT 1` + db.engine.locking()
		var id int64
		if err := tx.QueryRowContext(ctx, pick, args...).Scan(&id); err != nil {
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

// progressColumns are the numbers of a run that goes on, and progressOf their values.
const progressColumns = `done = $1, total = $2, sightings = $3, misses = $4, appeared = $5, missed = $6, position = $7`

func progressOf(r Run, more ...any) []any {
	return append([]any{r.Done, r.Total, r.Sightings, r.Misses, r.Appeared, countsText(r.Missed), r.Position}, more...)
}

// countsText is jsonText for numbers by word; none is "".
func countsText(counts map[string]int64) string {
	if len(counts) == 0 {
		return ""
	}
	return jsonText(counts)
}

// RenewRun keeps the claim on a run, with its numbers and its position so far.
// It is ErrConflict when the run is no longer the node's: cancelled, paused or
// taken over.
func (db *DB) RenewRun(ctx context.Context, r Run, until time.Time) error {
	const query = `UPDATE runs SET ` + progressColumns + `, rate = $8, expected = $9, lease_until = $10
		WHERE id = $11 AND node = $12 AND attempt = $13 AND state = 'running'`
	return db.ownRun(ctx, "couldn't renew the run", query, progressOf(r, r.Rate, micros(r.Expected), micros(until), r.ID, r.Node, r.Attempt)...)
}

// FinishRun ends a run in r.State with its numbers. It is ErrConflict when the
// run is no longer the node's.
func (db *DB) FinishRun(ctx context.Context, r Run) error {
	r.Position = ""
	var changes string
	var differences int64
	if r.Changes != nil {
		changes, differences = jsonText(r.Changes), r.Changes.Sum()
	}
	const query = `UPDATE runs SET ` + progressColumns + `, state = $8, finished = $9, vanished = $10, error = $11, changes = $12, differences = $13,
		rate = 0, expected = 0, lease_until = 0 WHERE id = $14 AND node = $15 AND attempt = $16 AND state = 'running'`
	return db.ownRun(ctx, "couldn't finish the run", query, progressOf(r, r.State, micros(r.Finished), r.Vanished, cleanText(r.Error),
		changes, differences, r.ID, r.Node, r.Attempt)...)
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
	const query = `UPDATE runs SET ` + progressColumns + `, state = 'waiting', lease_until = 0, attempt = attempt - 1, rate = 0, expected = 0
		WHERE id = $8 AND node = $9 AND attempt = $10 AND state = 'running'`
	return db.ownRun(ctx, "couldn't give the run back", query, progressOf(r, r.ID, r.Node, r.Attempt)...)
}

// PauseRun keeps a run that waits or runs from going on. Its node notices when
// it renews, and parks it. A run that has been paused has killed nobody, so the
// attempt does not count.
func (db *DB) PauseRun(ctx context.Context, id int64) error {
	const query = `UPDATE runs SET state = 'paused', lease_until = 0, rate = 0, expected = 0,
		attempt = CASE WHEN state = 'running' THEN attempt - 1 ELSE attempt END WHERE id = $1 AND state IN ('waiting', 'running')`
	return db.ownRun(ctx, "couldn't pause the run", query, id)
}

// ParkRun stores how far a node had come with a run that was paused meanwhile.
// It is ErrConflict when the run was not paused, or somebody else has it by now.
func (db *DB) ParkRun(ctx context.Context, r Run) error {
	const query = `UPDATE runs SET ` + progressColumns + ` WHERE id = $8 AND node = $9 AND state IN ('paused', 'waiting')`
	return db.ownRun(ctx, "couldn't park the run", query, progressOf(r, r.ID, r.Node)...)
}

// ResumeRun lets a paused run go on, with the next that looks for work.
func (db *DB) ResumeRun(ctx context.Context, id int64) error {
	return db.ownRun(ctx, "couldn't resume the run", `UPDATE runs SET state = 'waiting' WHERE id = $1 AND state = 'paused'`, id)
}

// CancelRun cancels a run that has not ended. Its node notices when it renews.
func (db *DB) CancelRun(ctx context.Context, id int64, now time.Time) error {
	const query = `UPDATE runs SET state = 'cancelled', finished = $1, position = '', rate = 0, expected = 0
		WHERE id = $2 AND state IN ('waiting', 'running', 'paused')`
	return db.ownRun(ctx, "couldn't cancel the run", query, micros(now), id)
}

// Run returns one run.
func (db *DB) Run(ctx context.Context, id int64) (Run, error) {
	r, err := scanRun(db.read.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id))
	return r, db.wrap("couldn't read the run", err)
}

// Runs returns the newest runs of a source, or of all when it is "", with an id
// below before, newest first; before 0 means from the newest.
func (db *DB) Runs(ctx context.Context, source string, before int64, limit int) ([]Run, error) {
	if before <= 0 {
		before = forever
	}
	const of, all = `SELECT ` + runColumns + ` FROM runs WHERE id < $1 AND source = $3 ORDER BY id DESC LIMIT $2`,
		`SELECT ` + runColumns + ` FROM runs WHERE id < $1 ORDER BY id DESC LIMIT $2`
	query, args := all, []any{before, limit}
	if source != "" {
		query, args = of, append(args, cleanText(source))
	}
	rows, err := db.read.QueryContext(ctx, query, args...)
	return collect(db, "couldn't list the runs", rows, err, func(rows *sql.Rows) (Run, error) { return scanRun(rows) })
}

// A LastRun is what a schedule has to know of a source.
type LastRun struct {
	Queued  time.Time // when the last run was queued
	Driver  string    // of that run
	Targets []string  // of that run
	Open    bool      // a run has not ended
}

// LastRuns returns the last run of each source.
func (db *DB) LastRuns(ctx context.Context) (map[string]LastRun, error) {
	last := map[string]LastRun{}
	const query = `SELECT r.source, r.queued, r.driver, r.targets, m.open FROM runs r JOIN (SELECT MAX(id) AS id,
		MAX(CASE WHEN state IN ('waiting', 'running', 'paused') THEN 1 ELSE 0 END) AS open FROM runs GROUP BY source) m ON m.id = r.id`
	rows, err := db.read.QueryContext(ctx, query)
	err = each(rows, err, func(rows *sql.Rows) error {
		var l LastRun
		var source, targets string
		var queued, open int64
		err := rows.Scan(&source, &queued, &l.Driver, &targets, &open)
		if err == nil {
			l.Targets, err = stringsOf(targets)
		}
		l.Queued, l.Open = timeOf(queued), open == 1
		last[source] = l
		return err
	})
	return last, db.wrap("couldn't read the last runs", err)
}

const (
	// keptRuns is how many runs of a source are kept, whatever they found.
	keptRuns = 100
	// keptDifferent is how many runs of a source are kept that changed something.
	keptDifferent = 1000
	// keptMisses is how many runs of a source keep the list of what they missed:
	// every run lists the same places again, and the numbers stay.
	keptMisses = 10
	// keptFacts is how many times back it is told how the facts of a sighting were.
	keptFacts = 20
)

// Forget drops what is too old to be told of a source: runs that found nothing
// different beyond the newest hundred, those that did beyond the newest
// thousand, the lists of misses but of the newest ten, and of the facts that the
// run changed those that changed most often. What was somewhere, and when, stays.
func (db *DB) Forget(ctx context.Context, run Run) error {
	err := db.tx(ctx, func(tx *writing) error {
		const runs = `DELETE FROM runs WHERE source = $1 AND state IN ('done', 'failed', 'cancelled')
			AND id NOT IN (SELECT id FROM runs WHERE source = $1 ORDER BY id DESC LIMIT $2)
			AND id NOT IN (SELECT id FROM runs WHERE source = $1 AND differences > 0 ORDER BY id DESC LIMIT $3)`
		if _, err := tx.ExecContext(ctx, runs, run.Source, keptRuns, keptDifferent); err != nil {
			return err
		}
		const misses = `DELETE FROM misses WHERE run_id IN (SELECT id FROM runs WHERE source = $1 AND misses > 0
			AND id NOT IN (SELECT id FROM runs WHERE source = $1 ORDER BY id DESC LIMIT $2))`
		if _, err := tx.ExecContext(ctx, misses, run.Source, keptMisses); err != nil {
			return err
		}
		const facts = `DELETE FROM past_facts WHERE sighting_id IN (SELECT f.sighting_id FROM past_facts f WHERE f.run_id = $1 AND f.run_id > 0)
			AND until <= (SELECT f.until FROM past_facts f WHERE f.sighting_id = past_facts.sighting_id ORDER BY f.until DESC LIMIT 1 OFFSET $2)`
		_, err := tx.ExecContext(ctx, facts, run.ID, keptFacts)
		return err
	})
	return db.wrap("couldn't forget what is too old", err)
}

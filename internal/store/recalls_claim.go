// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

const stepColumns = `id, recall_id, target_id, phase, act, wave, door, agent, state, waits, fence, failures, error, owner, next, began, ended, task, result, counted, shared, source, round, trouble, progress, asked`

// A RecallStepRow is a step with what the store keeps besides.
type RecallStepRow struct {
	tallystick.RecallStep
	Limit    string    // by what it is counted for limits
	Shared   bool      // it has more targets than one
	From     int64     // the step that gives the new credential; 0 without one
	Round    int64     // how often it was begun anew
	Trouble  time.Time // when the failures in a row began
	Progress string    // what the issuer's driver wants to be told again
	Asked    bool      // the door denies it to us, and its people are to do it
}

func scanStep(row scanner) (RecallStepRow, error) {
	var s RecallStepRow
	var next, began, ended, trouble int64
	var task, result string
	err := row.Scan(&s.ID, &s.Recall, &s.Target, &s.Phase, &s.Act, &s.Wave, &s.Door, &s.Agent, &s.State, &s.Waits, &s.Fence, &s.Failures, &s.Error, &s.Owner, &next, &began, &ended, &task, &result,
		&s.Limit, &s.Shared, &s.From, &s.Round, &trouble, &s.Progress, &s.Asked)
	if next > mostUrgency {
		s.Next = timeOf(next)
	}
	s.Began, s.Ended, s.Trouble = timeOf(began), timeOf(ended), timeOf(trouble)
	s.Task, s.Result = rawOf(task), rawOf(result)
	return s, err
}

// mostUrgency is above every stepUrgency, and below every time.
const mostUrgency = 100

func rawOf(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// A ClaimedStep is a step that somebody works at, with what it needs to know.
type ClaimedStep struct {
	RecallStepRow
	Facts json.RawMessage // of its first target
	// Active says that its first target uses the new credential: nothing of the first two phases is left.
	Active bool
	// New is the step that gives the new credential, and Key the one that made its key; nil
	// without one. They may be the same.
	New, Key *RecallStepRow
}

// A StepClaim says which steps somebody takes up.
type StepClaim struct {
	Agent string // "" is the server
	Owner string // the node, or the agent's process
	Now   time.Time
	Lease time.Duration
	Most  int
	Busy  []string // limits that are reached: nothing that is counted by them is taken up
	// NoBooks leaves drains to who has the books.
	NoBooks bool
}

// longestStepRest is the farthest that a step is put off: what is farther was put off
// by a clock that was wrong.
const longestStepRest = 25 * time.Hour

// ClaimRecallSteps takes up steps that are ready and whose time has come, and those
// whose lease has run out, of recalls that run; what takes back what another step did also
// of those that do not. What ends targets goes first, and the recalls share. Gates and tasks for people
// are not taken up. A lease that ends far later than any that is given now was given by a
// wrong clock, and has run out as well. Of the steps that change one door, one goes on at
// a time. Who takes up a block of a rehearsal makes what undoes it ready, for when the
// rehearsal is over; from then on the block is taken up no more.
func (db *DB) ClaimRecallSteps(ctx context.Context, c StepClaim) ([]ClaimedStep, error) {
	if c.Most <= 0 {
		return nil, nil
	}
	var claimed []ClaimedStep
	err := db.grouped(ctx, func(tx *writing) error {
		claimed = nil
		if err := c.release(ctx, tx); err != nil {
			return err
		}
		ids, err := c.pick(ctx, tx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			s, err := c.take(ctx, tx, id)
			if err == sql.ErrNoRows { // another works at its door
				continue
			}
			if err != nil {
				return err
			}
			claimed = append(claimed, ClaimedStep{RecallStepRow: s})
		}
		return completeSteps(ctx, tx, claimed)
	})
	if err != nil {
		return nil, db.wrap("couldn't take up steps", err)
	}
	return claimed, nil
}

// wrongClock is how far ahead a lease ends that was given by a wrong clock. Clocks that
// differ by less are told apart from one by nobody: those who have them wait for each other.
const wrongClock = time.Hour

// release makes ready again what nobody works at any more.
func (c StepClaim) release(ctx context.Context, tx *writing) error {
	if err := c.letGo(ctx, tx); err != nil {
		return err
	}
	stmt, err := tx.prepared(ctx, `UPDATE recall_steps SET state = 'ready', owner = '', lease = 0, next = 0 WHERE agent = $1 AND state = 'running' AND (lease < $2 OR lease > $3)`)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx), c.Agent, micros(c.Now), micros(c.Now.Add(wrongClock+c.Lease)))
	return err
}

// free leaves out steps at doors where another one is at work that changes them.
const free = ` AND NOT (alone = TRUE AND EXISTS (SELECT 1 FROM recall_steps o WHERE o.door = recall_steps.door AND o.state = 'running' AND o.alone = TRUE))`

// pick returns the steps to take up.
func (c StepClaim) pick(ctx context.Context, tx *writing) ([]int64, error) {
	var ids []int64
	add := func(query string, at time.Time, most int, args ...any) error {
		args = append([]any{c.Agent, micros(at), most}, args...)
		for _, name := range c.Busy {
			args = append(args, name)
			query += " AND counted <> $" + itoa(int64(len(args)))
		}
		stmt, err := tx.prepared(ctx, query+free+` ORDER BY next, id LIMIT $3`+tx.db.engine.locking())
		if err != nil {
			return err
		}
		rows, err := stmt.QueryContext(context.WithoutCancel(ctx), args...)
		return each(rows, err, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	}
	const restoring = `SELECT id FROM recall_steps WHERE agent = $1 AND restores = TRUE AND state = 'ready' AND (next <= $2 OR next > $4)`
	if err := add(restoring, c.Now, c.Most, micros(c.Now.Add(longestStepRest))); err != nil {
		return nil, err
	}
	running, err := runningRecalls(ctx, tx)
	if err != nil {
		return nil, err
	}
	ready := `SELECT id FROM recall_steps WHERE agent = $1 AND recall_id = $4 AND state = 'ready' AND restores = FALSE AND act NOT IN ('gate', 'person') AND NOT (act = 'block' AND began > 0 AND ` + rehearsed + `$5)) AND `
	if c.NoBooks {
		ready += `act <> 'drain' AND `
	}
	for i, recall := range running {
		share := (c.Most - len(ids)) / (len(running) - i)
		if share <= 0 {
			continue
		}
		before := len(ids)
		if err := add(ready+`next <= $2`, c.Now, share, recall, micros(c.Now)); err != nil {
			return nil, err
		}
		if share -= len(ids) - before; share > 0 {
			if err := add(ready+`next > $2`, c.Now.Add(longestStepRest), share, recall, micros(c.Now)); err != nil {
				return nil, err
			}
		}
	}
	return ids, nil
}

func runningRecalls(ctx context.Context, tx *writing) ([]int64, error) {
	stmt, err := tx.prepared(ctx, `SELECT id FROM recalls WHERE state = 'running' ORDER BY id`)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(context.WithoutCancel(ctx))
	var ids []int64
	err = each(rows, err, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// take makes a step ours, unless another one that changes its door goes on.
func (c StepClaim) take(ctx context.Context, tx *writing, id int64) (RecallStepRow, error) {
	const query = `UPDATE recall_steps SET state = 'running', owner = $1, lease = $2, fence = fence + 1, began = CASE WHEN began = 0 THEN $3 ELSE began END
		WHERE id = $4 AND NOT (alone = TRUE AND EXISTS (SELECT 1 FROM recall_steps o WHERE o.door = recall_steps.door AND o.state = 'running' AND o.alone = TRUE AND o.id <> recall_steps.id))
		RETURNING ` + stepColumns
	stmt, err := tx.prepared(ctx, query)
	if err != nil {
		return RecallStepRow{}, err
	}
	s, err := scanStep(stmt.QueryRowContext(context.WithoutCancel(ctx), c.Owner, micros(c.Now.Add(c.Lease)), micros(c.Now), id))
	switch {
	case err != nil:
	case s.Act == tallystick.ActBlock:
		err = readyLift(ctx, tx, s)
	case s.Act == tallystick.ActLift:
		err = endBlock(ctx, tx, s, c.Now)
	}
	return s, err
}

// completeSteps reads what steps need to know.
func completeSteps(ctx context.Context, p preparer, steps []ClaimedStep) error {
	var targets, sources []any
	for _, s := range steps {
		if s.Target != 0 {
			targets = append(targets, s.Target)
		}
		if s.From != 0 {
			sources = append(sources, s.From)
		}
	}
	facts, active := map[int64]json.RawMessage{}, map[int64]bool{}
	err := in(ctx, p, `SELECT id, facts, prepare_left + activate_left FROM recall_targets WHERE id IN `, targets, func(rows *sql.Rows) error {
		var id, left int64
		var text string
		err := rows.Scan(&id, &text, &left)
		facts[id], active[id] = rawOf(text), left == 0
		return err
	})
	if err != nil {
		return err
	}
	from, err := stepsByID(ctx, p, sources)
	if err != nil {
		return err
	}
	sources = sources[:0]
	for _, s := range from {
		if s.From != 0 {
			sources = append(sources, s.From)
		}
	}
	before, err := stepsByID(ctx, p, sources)
	if err != nil {
		return err
	}
	for i := range steps {
		s := &steps[i]
		s.Facts, s.Active, s.New = facts[s.Target], active[s.Target], from[s.From]
		if s.Key = s.New; s.New != nil && s.New.From != 0 {
			s.Key = before[s.New.From]
		}
	}
	return nil
}

func stepsByID(ctx context.Context, p preparer, ids []any) (map[int64]*RecallStepRow, error) {
	found := make(map[int64]*RecallStepRow, len(ids))
	err := in(ctx, p, `SELECT `+stepColumns+` FROM recall_steps WHERE id IN `, ids, func(rows *sql.Rows) error {
		s, err := scanStep(rows)
		found[s.ID] = &s
		return err
	})
	return found, err
}

// RecallStep returns a step with what whoever works at it needs to know.
func (db *DB) RecallStep(ctx context.Context, id int64) (ClaimedStep, error) {
	s, err := scanStep(db.one(ctx, `SELECT `+stepColumns+` FROM recall_steps WHERE id = $1`, id))
	steps := []ClaimedStep{{RecallStepRow: s}}
	if err == nil {
		err = completeSteps(ctx, db, steps)
	}
	return steps[0], db.wrap("couldn't read the step", err)
}

// StepFacts calls fn with the facts of all targets of a step, and whether the target
// was skipped, so that nothing is to be done about its credential.
func (db *DB) StepFacts(ctx context.Context, s RecallStepRow, fn func(facts json.RawMessage, skipped bool) error) error {
	where, id := s.ofTargets()
	rows, err := db.read.QueryContext(ctx, `SELECT facts, state FROM recall_targets`+where+` ORDER BY id`, id)
	err = each(rows, err, func(rows *sql.Rows) error {
		var text, state string
		if err := rows.Scan(&text, &state); err != nil {
			return err
		}
		return fn(rawOf(text), state == tallystick.TargetSkipped)
	})
	return db.wrap("couldn't read the targets of a step", err)
}

// ErrNotOurs is the error of who writes a step that somebody else has taken up, or
// that somebody has put an end to.
var ErrNotOurs = fmt.Errorf("%w: the step is no longer ours", tallystick.ErrConflict)

// ownStep is the condition under which a step may be written by who took it up.
const ownStep = ` WHERE id = $1 AND owner = $2 AND fence = $3 AND state = 'running'`

// writeStep changes a step of the caller's.
func writeStep(ctx context.Context, tx *writing, s RecallStepRow, set string, args ...any) error {
	stmt, err := tx.prepared(ctx, `UPDATE recall_steps SET `+set+ownStep)
	if err != nil {
		return err
	}
	result, err := stmt.ExecContext(context.WithoutCancel(ctx), append([]any{s.ID, s.Owner, s.Fence}, args...)...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		if err != nil {
			return err
		}
		return ErrNotOurs
	}
	return nil
}

// KeepRecallStep keeps the claim on a step and what its issuer's driver wants to be
// told again. ErrNotOurs when it is somebody else's.
func (db *DB) KeepRecallStep(ctx context.Context, s RecallStepRow, lease time.Time) error {
	err := db.grouped(ctx, func(tx *writing) error {
		return writeStep(ctx, tx, s, `lease = $4, progress = $5`, micros(lease), s.Progress)
	})
	return db.wrap("couldn't keep a step", err)
}

// LeaseRecallSteps keeps the claim on steps, and returns those that are somebody else's.
func (db *DB) LeaseRecallSteps(ctx context.Context, steps []RecallStepRow, lease time.Time) (lost []int64, err error) {
	err = db.grouped(ctx, func(tx *writing) error {
		lost = nil
		for _, s := range steps {
			if err := writeStep(ctx, tx, s, `lease = $4`, micros(lease)); err == ErrNotOurs {
				lost = append(lost, s.ID)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return lost, db.wrap("couldn't keep the claim on steps", err)
}

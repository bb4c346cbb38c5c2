// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A TargetCall is what somebody, or the engine, wants of a target.
type TargetCall struct {
	Target int64
	Reason string // for people
	At     time.Time
	Event  string // in plain words
}

// errOver says that nothing can be done with a target any more.
var errOver = fmt.Errorf("%w: the target is proven or skipped already", tallystick.ErrConflict)

// heldTarget returns a target that others cannot change until the transaction ends.
func heldTarget(ctx context.Context, tx *writing, id int64) (tallystick.RecallTarget, error) {
	t, err := scanTarget(tx.QueryRowContext(ctx, `UPDATE recall_targets SET late = late WHERE id = $1 RETURNING `+targetColumns, id))
	if err == nil && (t.State == tallystick.TargetProven || t.State == tallystick.TargetSkipped) {
		err = errOver
	}
	return t, err
}

// SkipTarget leaves a target behind: its steps are skipped, and what waited for them
// goes on. What undoes a block of a rehearsal that was begun is done all the same.
func (db *DB) SkipTarget(ctx context.Context, c TargetCall) error {
	err := db.tx(ctx, func(tx *writing) error {
		t, err := heldTarget(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		if err := knownValue(ctx, tx, `t.id = $1`, c.Target); err != nil {
			return err
		}
		if err := liftBegun(ctx, tx, c.At, `target_id = $1`, c.Target); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE recall_targets SET state = 'skipped', asked = FALSE, error = $1 WHERE id = $2`, cleanText(c.Reason), c.Target); err != nil {
			return err
		}
		const skip = `UPDATE recall_steps SET state = 'skipped', owner = '', lease = 0, fence = fence + 1, ended = $1, error = $2
			WHERE state NOT IN ('done', 'skipped') AND NOT (act = 'lift' AND state IN ('ready', 'running')) AND (recall_id = $4 AND target_id = $3 AND shared = FALSE
			OR id IN (SELECT s.step_id FROM recall_shared s WHERE s.target_id = $3 AND NOT EXISTS
				(SELECT 1 FROM recall_shared o JOIN recall_targets t ON t.id = o.target_id WHERE o.step_id = s.step_id AND t.state <> 'skipped'))) RETURNING id`
		rows, err := tx.QueryContext(ctx, skip, micros(c.At), cleanText(c.Reason), c.Target, t.Recall)
		skipped, err := idsOf(rows, err)
		if err != nil {
			return err
		}
		for _, id := range skipped {
			if err := lowerWaits(ctx, tx, id); err != nil {
				return err
			}
		}
		addEvents(tx, t.Recall, RecallEvent{At: c.At, Target: c.Target, Kind: EventPeople, Text: c.Event})
		return nil
	})
	return db.wrap("couldn't skip the target", err)
}

// knownValue is ErrConflict while it is not known which value the system of an entrusted secret
// takes: a new one may have been set and not answered for, and what is kept of it is destroyed
// with the recall.
func knownValue(ctx context.Context, tx *writing, where string, arg int64) error {
	var subject string
	err := tx.QueryRowContext(ctx, `SELECT t.subject FROM recall_targets t JOIN recall_steps s ON s.target_id = t.id AND s.recall_id = t.recall_id
		WHERE `+where+` AND t.old LIKE '`+tallystick.EntrustedPrefix+`%' AND t.state NOT IN ('skipped', 'proven', 'undone')
		AND s.act IN ('install', 'block') AND s.began > 0 AND s.state NOT IN ('done', 'skipped') LIMIT 1`, arg).Scan(&subject)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: it is not known which value the system takes for %s: retry that target, or roll it back, before", tallystick.ErrConflict, subject)
}

func idsOf(rows *sql.Rows, err error) ([]int64, error) {
	var ids []int64
	err = each(rows, err, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// RetryTarget makes ready what has failed of a target, and of those that share it; a
// target that was rolled back begins again. Where a step of the roll-back failed, that is
// tried again and nothing else. ErrConflict: nothing has failed, or the target is being
// rolled back now, or what a rehearsal blocked there is being let in again.
func (db *DB) RetryTarget(ctx context.Context, c TargetCall) error {
	err := db.tx(ctx, func(tx *writing) error {
		t, err := heldTarget(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		group, err := groupOf(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		failed, err := stepsOf(ctx, tx, group, ` AND s.state = 'failed'`)
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			return fmt.Errorf("%w: nothing of it has failed", tallystick.ErrConflict)
		}
		if failed, err = rollsBack(ctx, tx, group, failed); err != nil {
			return err
		}
		if failed, err = withLifts(ctx, tx, failed); err != nil {
			return err
		}
		if err := again(ctx, tx, failed); err != nil {
			return err
		}
		for _, id := range group {
			if err := recount(ctx, tx, id); err != nil {
				return err
			}
		}
		addEvents(tx, t.Recall, RecallEvent{At: c.At, Target: c.Target, Kind: EventPeople, Text: c.Event})
		return nil
	})
	return db.wrap("couldn't try the target again", err)
}

// groupOf returns the targets that share a step of the first two phases with a target, and
// the target.
func groupOf(ctx context.Context, tx *writing, target int64) ([]int64, error) {
	const query = `SELECT DISTINCT o.target_id FROM recall_shared o JOIN recall_shared s ON s.step_id = o.step_id JOIN recall_steps p ON p.id = s.step_id
		WHERE s.target_id = $1 AND p.phase IN ('prepare', 'activate') ORDER BY o.target_id`
	rows, err := tx.QueryContext(ctx, query, target)
	group, err := idsOf(rows, err)
	if !slices.Contains(group, target) {
		group = append(group, target)
	}
	return group, err
}

// stepsOf returns the steps of targets that fulfil a condition, each once.
func stepsOf(ctx context.Context, tx *writing, targets []int64, condition string) ([]RecallStepRow, error) {
	found := map[int64]RecallStepRow{}
	for _, target := range targets {
		query := `SELECT ` + stepColumns + ` FROM recall_steps s WHERE (s.recall_id = (SELECT t.recall_id FROM recall_targets t WHERE t.id = $1) AND s.target_id = $1
			OR s.id IN (SELECT h.step_id FROM recall_shared h WHERE h.target_id = $1))` + condition
		stmt, err := tx.prepared(ctx, query)
		if err != nil {
			return nil, err
		}
		rows, err := stmt.QueryContext(ctx, target)
		err = each(rows, err, func(rows *sql.Rows) error {
			s, err := scanStep(rows)
			found[s.ID] = s
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	list := make([]RecallStepRow, 0, len(found))
	for _, s := range found {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b RecallStepRow) int { return int(a.ID - b.ID) })
	return list, nil
}

// again lets steps wait for what they still have to wait for, or makes them ready.
func again(ctx context.Context, tx *writing, steps []RecallStepRow) error {
	const query = `UPDATE recall_steps SET owner = '', lease = 0, asked = FALSE, failures = 0, trouble = 0, error = '', ended = 0, next = $2, state = 'waiting',
		waits = (SELECT COUNT(*) FROM recall_after a JOIN recall_steps b ON b.id = a.step_id WHERE a.behind = $1 AND b.state NOT IN ('done', 'skipped')) WHERE id = $1`
	for _, s := range steps {
		if _, err := tx.ExecContext(ctx, query, s.ID, stepUrgency(s.Act, s.Phase)); err != nil {
			return err
		}
	}
	for _, s := range steps { // now that all of them are undone
		if _, err := tx.ExecContext(ctx, query, s.ID, stepUrgency(s.Act, s.Phase)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE recall_steps SET state = 'ready' WHERE id = $1 AND waits = 0`, s.ID); err != nil {
			return err
		}
	}
	return nil
}

// recount makes the state of a target follow from its steps again.
func recount(ctx context.Context, tx *writing, target int64) error {
	left, err := stepsOf(ctx, tx, []int64{target}, ` AND s.state NOT IN ('done', 'skipped')`)
	if err != nil {
		return err
	}
	var c counts
	failed, asked := false, false
	for _, s := range left {
		asked = asked || s.Asked
		if i := slices.Index(tallystick.Phases(), s.Phase); i >= 0 {
			c[i]++
		}
		failed = failed || s.State == tallystick.StepFailed
	}
	query := `UPDATE recall_targets SET prepare_left = $1, activate_left = $2, drain_left = $3, revoke_left = $4, prove_left = $5, asked = $7`
	args := []any{c[0], c[1], c[2], c[3], c[4], target, asked}
	if !failed {
		query, args = query+`, error = '', state = $8`, append(args, c.state())
	}
	_, err = tx.ExecContext(ctx, query+` WHERE id = $6 AND state <> 'skipped'`, args...)
	return err
}

// openTasks picks steps that people are to do now, also what a door denies us and its people
// were asked for.
const openTasks = ` AND (s.act = 'person' AND s.state = 'ready' OR s.asked = TRUE AND s.state IN ('ready', 'running'))`

// TasksOfPeople returns the steps of a target that people are to do now. ErrConflict: there
// is none.
func (db *DB) TasksOfPeople(ctx context.Context, target int64) ([]RecallStepRow, error) {
	var tasks []RecallStepRow
	err := db.tx(ctx, func(tx *writing) error {
		var err error
		if tasks, err = stepsOf(ctx, tx, []int64{target}, openTasks); err == nil && len(tasks) == 0 {
			err = errNothingByHand
		}
		return err
	})
	return tasks, db.wrap("couldn't find what is to be done by hand", err)
}

var errNothingByHand = fmt.Errorf("%w: nothing is to be done by hand there now", tallystick.ErrConflict)

// DoneByPerson ends tasks of a target that TasksOfPeople returned. ErrConflict: one of them is
// no longer open.
func (db *DB) DoneByPerson(ctx context.Context, c TargetCall, tasks []RecallStepRow, result []byte) error {
	err := db.tx(ctx, func(tx *writing) error {
		t, err := heldTarget(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		for _, s := range tasks {
			const end = `UPDATE recall_steps SET state = 'done', owner = '', lease = 0, fence = fence + 1, asked = FALSE, error = '',
				began = CASE WHEN began = 0 THEN $1 ELSE began END, ended = $1, result = $2
				WHERE id = $3 AND (act = 'person' AND state = 'ready' OR asked = TRUE AND state IN ('ready', 'running'))`
			done, err := tx.ExecContext(ctx, end, micros(c.At), string(result), s.ID)
			if err = changedOne(done, err); errors.Is(err, tallystick.ErrConflict) {
				return errNothingByHand
			} else if err != nil {
				return err
			}
			if err := unask(ctx, tx, s); err != nil {
				return err
			}
			if err := lowerWaits(ctx, tx, s.ID); err != nil {
				return err
			}
			if _, err := countDown(ctx, tx, s); err != nil {
				return err
			}
		}
		addEvents(tx, t.Recall, RecallEvent{At: c.At, Target: c.Target, Kind: EventPeople, Text: c.Event})
		return nil
	})
	return db.wrap("couldn't note what was done", err)
}

// CancelRecall ends a recall that is not over; what undoes the blocks of a rehearsal is
// done all the same.
func (db *DB) CancelRecall(ctx context.Context, id int64, reason string, at time.Time, event string) error {
	err := db.tx(ctx, func(tx *writing) error {
		m := RecallMove{From: unfinished, To: tallystick.RecallCancelled, Reason: reason, At: at, Event: event}
		if err := knownValue(ctx, tx, `t.recall_id = $1`, id); err != nil {
			return err
		}
		return errors.Join(moveRecall(ctx, tx, id, m), liftBegun(ctx, tx, at, `recall_id = $1`, id))
	})
	return db.wrap("couldn't cancel the recall", err)
}

// unfinished are the states of recalls that are not over.
var unfinished = []tallystick.RecallState{tallystick.RecallWaiting, tallystick.RecallApproved, tallystick.RecallRunning, tallystick.RecallPaused, tallystick.RecallStopped}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A StepOutcome is what came of a step that was worked at.
type StepOutcome struct {
	Result []byte // JSON
	At     time.Time
	Events []RecallEvent
	Fresh  string // of issue: the name of the new credential
}

// FinishRecallStep ends a step that is done. In the same transaction those that waited
// for it alone become ready, and its targets are as far as they are then. ErrNotOurs when
// it is somebody else's.
func (db *DB) FinishRecallStep(ctx context.Context, s RecallStepRow, o StepOutcome) error {
	err := db.grouped(ctx, func(tx *writing) error {
		const set = `state = 'done', owner = '', lease = 0, error = '', failures = 0, trouble = 0, ended = $4, result = $5, asked = FALSE`
		if err := writeStep(ctx, tx, s, set, micros(o.At), string(o.Result)); err != nil {
			return err
		}
		events := o.Events
		tx.last.done = append(tx.last.done, s.ID)
		if o.Fresh != "" {
			if err := nameFresh(ctx, tx, s, o.Fresh); err != nil {
				return err
			}
		}
		if err := unask(ctx, tx, s); err != nil {
			return err
		}
		proven, err := countDown(ctx, tx, s)
		if err != nil {
			return err
		}
		for _, id := range proven {
			events = append(events, RecallEvent{At: o.At, Target: id, Kind: EventStep, Text: "Proven."})
		}
		addEvents(tx, s.Recall, events...)
		return nil
	})
	return db.wrap("couldn't finish a step", err)
}

// lowerWaits makes ready what waited for a step alone.
func lowerWaits(ctx context.Context, tx *writing, step int64) error {
	const query = `UPDATE recall_steps SET state = CASE WHEN waits <= 1 THEN 'ready' ELSE state END, waits = waits - 1
		WHERE state = 'waiting' AND waits > 0 AND id IN (SELECT behind FROM recall_after WHERE step_id = $1)`
	stmt, err := tx.prepared(ctx, query)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx), step)
	return err
}

// ofTargets is the condition under which a target is one of a step's, with its argument.
func (s RecallStepRow) ofTargets() (string, int64) {
	if s.Shared {
		return ` WHERE id IN (SELECT target_id FROM recall_shared WHERE step_id = $1)`, s.ID
	}
	return ` WHERE id = $1`, s.Target
}

// nameFresh notes what the new credential of targets is called.
func nameFresh(ctx context.Context, tx *writing, s RecallStepRow, name string) error {
	where, id := s.ofTargets()
	stmt, err := tx.prepared(ctx, `UPDATE recall_targets SET fresh = $2`+where)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx), id, name)
	return err
}

// stateByCounts is the state of a target that follows from what is left, with d less in
// one phase.
func stateByCounts(phase tallystick.Phase, d string) string {
	text := `CASE`
	for _, p := range tallystick.Phases() {
		less := ""
		if p == phase {
			less = d
		}
		text += ` WHEN ` + string(p) + `_left` + less + ` > 0 THEN '` + string(p) + `'`
	}
	return text + ` ELSE 'proven' END`
}

// countDown notes that a step of targets is done, and returns those that are proven by that.
func countDown(ctx context.Context, tx *writing, s RecallStepRow) ([]int64, error) {
	if s.Target == 0 {
		return nil, nil
	}
	if s.Phase == phaseUndo {
		return nil, undone(ctx, tx, s)
	}
	where, id := s.ofTargets()
	left := string(s.Phase) + `_left`
	query := `UPDATE recall_targets SET ` + left + ` = ` + left + ` - 1,
		state = CASE WHEN state IN ('failed', 'skipped', 'undone') THEN state ELSE ` + stateByCounts(s.Phase, " - 1") + ` END` + where + ` RETURNING id, state`
	stmt, err := tx.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	var proven []int64
	rows, err := stmt.QueryContext(context.WithoutCancel(ctx), id)
	err = each(rows, err, func(rows *sql.Rows) error {
		var id int64
		var state string
		err := rows.Scan(&id, &state)
		if state == tallystick.TargetProven {
			proven = append(proven, id)
		}
		return err
	})
	return proven, err
}

// RetryRecallStep puts a step down until s.Next, which has failed with s.Error, or
// waits without an error: what it waits for has not happened yet.
func (db *DB) RetryRecallStep(ctx context.Context, s RecallStepRow, events ...RecallEvent) error {
	err := db.grouped(ctx, func(tx *writing) error {
		const set = `state = 'ready', owner = '', lease = 0, failures = $4, trouble = $5, error = $6, next = $7, result = $8`
		if err := writeStep(ctx, tx, s, set, s.Failures, micros(s.Trouble), cleanText(s.Error), micros(s.Next), string(s.Result)); err != nil {
			return err
		}
		addEvents(tx, s.Recall, events...)
		return nil
	})
	return db.wrap("couldn't put a step down", err)
}

// FailRecallStep ends a step that is not tried again by itself, and its targets with
// it. When so many targets of a wave have failed that the recall must not go on, it
// stops; not once its deadline has acted, because then the old one must be blocked. In a
// rehearsal what undoes the step is due now, for it may have happened.
func (db *DB) FailRecallStep(ctx context.Context, s RecallStepRow, o StepOutcome, next string) error {
	err := db.grouped(ctx, func(tx *writing) error {
		const set = `state = 'failed', owner = '', lease = 0, failures = $4, error = $5, ended = $6, result = $7, asked = FALSE`
		if err := writeStep(ctx, tx, s, set, s.Failures, cleanText(s.Error), micros(o.At), string(o.Result)); err != nil {
			return err
		}
		if s.Act == tallystick.ActBlock {
			const lift = `UPDATE recall_steps SET next = 0 WHERE act = 'lift' AND state = 'ready' AND id IN (SELECT behind FROM recall_after WHERE step_id = $1)`
			if _, err := tx.ExecContext(ctx, lift, s.ID); err != nil {
				return err
			}
		}
		if err := errors.Join(unask(ctx, tx, s), failTargets(ctx, tx, s, s.Error+next)); err != nil {
			return err
		}
		addEvents(tx, s.Recall, o.Events...)
		return stopByBudget(ctx, tx, s.Recall, o.At)
	})
	return db.wrap("couldn't end a step", err)
}

func failTargets(ctx context.Context, tx *writing, s RecallStepRow, why string) error {
	where, id := s.ofTargets()
	_, err := tx.ExecContext(ctx, `UPDATE recall_targets SET state = 'failed', error = $2`+where+` AND state NOT IN ('skipped', 'proven')`, id, cleanText(why))
	return err
}

// stopByBudget stops a recall that runs when a wave has more failures than it may have.
func stopByBudget(ctx context.Context, tx *writing, recall int64, at time.Time) error {
	why, err := overBudget(ctx, tx, recall)
	if err != nil || why == "" {
		return err
	}
	m := RecallMove{From: []tallystick.RecallState{tallystick.RecallRunning}, To: tallystick.RecallStopped, Reason: why, At: at, Event: "Stopped: " + why + "."}
	if err := moveRecall(ctx, tx, recall, m); !errors.Is(err, tallystick.ErrConflict) { // it need not run
		return err
	}
	return nil
}

// overBudget says which wave has more failures than it may have; "" none. One failure of
// the first wave is too many.
func overBudget(ctx context.Context, tx *writing, recall int64) (string, error) {
	const query = `SELECT t.wave, COUNT(*), SUM(CASE WHEN t.state = 'failed' THEN 1 ELSE 0 END), r.errors FROM recall_targets t JOIN recalls r ON r.id = t.recall_id
		WHERE t.recall_id = $1 AND NOT (r.blocked > 0 AND r.at_deadline = 'block') AND t.wave IN (SELECT f.wave FROM recall_targets f WHERE f.recall_id = $1 AND f.state = 'failed') GROUP BY t.wave, r.errors ORDER BY t.wave`
	rows, err := tx.QueryContext(ctx, query, recall)
	why := ""
	err = each(rows, err, func(rows *sql.Rows) error {
		var wave, size, failed, thousandths int64
		if err := rows.Scan(&wave, &size, &failed, &thousandths); err != nil || why != "" {
			return err
		}
		switch {
		case wave <= 1 && failed > 0:
			why = fmt.Sprintf("%d of the %d targets of the canary failed", failed, size)
		case failed > size*thousandths/1000:
			why = fmt.Sprintf("%d of the %d targets of wave %d failed, and %d may", failed, size, wave, size*thousandths/1000)
		}
		return nil
	})
	return why, err
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A block of a rehearsal may have happened whatever its door said of it. So what undoes
// it is ready as soon as somebody takes the block up, and waits for nothing but its time.

// rehearsed is the condition under which a step is of a rehearsal that had its time for
// the step; the time now goes behind it.
const rehearsed = `EXISTS (SELECT 1 FROM recalls r WHERE r.id = recall_steps.recall_id AND r.rehearse > 0 AND recall_steps.began + r.rehearse <= `

// readyLift makes ready what undoes a block that was just taken up, for when the
// rehearsal is over.
func readyLift(ctx context.Context, tx *writing, block RecallStepRow) error {
	stmt, err := tx.prepared(ctx, `UPDATE recall_steps SET state = 'ready', waits = 0, next = $1 + (SELECT r.rehearse FROM recalls r WHERE r.id = recall_steps.recall_id)
		WHERE act = 'lift' AND state = 'waiting' AND id IN (SELECT behind FROM recall_after WHERE step_id = $2)`)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx), micros(block.Began), block.ID)
	return err
}

// letGo takes from whoever works at it what has no time any more: blocks of rehearsals. They
// rest for as long as a lease, so that who worked at one has heard of it before it is undone.
func (c StepClaim) letGo(ctx context.Context, tx *writing) error {
	stmt, err := tx.prepared(ctx, `UPDATE recall_steps SET owner = '', fence = fence + 1, lease = $3 WHERE agent = $1 AND state = 'running' AND act = 'block' AND owner <> '' AND `+rehearsed+`$2)`)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx), c.Agent, micros(c.Now), micros(c.Now.Add(c.Lease)))
	return err
}

// endBlock puts an end to a block that is not done, because it is being undone.
func endBlock(ctx context.Context, tx *writing, lift RecallStepRow, now time.Time) error {
	const why = "the time of the rehearsal was over before the door said that it refuses the old one"
	stmt, err := tx.prepared(ctx, `UPDATE recall_steps SET state = 'failed', owner = '', lease = 0, fence = fence + 1, ended = $1, error = CASE WHEN error = '' THEN $2 ELSE error END
		WHERE act = 'block' AND state IN ('waiting', 'ready', 'running') AND id IN (SELECT step_id FROM recall_after WHERE behind = $3) RETURNING `+stepColumns)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.WithoutCancel(ctx), micros(now), why, lift.ID)
	var ended []RecallStepRow
	err = each(rows, err, func(rows *sql.Rows) error {
		s, err := scanStep(rows)
		ended = append(ended, s)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range ended {
		if err := failTargets(ctx, tx, s, s.Error+". Retry the target, or skip it with a reason."); err != nil {
			return err
		}
		addEvents(tx, s.Recall, RecallEvent{At: now, Target: s.Target, Kind: EventFailure, Text: fmt.Sprintf("block at %s was given up, and is undone: %s", s.Door, s.Error)})
	}
	return nil
}

// liftBegun makes ready what undoes those blocks of a rehearsal that were begun; where
// somebody is at one, for when nobody can be any more.
func liftBegun(ctx context.Context, tx *writing, at time.Time, where string, arg int64) error {
	const blocks = ` FROM recall_after a JOIN recall_steps b ON b.id = a.step_id WHERE a.behind = recall_steps.id AND b.act = 'block' AND b.began > 0`
	_, err := tx.ExecContext(ctx, `UPDATE recall_steps SET state = 'ready', waits = 0, next = COALESCE((SELECT MAX(b.lease)`+blocks+` AND b.lease <= $2), 0)
		WHERE act = 'lift' AND state IN ('waiting', 'ready') AND `+where+` AND EXISTS (SELECT 1`+blocks+`)`, arg, micros(at.Add(wrongClock)))
	return err
}

// withLifts adds to the steps that are to be done again what undoes the blocks among
// them, because these are begun anew. ErrConflict: one of them is still being undone.
func withLifts(ctx context.Context, tx *writing, steps []RecallStepRow) ([]RecallStepRow, error) {
	all := steps
	for _, s := range steps {
		if s.Act != tallystick.ActBlock {
			continue
		}
		rows, err := tx.QueryContext(ctx, `SELECT `+stepColumns+` FROM recall_steps WHERE act = 'lift' AND id IN (SELECT behind FROM recall_after WHERE step_id = $1)`, s.ID)
		err = each(rows, err, func(rows *sql.Rows) error {
			lift, err := scanStep(rows)
			if err == nil && (lift.State == tallystick.StepReady || lift.State == tallystick.StepRunning) {
				err = fmt.Errorf("%w: what was blocked at %s is let in again first", tallystick.ErrConflict, lift.Door)
			}
			if lift.State != tallystick.StepFailed { // that is among steps
				all = append(all, lift)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE recall_steps SET began = 0 WHERE id = $1 AND recall_id IN (SELECT r.id FROM recalls r WHERE r.rehearse > 0)`, s.ID); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// phaseUndo is that of steps that take back others: they are of no phase.
const phaseUndo = tallystick.Phase("")

// UndoTarget begins to roll a target back, and those that share its new credential:
// the old one is installed again where the new one may have been, and then the new one
// is let in no more. What was done until then is to be done again when somebody tries
// the target again. ErrConflict: something of it goes on now, or it is being rolled back, or
// the old one is being revoked or blocked by the deadline already, or nothing was done yet.
func (db *DB) UndoTarget(ctx context.Context, c TargetCall) error {
	first, err := db.newIDs(ctx, idBlockSize)
	if err != nil {
		return err
	}
	err = db.tx(ctx, func(tx *writing) error {
		t, err := heldTarget(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		group, err := groupOf(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		steps, err := stepsOf(ctx, tx, group, ` AND s.state <> 'skipped'`)
		if err != nil {
			return err
		}
		back, err := toUndo(ctx, tx, t.Recall, steps)
		if err != nil {
			return err
		}
		if err := insertUndo(ctx, tx, t, first, back); err != nil {
			return err
		}
		if err := rewind(ctx, tx, steps, "it was rolled back"); err != nil {
			return err
		}
		for _, id := range group {
			if err := recount(ctx, tx, id); err != nil {
				return err
			}
			const say = `UPDATE recall_targets SET state = 'failed', error = $1 WHERE id = $2 AND state NOT IN ('skipped', 'proven')`
			if _, err := tx.ExecContext(ctx, say, cleanText("It is being rolled back: "+c.Reason), id); err != nil {
				return err
			}
		}
		addEvents(tx, t.Recall, RecallEvent{At: c.At, Target: c.Target, Kind: EventPeople, Text: c.Event})
		return nil
	})
	return db.wrap("couldn't roll the target back", err)
}

// rollsBack returns which of the steps that failed may be tried again: all of them, or
// those of a roll-back that is not done, before which nothing else may go on: it would
// put the old one back where the recall has long gone on.
func rollsBack(ctx context.Context, tx *writing, group []int64, failed []RecallStepRow) ([]RecallStepRow, error) {
	left, err := stepsOf(ctx, tx, group, ` AND s.phase = '' AND s.state NOT IN ('done', 'skipped')`)
	if err != nil || len(left) == 0 {
		return failed, err
	}
	left = slices.DeleteFunc(left, func(s RecallStepRow) bool { return s.State != tallystick.StepFailed })
	if len(left) == 0 {
		return nil, errRollsBack
	}
	return left, nil
}

// errRollsBack says that a target is not as it was yet.
var errRollsBack = fmt.Errorf("%w: the target is being rolled back", tallystick.ErrConflict)

// toUndo returns the steps that are to be taken back, installs first.
func toUndo(ctx context.Context, tx *writing, recall int64, steps []RecallStepRow) ([]RecallStepRow, error) {
	var blocked bool
	if err := tx.QueryRowContext(ctx, `SELECT blocked > 0 AND at_deadline = 'block' FROM recalls WHERE id = $1`, recall).Scan(&blocked); err != nil {
		return nil, err
	}
	var back []RecallStepRow
	for _, s := range steps {
		switch {
		case s.State == tallystick.StepRunning:
			return nil, fmt.Errorf("%w: the step %s is under way at %s; pause the recall and try it again in a minute", tallystick.ErrConflict, s.Act, s.Door)
		case s.Phase == phaseUndo && s.State != tallystick.StepDone:
			return nil, errRollsBack
		case blocked || (s.Act == tallystick.ActRevoke || s.Act == tallystick.ActBlock) && !s.Began.IsZero():
			return nil, fmt.Errorf("%w: the old one is being revoked, so that it cannot be used again", tallystick.ErrConflict)
		case !s.Began.IsZero() && (s.Act == tallystick.ActInstall || s.Act == tallystick.ActTrust) && s.Phase != phaseUndo:
			back = append(back, s)
		}
	}
	if len(back) == 0 {
		return nil, fmt.Errorf("%w: nothing was changed at its doors", tallystick.ErrConflict)
	}
	if len(back) > idBlockSize {
		return nil, fmt.Errorf("%w: %d doors cannot be rolled back at once", tallystick.ErrConflict, len(back))
	}
	slices.SortStableFunc(back, func(a, b RecallStepRow) int {
		return stepRank(a.Act) - stepRank(b.Act)
	})
	return back, nil
}

func stepRank(act tallystick.Act) int {
	if act == tallystick.ActInstall {
		return 0
	}
	return 1
}

// insertUndo adds the steps that take others back. All but the installs wait for those:
// the new one must be let in until nobody uses it.
func insertUndo(ctx context.Context, tx *writing, t tallystick.RecallTarget, first int64, back []RecallStepRow) error {
	var rows planRows
	var installs []int64
	for i, s := range back {
		id, task, state := first+int64(i), `{"undo":true}`, tallystick.StepReady
		if s.Act == tallystick.ActInstall {
			installs = append(installs, id)
		} else {
			task = `{"withdraw":true}`
			for _, install := range installs {
				rows.after = append(rows.after, []any{install, id})
				state = tallystick.StepWaiting
			}
		}
		waits := 0
		if state == tallystick.StepWaiting {
			waits = len(installs)
		}
		rows.steps = append(rows.steps, []any{id, t.Recall, s.Target, s.Shared, string(phaseUndo), string(s.Act), s.Wave, s.Door, s.Agent, s.Limit, s.Door != "", true, s.From, state, waits, 0, task})
		if s.Shared {
			if _, err := tx.ExecContext(ctx, `INSERT INTO recall_shared (step_id, target_id) SELECT $1, target_id FROM recall_shared WHERE step_id = $2`, id, s.ID); err != nil {
				return err
			}
		}
	}
	return rows.insert(ctx, tx)
}

// rewind undoes what is known of the steps that are to be done again: those of a
// target that were begun stand as failed until somebody tries it again, the others wait.
func rewind(ctx context.Context, tx *writing, steps []RecallStepRow, why string) error {
	var later []RecallStepRow
	for _, s := range steps {
		begun := s.Act == tallystick.ActTrust || s.Phase == tallystick.PhaseActivate || s.Phase == tallystick.PhaseDrain
		if s.Phase == phaseUndo {
			continue
		}
		if begun && (!s.Began.IsZero() || s.State == tallystick.StepReady) {
			const fail = `UPDATE recall_steps SET state = 'failed', fence = fence + 1, owner = '', lease = 0, asked = FALSE, error = $1, result = '' WHERE id = $2`
			if _, err := tx.ExecContext(ctx, fail, why, s.ID); err != nil {
				return err
			}
		} else if s.State == tallystick.StepReady || s.State == tallystick.StepWaiting {
			later = append(later, s)
		}
	}
	return again(ctx, tx, later)
}

// undone notes that a step is taken back. Once all are, the targets are.
func undone(ctx context.Context, tx *writing, s RecallStepRow) error {
	where, id := s.ofTargets()
	_, err := tx.ExecContext(ctx, `UPDATE recall_targets SET state = 'undone'`+where+` AND state NOT IN ('skipped', 'proven') AND NOT EXISTS (SELECT 1 FROM recall_steps u
		WHERE u.phase = '' AND u.state NOT IN ('done', 'skipped') AND u.recall_id = recall_targets.recall_id
		AND (u.target_id = recall_targets.id OR u.id IN (SELECT h.step_id FROM recall_shared h WHERE h.target_id = recall_targets.id)))`, id)
	return err
}

// dropUndo puts an end to what would put back an old one that is refused everywhere from
// now on: its target stays as it is until somebody tries it again.
func dropUndo(ctx context.Context, tx *writing, recall int64, at time.Time) error {
	const drop = `UPDATE recall_steps SET state = 'skipped', owner = '', lease = 0, fence = fence + 1, ended = $2, error = 'the deadline left it behind'
		WHERE recall_id = $1 AND phase = '' AND state NOT IN ('done', 'skipped') RETURNING ` + stepColumns
	rows, err := tx.QueryContext(ctx, drop, recall, micros(at))
	var dropped []RecallStepRow
	err = each(rows, err, func(rows *sql.Rows) error {
		s, err := scanStep(rows)
		dropped = append(dropped, s)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range dropped {
		if err := failTargets(ctx, tx, s, "The deadline came before it was rolled back. Retry the target, or skip it with a reason."); err != nil {
			return err
		}
	}
	return nil
}

// BeginAgain lets a target, and those that share its new credential, begin again with
// a new key, because the new credential is burnt as well. What was done about the old one
// stays done. most bounds how often; ErrConflict beyond.
func (db *DB) BeginAgain(ctx context.Context, s RecallStepRow, c TargetCall, most int64) error {
	err := db.tx(ctx, func(tx *writing) error {
		if err := writeStep(ctx, tx, s, `owner = '', lease = 0, state = 'ready'`); err != nil {
			return err
		}
		t, err := heldTarget(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		group, err := groupOf(ctx, tx, c.Target)
		if err != nil {
			return err
		}
		steps, err := stepsOf(ctx, tx, group, ` AND s.state <> 'skipped' AND s.phase IN ('prepare', 'activate')`)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if s.Round >= most {
				return fmt.Errorf("%w: its new credential was burnt %d times", tallystick.ErrConflict, s.Round+1)
			}
			const clear = `UPDATE recall_steps SET state = 'waiting', fence = fence + 1, round = round + 1, progress = '', result = '' WHERE id = $1`
			if _, err := tx.ExecContext(ctx, clear, s.ID); err != nil {
				return err
			}
		}
		later, err := stepsOf(ctx, tx, group, ` AND s.state IN ('waiting', 'ready')`)
		if err != nil {
			return err
		}
		if err := again(ctx, tx, later); err != nil {
			return err
		}
		for _, id := range group {
			if err := recount(ctx, tx, id); err != nil {
				return err
			}
		}
		addEvents(tx, t.Recall, RecallEvent{At: c.At, Target: c.Target, Kind: EventFailure, Text: c.Event})
		return nil
	})
	return db.wrap("couldn't begin the target again", err)
}

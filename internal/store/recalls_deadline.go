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

// MeetDeadline does what a recall says for its deadline, once: what is not ready is late.
// Where the recall blocks, it goes on also when it was paused or stopped; drains are left
// behind, and so is what would put an old one back; and hold, revoke, block and prove wait for
// nothing but each other, and for installs that were never tried (see hurry). It says
// whether this call did it.
func (db *DB) MeetDeadline(ctx context.Context, id int64, at time.Time) (bool, error) {
	met := false
	err := db.tx(ctx, func(tx *writing) error {
		met = false
		if err := db.engine.still(ctx, tx.Tx, "recall_steps"); err != nil {
			return err
		}
		const mark = `UPDATE recalls SET blocked = $1 WHERE id = $2 AND blocked = 0 AND rehearse = 0 AND deadline <= $1 AND state IN ('running', 'paused', 'stopped') RETURNING at_deadline, state`
		var then, state string
		err := tx.QueryRowContext(ctx, mark, micros(at), id).Scan(&then, &state)
		if err == sql.ErrNoRows {
			return nil
		}
		if err != nil {
			return err
		}
		met = true
		count, names, err := stragglers(ctx, tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE recall_targets SET late = TRUE WHERE recall_id = $1 AND`+notReady, id); err != nil {
			return err
		}
		text := "The deadline has come, and every target is ready."
		if count > 0 {
			text = fmt.Sprintf("The deadline has come. Late, %d in all: %s.", count, names)
		}
		if then != tallystick.AtDeadlineBlock {
			addEvents(tx, id, RecallEvent{At: at, Kind: EventDeadline, Text: text + " Nothing is blocked that is not ready."})
			return nil
		}
		if state != string(tallystick.RecallRunning) {
			text += " The recall was " + state + " and goes on."
		}
		addEvents(tx, id, RecallEvent{At: at, Kind: EventDeadline, Text: text + " The old one is blocked everywhere."})
		if _, err := tx.ExecContext(ctx, `UPDATE recalls SET state = 'running', reason = '' WHERE id = $1`, id); err != nil {
			return err
		}
		if err := dropUndo(ctx, tx, id, at); err != nil {
			return err
		}
		if err := openAll(ctx, tx, id, at); err != nil {
			return err
		}
		return db.force(ctx, tx, id, at, `act = 'drain' OR act = 'gate'`, hurry)
	})
	return met, db.wrap("couldn't meet the deadline", err)
}

// GiveUpHolds leaves behind what has not been held some time after the deadline, so
// that a door that does not answer keeps nobody from blocking. It does it once.
func (db *DB) GiveUpHolds(ctx context.Context, id int64, since, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		if err := db.engine.still(ctx, tx.Tx, "recall_steps"); err != nil {
			return err
		}
		const mark = `UPDATE recalls SET forced = $1 WHERE id = $2 AND forced = 0 AND blocked > 0 AND blocked <= $3 AND at_deadline = 'block'`
		result, err := tx.ExecContext(ctx, mark, micros(at), id, micros(since))
		if err := changedOne(result, err); err != nil {
			if errors.Is(err, tallystick.ErrConflict) {
				return nil
			}
			return err
		}
		return db.force(ctx, tx, id, at, `act = 'hold'`, nil)
	})
	return db.wrap("couldn't give up what does not answer", err)
}

// force leaves some steps behind, and makes those of the last two phases wait for
// nothing but each other, and what also adds; nil is nothing. Skipped targets stay as they are.
func (db *DB) force(ctx context.Context, tx *writing, recall int64, at time.Time, behind string, also func(context.Context, *writing, int64) error) error {
	if err := leaveBehind(ctx, tx, recall, at, behind); err != nil {
		return err
	}
	const forced = `SELECT f.id FROM recall_steps f WHERE f.recall_id = $1 AND f.phase IN ('revoke', 'prove')`
	const unhang = `DELETE FROM recall_after WHERE behind IN (` + forced + `) AND step_id NOT IN (` + forced + ` AND f.act <> 'gate')`
	if _, err := tx.ExecContext(ctx, unhang, recall); err != nil {
		return err
	}
	if also != nil {
		if err := also(ctx, tx, recall); err != nil {
			return err
		}
	}
	const count = `UPDATE recall_steps SET waits = (SELECT COUNT(*) FROM recall_after a JOIN recall_steps b ON b.id = a.step_id WHERE a.behind = recall_steps.id AND b.state NOT IN ('done', 'skipped'))
		WHERE recall_id = $1 AND phase IN ('revoke', 'prove') AND state IN ('waiting', 'ready', 'failed')`
	if _, err := tx.ExecContext(ctx, count, recall); err != nil {
		return err
	}
	const ready = `UPDATE recall_steps SET state = CASE WHEN waits = 0 THEN 'ready' ELSE 'waiting' END, next = CASE WHEN next BETWEEN 1 AND 99 THEN next ELSE 1 END, failures = 0, trouble = 0
		WHERE recall_id = $1 AND phase IN ('revoke', 'prove') AND state IN ('waiting', 'ready', 'failed')`
	_, err := tx.ExecContext(ctx, ready, recall)
	return err
}

// openAll opens the gates of the first two phases, because no wave may wait for another any
// more that is to have the new credential before the old one is refused.
func openAll(ctx context.Context, tx *writing, recall int64, at time.Time) error {
	const open = `UPDATE recall_steps SET state = 'skipped', ended = $2, error = 'the deadline left it behind'
		WHERE recall_id = $1 AND act = 'gate' AND phase IN ('prepare', 'activate') AND state NOT IN ('done', 'skipped') RETURNING id`
	rows, err := tx.QueryContext(ctx, open, recall, micros(at))
	gates, err := idsOf(rows, err)
	if err != nil {
		return err
	}
	for _, gate := range gates {
		if err := lowerWaits(ctx, tx, gate); err != nil {
			return err
		}
	}
	return nil
}

// hurry brings the steps of a recall whose old credential is refused from now on into the order in
// which nobody is locked out who can be helped: doors that nobody has come to yet are asked to
// let the new one in, then holders have it, and then the old one is blocked. What has failed, or is
// left to people, holds no block up, and GiveUpHolds ends the wait for the rest.
func hurry(ctx context.Context, tx *writing, recall int64) error {
	const untouched = ` AND state IN ('waiting', 'ready', 'running') AND failures = 0 AND asked = FALSE`
	// Steps of some kind, each with its targets.
	with := func(condition string) string {
		return `(SELECT id, target_id AS target FROM recall_steps WHERE recall_id = $1 AND ` + condition + ` UNION
			SELECT s.id, o.target_id FROM recall_steps s JOIN recall_shared o ON o.step_id = s.id WHERE s.recall_id = $1 AND ` + condition + `)`
	}
	// The lowest is taken up first: see stepUrgency.
	for _, change := range []string{
		`INSERT INTO recall_after (step_id, behind) SELECT DISTINCT i.id, b.id FROM ` + with(`act = 'install'`+untouched) + ` i
			JOIN ` + with(`act IN ('hold', 'revoke', 'block') AND state IN ('waiting', 'ready', 'failed')`) + ` b ON b.target = i.target WHERE i.target <> 0 ON CONFLICT DO NOTHING`,
		`UPDATE recall_steps SET next = 0 WHERE recall_id = $1 AND act IN ('key', 'issue', 'install')` + untouched,
		`UPDATE recall_steps SET next = 4 WHERE recall_id = $1 AND act IN ('hold', 'block') AND state IN ('waiting', 'ready')
			AND target_id IN (SELECT target_id FROM recall_steps WHERE recall_id = $1 AND act = 'trust'` + untouched + `)`,
		`UPDATE recall_steps SET next = 1 WHERE recall_id = $1 AND act = 'trust'` + untouched,
	} {
		if _, err := tx.ExecContext(ctx, change, recall); err != nil {
			return err
		}
	}
	return nil
}

// leaveBehind skips steps of a recall that fulfil a condition.
func leaveBehind(ctx context.Context, tx *writing, recall int64, at time.Time, condition string) error {
	query := `UPDATE recall_steps SET state = 'skipped', owner = '', lease = 0, fence = fence + 1, ended = $2, error = 'the deadline left it behind'
		WHERE recall_id = $1 AND state NOT IN ('done', 'skipped') AND (` + condition + `) RETURNING ` + stepColumns
	rows, err := tx.QueryContext(ctx, query, recall, micros(at))
	var left []RecallStepRow
	err = each(rows, err, func(rows *sql.Rows) error {
		s, err := scanStep(rows)
		left = append(left, s)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range left {
		if _, err := countDown(ctx, tx, s); err != nil {
			return err
		}
	}
	return nil
}

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

// AskForStep puts a step down until s.Next that the door denies us, and notes what its
// people are to do in our place. The target holds no gate shut meanwhile. The event is
// written the first time.
func (db *DB) AskForStep(ctx context.Context, s RecallStepRow, instructions string, event RecallEvent) error {
	err := db.grouped(ctx, func(tx *writing) error {
		const set = `state = 'ready', owner = '', lease = 0, failures = 0, trouble = 0, error = $4, next = $5, asked = TRUE`
		if err := writeStep(ctx, tx, s, set, cleanText(s.Error), micros(s.Next)); err != nil || s.Asked {
			return err
		}
		const ask = `UPDATE recall_targets SET asked = TRUE, instructions = $2 WHERE id = $1`
		if _, err := tx.ExecContext(ctx, ask, s.Target, cleanText(instructions)); err != nil {
			return err
		}
		addEvents(tx, s.Recall, event)
		return nil
	})
	return db.wrap("couldn't ask for a step", err)
}

// unask notes that a step is no longer asked for.
func unask(ctx context.Context, tx *writing, s RecallStepRow) error {
	if !s.Asked {
		return nil
	}
	const query = `UPDATE recall_targets SET asked = FALSE WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM recall_steps o
		WHERE o.recall_id = $2 AND o.target_id = $1 AND o.id <> $3 AND o.asked = TRUE)`
	_, err := tx.ExecContext(ctx, query, s.Target, s.Recall, s.ID)
	return err
}

// Without says which doors that do not trust the new credential keep it from nobody any more.
type Without int

const (
	WithoutDenied Without = iota // whose people were asked to see to it and have not, or where it failed for good
	WithoutTried                 // also where it failed and is tried again
	WithoutAny                   // all
)

// GoOnWithoutTrust lets the installs of a recall wait no more for doors that do not trust the
// new credential, once there is something to install. The new one is tried there once they do.
func (db *DB) GoOnWithoutTrust(ctx context.Context, recall int64, which Without, at time.Time) error {
	// From the installs that wait, of which there are few, and none soon: this is asked all the time.
	const query = `SELECT s.id, s.target_id, s.door, i.id, i.door FROM recall_steps i
		CROSS JOIN recall_after a CROSS JOIN recall_steps s
		WHERE i.recall_id = $1 AND i.act = 'install' AND i.state = 'waiting' AND a.behind = i.id AND s.id = a.step_id
		AND s.act = 'trust' AND s.state IN ('ready', 'running', 'failed') AND (s.asked = TRUE OR s.state = 'failed' OR s.failures > 0 AND $2 >= 1 OR $2 >= 2) ORDER BY s.id`
	rows, err := db.read.QueryContext(ctx, query, recall, int(which))
	waits, err := collect(db, "couldn't list what is not trusted", rows, err, func(rows *sql.Rows) (heldUp, error) {
		var h heldUp
		err := rows.Scan(&h.trust, &h.target, &h.relying, &h.install, &h.holder)
		return h, err
	})
	if err != nil {
		return err
	}
	for _, h := range waits { // each by itself, so that nobody who has one of them waits for us
		err := db.tx(ctx, func(tx *writing) error { return h.letGo(ctx, tx, recall, at) })
		if err != nil {
			return db.wrap("couldn't go on without doors that do not trust the new one", err)
		}
	}
	return nil
}

// A heldUp is an install that waits for a door that does not trust the new credential.
type heldUp struct {
	trust, target, install int64
	relying, holder        string
}

// letGo lets the install wait for it no more, and in its place what tries the new one there.
func (h heldUp) letGo(ctx context.Context, tx *writing, recall int64, at time.Time) error {
	// Who has this row counts: the step may be done at this moment.
	result, err := tx.ExecContext(ctx, `UPDATE recall_steps SET waits = waits WHERE id = $1 AND state NOT IN ('done', 'skipped')`, h.trust)
	if err = changedOne(result, err); err == nil {
		result, err = tx.ExecContext(ctx, `DELETE FROM recall_after WHERE step_id = $1 AND behind = $2`, h.trust, h.install)
		err = changedOne(result, err)
	}
	if errors.Is(err, tallystick.ErrConflict) {
		return nil
	} else if err != nil {
		return err
	}
	const less = `UPDATE recall_steps SET state = CASE WHEN waits <= 1 THEN 'ready' ELSE state END, waits = waits - 1 WHERE id = $1 AND state = 'waiting' AND waits > 0`
	if _, err := tx.ExecContext(ctx, less, h.install); err != nil {
		return err
	}
	const behind = `SELECT b.id FROM recall_after a JOIN recall_steps b ON b.id = a.behind WHERE a.step_id = $1 AND b.target_id = $2 AND b.shared = FALSE AND b.state = 'waiting'
		AND NOT EXISTS (SELECT 1 FROM recall_after o WHERE o.step_id = $3 AND o.behind = b.id) ORDER BY b.id`
	rows, err := tx.QueryContext(ctx, behind, h.install, h.target, h.trust)
	next, err := idsOf(rows, err)
	if err != nil {
		return err
	}
	for _, id := range next {
		if _, err := tx.ExecContext(ctx, `INSERT INTO recall_after (step_id, behind) VALUES ($1, $2)`, h.trust, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE recall_steps SET waits = waits + 1 WHERE id = $1`, id); err != nil {
			return err
		}
	}
	addEvents(tx, recall, RecallEvent{At: at, Target: h.target, Kind: EventDeadline, Text: fmt.Sprintf("%s waits for %s no more: the deadline is near.", h.holder, h.relying)})
	return nil
}

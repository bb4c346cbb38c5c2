// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// OpenGates opens the gates of a recall that runs, behind which no target that goes on by
// itself is left (people take their time), and returns how many it opened. Where too many targets have failed, the recall
// stops instead.
func (db *DB) OpenGates(ctx context.Context, recall int64, at time.Time) (int, error) {
	gates, err := db.openGates(ctx, recall)
	if err != nil || len(gates) == 0 {
		return 0, db.wrap("couldn't look at the gates", err)
	}
	opened := 0
	err = db.tx(ctx, func(tx *writing) error {
		opened = 0
		if why, err := overBudget(ctx, tx, recall); err != nil || why != "" {
			if err != nil {
				return err
			}
			return stopByBudget(ctx, tx, recall, at)
		}
		for _, g := range gates {
			// Whoever comes first opens it.
			const open = `UPDATE recall_steps SET state = 'done', began = $1, ended = $1 WHERE id = $2 AND state = 'ready'`
			result, err := tx.ExecContext(ctx, open, micros(at), g.ID)
			if err := changedOne(result, err); errors.Is(err, tallystick.ErrConflict) {
				continue
			} else if err != nil {
				return err
			}
			if err := lowerWaits(ctx, tx, g.ID); err != nil {
				return err
			}
			opened++
			event := RecallEvent{At: at, Kind: EventWave, Text: fmt.Sprintf("Wave %d is through %s: the next one may begin it.", g.Wave, g.Phase)}
			addEvents(tx, recall, event)
		}
		return nil
	})
	return opened, db.wrap("couldn't open a gate", err)
}

// openGates returns the gates that nothing holds shut.
func (db *DB) openGates(ctx context.Context, recall int64) ([]RecallStepRow, error) {
	stmt, err := db.prepared(ctx, `SELECT `+stepColumns+` FROM recall_steps WHERE recall_id = $1 AND act = 'gate' AND state = 'ready' ORDER BY wave`)
	if err != nil {
		return nil, err
	}
	var gates, open []RecallStepRow
	rows, err := stmt.QueryContext(ctx, recall)
	err = each(rows, err, func(rows *sql.Rows) error {
		g, err := scanStep(rows)
		gates = append(gates, g)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, g := range gates {
		left := ""
		for _, p := range tallystick.Phases()[:slices.Index(tallystick.Phases(), g.Phase)+1] {
			if p == tallystick.PhaseRevoke && g.Phase == tallystick.PhaseProve {
				continue // what is proven was refused before; that the issuer revokes may wait for others
			}
			left += ` + ` + string(p) + `_left`
		}
		var shut bool
		query := `SELECT EXISTS (SELECT 1 FROM recall_targets WHERE recall_id = $1 AND wave = $2 AND asked = FALSE AND kind <> 'person' AND state NOT IN ('failed', 'skipped', 'undone', 'proven') AND 0` + left + ` > 0)`
		if err := db.one(ctx, query, recall, g.Wave).Scan(&shut); err != nil {
			return nil, err
		}
		if !shut {
			open = append(open, g)
		}
	}
	return open, nil
}

// notReady picks the targets that are not ready for their old credential to be refused.
const notReady = ` state NOT IN ('proven', 'skipped') AND prepare_left + activate_left + drain_left > 0`

// RemindRecall notes that the nth reminder of a deadline is given, with the targets
// that are not ready. It does nothing when somebody else gave it.
func (db *DB) RemindRecall(ctx context.Context, r RecallRow, n int, left time.Duration, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const mark = `UPDATE recalls SET reminded = $1 WHERE id = $2 AND reminded < $1 AND deadline = $3`
		result, err := tx.ExecContext(ctx, mark, n, r.ID, micros(r.Deadline))
		if err := changedOne(result, err); err != nil {
			if errors.Is(err, tallystick.ErrConflict) {
				return nil
			}
			return err
		}
		count, names, err := stragglers(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("The deadline is in %s. Every target is ready.", aboutHours(left))
		if count > 0 {
			text = fmt.Sprintf("The deadline is in %s. Not ready, %d in all: %s.", aboutHours(left), count, names)
		}
		addEvents(tx, r.ID, RecallEvent{At: at, Kind: EventDeadline, Text: text})
		return nil
	})
	return db.wrap("couldn't remind of the deadline", err)
}

// namedStragglers is how many targets an event names.
const namedStragglers = 10

// stragglers returns how many targets are not ready, and the names of the first.
func stragglers(ctx context.Context, tx *writing, recall int64) (int, string, error) {
	var count int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM recall_targets WHERE recall_id = $1 AND`+notReady, recall).Scan(&count); err != nil {
		return 0, "", err
	}
	rows, err := tx.QueryContext(ctx, `SELECT holder, relying, relying_party, subject, old FROM recall_targets WHERE recall_id = $1 AND`+notReady+` ORDER BY wave, id LIMIT $2`, recall, namedStragglers)
	names := ""
	err = each(rows, err, func(rows *sql.Rows) error {
		var t tallystick.RecallTarget
		err := rows.Scan(&t.Holder, &t.Relying, &t.RelyingParty, &t.Subject, &t.Old)
		if names != "" {
			names += ", "
		}
		names += labelOf(t)
		return err
	})
	if count > namedStragglers {
		names += " and others"
	}
	return count, names, err
}

// labelOf is what people call a target.
func labelOf(t tallystick.RecallTarget) string {
	relying := cmp.Or(t.Relying, t.RelyingParty)
	switch {
	case t.Entrusted():
		return t.Subject
	case t.Holder != "" && relying != "":
		return t.Holder + " to " + relying
	}
	return cmp.Or(t.Holder+relying, t.Subject)
}

// EndRecall ends a recall that runs, of which nothing is left to do, and says whether
// this call did it.
func (db *DB) EndRecall(ctx context.Context, id int64, at time.Time) (bool, error) {
	const left = `SELECT EXISTS (SELECT 1 FROM recall_targets WHERE recall_id = $1 AND state NOT IN ('proven', 'skipped'))
		OR EXISTS (SELECT 1 FROM recall_steps WHERE recall_id = $1 AND state IN ('waiting', 'ready', 'running', 'failed') AND act <> 'gate')`
	var more bool
	if err := db.one(ctx, left, id).Scan(&more); err != nil || more {
		return false, db.wrap("couldn't look what is left to do", err)
	}
	m := RecallMove{From: []tallystick.RecallState{tallystick.RecallRunning}, To: tallystick.RecallDone, At: at, Event: "Done: every target is proven or was skipped."}
	err := db.tx(ctx, func(tx *writing) error { return moveRecall(ctx, tx, id, m) })
	if errors.Is(err, tallystick.ErrConflict) {
		return false, nil
	}
	return err == nil, db.wrap("couldn't end the recall", err)
}

// aboutHours writes how far a deadline is away.
func aboutHours(d time.Duration) string {
	if d < 2*time.Hour {
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	return fmt.Sprintf("%.0f hours", d.Hours())
}

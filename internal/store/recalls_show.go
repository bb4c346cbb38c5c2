// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/tallystick/tallystick"
)

// FailingRecallSteps returns at most limit steps of a recall that have failed and are
// tried again, those that failed most first.
func (db *DB) FailingRecallSteps(ctx context.Context, recall int64, limit int) ([]tallystick.RecallStep, error) {
	const query = `SELECT ` + stepColumns + ` FROM recall_steps WHERE recall_id = $1 AND failures > 0 AND state IN ('ready', 'running') ORDER BY failures DESC, id LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, recall, limit)
	return collect(db, "couldn't list the steps that are tried again", rows, err, func(rows *sql.Rows) (tallystick.RecallStep, error) {
		s, err := scanStep(rows)
		return s.RecallStep, err
	})
}

// RecallCredentials returns at most limit names each of the credentials that a recall
// replaces, and of those that take their place, as far as they are there.
func (db *DB) RecallCredentials(ctx context.Context, recall int64, limit int) (old, fresh []string, err error) {
	for column, list := range map[string]*[]string{"old": &old, "fresh": &fresh} {
		rows, err := db.read.QueryContext(ctx, `SELECT DISTINCT `+column+` FROM recall_targets WHERE recall_id = $1 AND `+column+` <> '' ORDER BY `+column+` LIMIT $2`, recall, limit)
		*list, err = collect(db, "couldn't list the credentials of the recall", rows, err, func(rows *sql.Rows) (string, error) {
			var name string
			return name, rows.Scan(&name)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return old, fresh, nil
}

// LastRecallEvents returns the last events of a recall whose number is below before, at
// most limit of them, in their order; before 0 is to the newest.
func (db *DB) LastRecallEvents(ctx context.Context, recall, before int64, limit int) ([]RecallEvent, error) {
	if before <= 0 {
		before = forever
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+eventColumns+` FROM recall_events WHERE recall_id = $1 AND n < $2 ORDER BY n DESC LIMIT $3`, recall, before, limit)
	list, err := collect(db, "couldn't read the log of the recall", rows, err, scanEvent)
	slices.Reverse(list)
	return list, err
}

const eventColumns = `recall_id, n, at, target_id, kind, text`

func scanEvent(rows *sql.Rows) (RecallEvent, error) {
	var e RecallEvent
	var at int64
	err := rows.Scan(&e.Recall, &e.N, &at, &e.Target, &e.Kind, &e.Text)
	e.At = timeOf(at)
	return e, err
}

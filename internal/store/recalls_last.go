// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"
)

// afterwards is what a transaction does last, for all who share it: it changes rows that
// the transactions of other nodes want as well. So these are held for the shortest time,
// and by all in one order: two transactions never wait for each other.
type afterwards struct {
	done   []any                   // steps that are done: what waits for them is to wait for less
	events map[int64][]RecallEvent // by recall
}

// finish does what was left for the end.
func (w *writing) finish(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if err := w.lower(ctx); err != nil {
		return err
	}
	for _, recall := range slices.Sorted(maps.Keys(w.last.events)) {
		if err := writeEvents(ctx, w, recall, w.last.events[recall]); err != nil {
			return err
		}
	}
	return nil
}

// lower lets those that waited for the steps that are done wait for less, and makes
// ready what waits for nothing any more.
func (w *writing) lower(ctx context.Context) error {
	less := map[int64]int64{}
	err := in(ctx, w, `SELECT behind FROM recall_after WHERE step_id IN `, w.last.done, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		less[id]++
		return err
	})
	if err != nil || len(less) == 0 {
		return err
	}
	stmt, err := w.prepared(ctx, `UPDATE recall_steps SET state = CASE WHEN waits <= $1 THEN 'ready' ELSE state END, waits = waits - $1 WHERE id = $2 AND state = 'waiting' AND waits > 0`)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(less)) {
		if _, err := stmt.ExecContext(ctx, less[id], id); err != nil {
			return err
		}
	}
	return nil
}

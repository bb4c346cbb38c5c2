// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"

	"github.com/tallystick/tallystick"
)

// A MissFilter narrows the list of what a run missed; the zero value is all.
type MissFilter struct {
	Word    string // Miss.Error
	Network string // as Network.Name has it
}

// Misses returns where a run could not see, in the order of places after one.
// With a word none is told twice.
func (db *DB) Misses(ctx context.Context, run int64, f MissFilter, after tallystick.Place, limit int) ([]tallystick.Miss, error) {
	w := &conditions{}
	w.add(`run_id = ?`, run)
	if f.Word != "" {
		w.add(`error = ?`, f.Word)
	}
	if f.Network != "" {
		key, err := networkKey(f.Network)
		if err != nil {
			return nil, err
		}
		w.add(`network > '' AND network = ?`, key)
	}
	w.add(`place > ?`, string(after))
	query := `SELECT place, error, detail, seen FROM misses WHERE ` + w.String() + ` ORDER BY place, error LIMIT ` + itoa(int64(limit))
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	return collect(db, "couldn't list what was missed", rows, err, func(rows *sql.Rows) (tallystick.Miss, error) {
		var m tallystick.Miss
		var seen int64
		err := rows.Scan(&m.Place, &m.Error, &m.Detail, &seen)
		m.Seen = timeOf(seen)
		return m, err
	})
}

// CountMisses counts what a run missed, by its word.
func (db *DB) CountMisses(ctx context.Context, run int64) (map[string]int64, error) {
	counts := map[string]int64{}
	rows, err := db.read.QueryContext(ctx, `SELECT error, COUNT(*) FROM misses WHERE run_id = $1 GROUP BY error`, run)
	err = each(rows, err, func(rows *sql.Rows) error {
		var word string
		var n int64
		err := rows.Scan(&word, &n)
		counts[word] = n
		return err
	})
	return counts, db.wrap("couldn't count what was missed", err)
}

// DropMisses forgets what a run missed, because it begins again.
func (db *DB) DropMisses(ctx context.Context, run int64) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM misses WHERE run_id = $1`, run)
	return db.wrap("couldn't begin the run again", err)
}

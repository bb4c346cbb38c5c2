// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A UsedRow is a credential as its uses name it.
type UsedRow struct {
	ID          int64 // of table used
	Fingerprint tallystick.Fingerprint
	Kind        tallystick.Kind
	Subject     string
	Names       []string // in the normal form and in their order
}

// UsedOf returns what the uses of a credential are kept under; nothing when it
// was never used.
func (db *DB) UsedOf(ctx context.Context, fingerprint tallystick.Fingerprint) ([]UsedRow, error) {
	const query = `SELECT u.id FROM used u JOIN credentials c ON c.id = u.credential_id WHERE c.fingerprint = $1 ORDER BY u.id`
	rows, err := db.read.QueryContext(ctx, query, cleanText(string(fingerprint)))
	return db.usedOf(ctx, rows, err)
}

// UsedUnder returns what the uses of a name are kept under; nothing when none is.
func (db *DB) UsedUnder(ctx context.Context, name string) ([]UsedRow, error) {
	const query = `SELECT used_id FROM used_names WHERE name = $1`
	rows, err := db.read.QueryContext(ctx, query, cleanText(tallystick.NormalName(name)))
	return db.usedOf(ctx, rows, err)
}

func (db *DB) usedOf(ctx context.Context, rows *sql.Rows, err error) ([]UsedRow, error) {
	ids, err := collect(db, "couldn't look up the uses of a credential", rows, err, func(rows *sql.Rows) (int64, error) {
		var id int64
		return id, rows.Scan(&id)
	})
	if err != nil {
		return nil, err
	}
	found, err := db.Used(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]UsedRow, 0, len(found))
	for _, one := range found {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b UsedRow) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Used returns the rows of these ids.
func (db *DB) Used(ctx context.Context, ids []int64) (map[int64]UsedRow, error) {
	found := make(map[int64]UsedRow, len(ids))
	keys := distinctKeys(ids)
	const query = `SELECT u.id, COALESCE(c.fingerprint, ''), COALESCE(c.kind, ''), COALESCE(c.subject, '')
		FROM used u LEFT JOIN credentials c ON c.id = u.credential_id WHERE u.id IN `
	err := in(ctx, db, query, keys, func(rows *sql.Rows) error {
		var one UsedRow
		err := rows.Scan(&one.ID, &one.Fingerprint, &one.Kind, &one.Subject)
		found[one.ID] = one
		return err
	})
	if err != nil {
		return nil, db.wrap("couldn't read used credentials", err)
	}
	err = in(ctx, db, `SELECT used_id, name FROM used_names WHERE used_id IN `, keys, func(rows *sql.Rows) error {
		var id int64
		var name string
		err := rows.Scan(&id, &name)
		one := found[id]
		one.Names = append(one.Names, name)
		found[id] = one
		return err
	})
	for id := range found {
		slices.Sort(found[id].Names)
	}
	return found, db.wrap("couldn't read the names of used credentials", err)
}

// distinctKeys makes arguments of ids, each once.
func distinctKeys(ids []int64) []any {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var keys []any
	for _, id := range slices.Compact(ids) {
		keys = append(keys, id)
	}
	return keys
}

// addAny adds the condition that a column has one of these values. They are
// numbers, and few.
func (w *conditions) addAny(column string, ids []int64) {
	list := ""
	for i, id := range ids {
		if i > 0 {
			list += `, `
		}
		list += itoa(id)
	}
	w.parts = append(w.parts, column+` IN (`+list+`)`)
}

// A UseCount is how many uses a side recorded in a step of time.
type UseCount struct {
	Step int64 // from 0
	Side tallystick.Side
	Uses int64
}

// UseCounts counts uses from the counts of hours, in steps that begin with from
// and are whole hours. Used nil is of every credential. It reads each hour of each
// credential in that time.
func (db *DB) UseCounts(ctx context.Context, used []int64, from, to time.Time, step time.Duration) ([]UseCount, error) {
	w := &conditions{args: []any{micros(from), step.Microseconds()}}
	w.add(`hour >= ?`, micros(from))
	w.add(`hour < ?`, micros(to))
	if used != nil {
		w.addAny(`used_id`, used)
	}
	query := `SELECT (hour - $1) / $2, side, SUM(uses) FROM use_hours WHERE ` + w.String() + ` GROUP BY 1, 2 ORDER BY 1, 2`
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	return collect(db, "couldn't count uses", rows, err, func(rows *sql.Rows) (UseCount, error) {
		var c UseCount
		return c, rows.Scan(&c.Step, &c.Side, &c.Uses)
	})
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
)

// Kept returns the value that was last kept under a name, nil when there is none.
func (db *DB) Kept(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := db.read.QueryRowContext(ctx, `SELECT value FROM kept WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return value, db.wrap("couldn't read what was kept as "+name, err)
}

// Keep keeps a value under a name in place of an older one; an empty value
// leaves nothing there. What is kept saves work and is no record: nothing is
// lost with it.
func (db *DB) Keep(ctx context.Context, name string, value []byte) error {
	err := db.tx(ctx, func(tx *writing) error {
		if len(value) == 0 {
			_, err := tx.ExecContext(ctx, `DELETE FROM kept WHERE name = $1`, name)
			return err
		}
		const upsert = `INSERT INTO kept (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
		_, err := tx.ExecContext(ctx, upsert, name, value)
		return err
	})
	return db.wrap("couldn't keep "+name, err)
}

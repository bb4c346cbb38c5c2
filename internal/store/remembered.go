// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
)

// rememberedPrefix is what the names begin with of what the driver of a source remembers.
func rememberedPrefix(source int64) string { return "source/" + strconv.FormatInt(source, 10) + "/" }

// Remembered returns what the driver of a source asked to be remembered under keys, nil where
// there is nothing.
func (db *DB) Remembered(ctx context.Context, source int64, keys []string) ([][]byte, error) {
	const what = "couldn't read what a source remembers"
	find, err := db.read.PrepareContext(ctx, `SELECT value FROM kept WHERE name = $1`)
	if err != nil {
		return nil, db.wrap(what, err)
	}
	defer find.Close()
	values, prefix := make([][]byte, len(keys)), rememberedPrefix(source)
	for i, key := range keys {
		err := find.QueryRowContext(ctx, IndexText(prefix+key)).Scan(&values[i])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, db.wrap(what, err)
		}
	}
	return values, nil
}

// Remember keeps values under keys for the driver of a source; under the key of an empty one
// nothing is kept any more.
func (db *DB) Remember(ctx context.Context, source int64, values map[string][]byte) error {
	prefix := rememberedPrefix(source)
	return db.wrap("couldn't keep what a source remembers", db.tx(ctx, func(tx *writing) error {
		for key, value := range values {
			query, args := `INSERT INTO kept (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, []any{IndexText(prefix + key), value}
			if len(value) == 0 {
				query, args = `DELETE FROM kept WHERE name = $1`, args[:1]
			}
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
		}
		return nil
	}))
}

// forgetSource forgets how far a source was read, and what its driver remembers.
func forgetSource(ctx context.Context, tx *writing, source int64) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM source_positions WHERE source = $1`, source); err != nil {
		return err
	}
	prefix := rememberedPrefix(source)
	_, err := tx.ExecContext(ctx, `DELETE FROM kept WHERE name >= $1 AND name < $2`, prefix, prefixEnd(prefix))
	return err
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/tallystick/tallystick"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

const versionTable = `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)`

// migrate runs the schema files that the store has not seen, each in its own
// transaction. Files are numbered and only ever added: version N of the schema
// is the first N files.
func (db *DB) migrate(ctx context.Context) error {
	files, err := fs.Glob(schemaFiles, "schema/*.sql") // sorted
	if err != nil {
		return err
	}
	if _, err := db.write.ExecContext(ctx, versionTable); err != nil {
		return err
	}
	var have int
	const newest = `SELECT COALESCE(MAX(version), 0) FROM schema_version`
	if err := db.write.QueryRowContext(ctx, newest).Scan(&have); err != nil {
		return err
	}
	if have > len(files) {
		return fmt.Errorf("%w: it has schema %d and this program knows %d", tallystick.ErrNewerData, have, len(files))
	}
	for i := have; i < len(files); i++ {
		if err := db.migrateTo(ctx, i+1, files[i]); err != nil {
			return fmt.Errorf("%s: %w", files[i], err)
		}
	}
	return db.prepare(ctx, have == 0, len(files))
}

// preparedFor is the setting that names the version whose work in Go is done.
const preparedFor = "prepared for schema"

// prepare does what the schema files cannot say. It is remembered when all of it
// is done, because a process may be killed between the last file and here.
func (db *DB) prepare(ctx context.Context, fresh bool, version int) error {
	var done string
	err := db.write.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, preparedFor).Scan(&done)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || done == strconv.Itoa(version) {
		return err
	}
	if !fresh {
		if err := db.placeNetworks(ctx); err != nil {
			return err
		}
		if err := db.addThumbprints(ctx); err != nil {
			return err
		}
		// What an engine knew of an index has gone with it. It would then choose
		// plans by half of the truth, which are worse than those by none.
		if err := db.Tidy(ctx); err != nil {
			return err
		}
	}
	const remember = `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	return db.tx(ctx, func(tx *writing) error {
		_, err := tx.ExecContext(ctx, remember, preparedFor, strconv.Itoa(version))
		return err
	})
}

// migrateTo takes the step to one version. The version row comes first, so
// that of two nodes that start at once the second waits and then fails cleanly
// on the key instead of running the file twice.
func (db *DB) migrateTo(ctx context.Context, version int, file string) error {
	text, err := schemaFiles.ReadFile(file)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *writing) error {
		const claim = `INSERT INTO schema_version (version) VALUES ($1)`
		if _, err := tx.ExecContext(ctx, claim, version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, db.engine.schema(string(text)))
		return err
	})
}

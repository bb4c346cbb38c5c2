// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// NameSecret gives a name to secrets, unless it is taken, and returns those that have
// it: of two who name at once, both get what the first has named.
func (db *DB) NameSecret(ctx context.Context, name string, ids []string) ([]string, error) {
	var have []string
	err := db.tx(ctx, func(tx *writing) (err error) {
		if have, err = tx.namedSecrets(ctx, name); err != nil || len(have) > 0 {
			return err
		}
		have = ids
		return tx.addNames(ctx, name, ids)
	})
	return have, db.wrap("couldn't name a secret", err)
}

// RenameSecret gives a name to secrets in place of others, which are returned.
func (db *DB) RenameSecret(ctx context.Context, name string, ids []string) (before []string, err error) {
	err = db.tx(ctx, func(tx *writing) error {
		if before, err = tx.namedSecrets(ctx, name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM secret_names WHERE name = $1`, name); err != nil {
			return err
		}
		return tx.addNames(ctx, name, ids)
	})
	before = slices.DeleteFunc(before, func(id string) bool { return slices.Contains(ids, id) })
	return before, db.wrap("couldn't name a secret", err)
}

func (w *writing) namedSecrets(ctx context.Context, name string) ([]string, error) {
	rows, err := w.QueryContext(ctx, `SELECT secret_id FROM secret_names WHERE name = $1 ORDER BY part`, name)
	var ids []string
	err = each(rows, err, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

func (w *writing) addNames(ctx context.Context, name string, ids []string) error {
	for part, id := range ids {
		if _, err := w.ExecContext(ctx, `INSERT INTO secret_names (name, part, secret_id) VALUES ($1, $2, $3)`, name, part, id); err != nil {
			return err
		}
	}
	return nil
}

// NamedSecrets returns the secrets of a name in their order; none is ErrNotFound.
func (db *DB) NamedSecrets(ctx context.Context, name string) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT secret_id FROM secret_names WHERE name = $1 ORDER BY part`, name)
	ids, err := collect(db, "couldn't find the secret "+name, rows, err, func(rows *sql.Rows) (string, error) {
		var id string
		err := rows.Scan(&id)
		return id, err
	})
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%w: nothing is kept as %s", tallystick.ErrNotFound, name)
	}
	return ids, err
}

// ForgetNames takes away the names at and beneath one, and returns every secret of the
// kind that belongs to such a name and is not destroyed, also where it never got it.
func (db *DB) ForgetNames(ctx context.Context, prefix, kind string) ([]string, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	var ids []string
	err := db.tx(ctx, func(tx *writing) error {
		ids = nil
		// What is beneath a name sorts from "name/" to before "name0".
		const drop = `DELETE FROM secret_names WHERE name = $1 OR name >= $2 AND name < $3`
		if _, err := tx.ExecContext(ctx, drop, prefix, prefix+"/", prefix+"0"); err != nil {
			return err
		}
		const query = `SELECT id FROM secrets WHERE (owner = $1 OR owner >= $2 AND owner < $3) AND kind = $4 AND destroyed = 0 ORDER BY id`
		rows, err := tx.QueryContext(ctx, query, prefix, prefix+"/", prefix+"0", kind)
		return each(rows, err, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, db.wrap("couldn't forget the secrets of "+prefix, err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

const acmeAccountColumns = `id, thumbprint, key, contact, status, eab, address, created, used`

func scanACMEAccount(row scanner) (ACMEAccount, error) {
	var a ACMEAccount
	var contact string
	var created, used int64
	err := row.Scan(&a.ID, &a.Thumbprint, &a.Key, &contact, &a.Status, &a.Binding, &a.Address, &created, &used)
	if err != nil {
		return a, err
	}
	a.Created, a.Used = timeOf(created), timeOf(used)
	a.Contact, err = stringsOf(contact)
	return a, err
}

// AddACMEAccount keeps a new account, and that its binding is used. A key that has
// an account is ErrConflict; a binding that is used up or revoked is ErrDenied.
func (db *DB) AddACMEAccount(ctx context.Context, a ACMEAccount) error {
	err := db.grouped(ctx, func(tx *writing) error {
		if a.Binding != "" {
			const use = `UPDATE acme_bindings SET used = $1 WHERE id = $2 AND revoked = 0 AND (reusable = TRUE OR used = 0)`
			result, err := tx.run(ctx, use, micros(a.Created), a.Binding)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return orDenied(err)
			}
		}
		_, err := tx.run(ctx, `INSERT INTO acme_accounts (`+acmeAccountColumns+`) VALUES `+values(db.engine, 1, 9, nil), a.ID, a.Thumbprint, a.Key,
			stringsText(a.Contact), a.Status, a.Binding, a.Address, micros(a.Created), micros(a.Used))
		return err
	})
	return db.wrap("couldn't keep an ACME account", err)
}

func orDenied(err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: the binding was used before, or revoked", tallystick.ErrDenied)
}

// ACMEAccount returns the account of an id.
func (db *DB) ACMEAccount(ctx context.Context, id string) (ACMEAccount, error) {
	return one(ctx, db, "couldn't read an ACME account", `SELECT `+acmeAccountColumns+` FROM acme_accounts WHERE id = $1`, scanACMEAccount, cleanText(id))
}

// ACMEAccountOfKey returns the account of a key, by its thumbprint.
func (db *DB) ACMEAccountOfKey(ctx context.Context, thumbprint string) (ACMEAccount, error) {
	return one(ctx, db, "couldn't find an ACME account", `SELECT `+acmeAccountColumns+` FROM acme_accounts WHERE thumbprint = $1`, scanACMEAccount, thumbprint)
}

// ACMEAccounts lists accounts.
func (db *DB) ACMEAccounts(ctx context.Context, l ACMEList) ([]ACMEAccount, error) {
	where := l.conditions("id")
	rows, err := db.read.QueryContext(ctx, `SELECT `+acmeAccountColumns+` FROM acme_accounts WHERE `+where.String()+l.order(), where.args...)
	return collect(db, "couldn't list ACME accounts", rows, err, func(rows *sql.Rows) (ACMEAccount, error) { return scanACMEAccount(rows) })
}

// SetACMEContact says how to reach the owner of an account.
func (db *DB) SetACMEContact(ctx context.Context, id string, contact []string) error {
	return db.changeACMEAccount(ctx, `UPDATE acme_accounts SET contact = $1 WHERE id = $2`, stringsText(contact), id)
}

// EndACMEAccount takes a valid account out of use for good; status is deactivated
// or revoked. One that is not valid is ErrConflict.
func (db *DB) EndACMEAccount(ctx context.Context, id, status string) error {
	return db.changeACMEAccount(ctx, `UPDATE acme_accounts SET status = $1 WHERE id = $2 AND status = 'valid'`, status, cleanText(id))
}

// RekeyACMEAccount gives a valid account another key, when it still has the one
// of thumbprint from; otherwise, and when the new key has an account, it is ErrConflict.
func (db *DB) RekeyACMEAccount(ctx context.Context, id, from, to, key string) error {
	const update = `UPDATE acme_accounts SET thumbprint = $1, key = $2 WHERE id = $3 AND thumbprint = $4 AND status = 'valid'`
	return db.changeACMEAccount(ctx, update, to, key, id, from)
}

func (db *DB) changeACMEAccount(ctx context.Context, update string, args ...any) error {
	return db.wrap("couldn't change an ACME account", db.grouped(ctx, func(tx *writing) error {
		result, err := tx.run(ctx, update, args...)
		return changedOne(result, err)
	}))
}

const acmeBindingColumns = `id, secret_id, authority, profiles, names, note, reusable, created, created_by, expires, used, revoked`

func scanACMEBinding(row scanner) (ACMEBinding, error) {
	var b ACMEBinding
	var profiles, names string
	var created, expires, used, revoked int64
	err := row.Scan(&b.ID, &b.Secret, &b.Authority, &profiles, &names, &b.Note, &b.Reusable, &created, &b.CreatedBy, &expires, &used, &revoked)
	if err != nil {
		return b, err
	}
	b.Created, b.Expires, b.Used, b.Revoked = timeOf(created), timeOf(expires), timeOf(used), timeOf(revoked)
	if b.Profiles, err = stringsOf(profiles); err != nil {
		return b, err
	}
	b.Names, err = stringsOf(names)
	return b, err
}

// AddACMEBinding keeps a new binding. One without an end never expires.
func (db *DB) AddACMEBinding(ctx context.Context, b ACMEBinding) error {
	err := db.tx(ctx, func(tx *writing) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO acme_bindings (`+acmeBindingColumns+`) VALUES `+values(db.engine, 1, 12, nil), b.ID, b.Secret, b.Authority,
			stringsText(b.Profiles), stringsText(b.Names), b.Note, b.Reusable, micros(b.Created), b.CreatedBy, endMicros(b.Expires), micros(b.Used), micros(b.Revoked))
		return err
	})
	return db.wrap("couldn't keep a binding", err)
}

// ACMEBinding returns the binding of an id.
func (db *DB) ACMEBinding(ctx context.Context, id string) (ACMEBinding, error) {
	return one(ctx, db, "couldn't read a binding", `SELECT `+acmeBindingColumns+` FROM acme_bindings WHERE id = $1`, scanACMEBinding, cleanText(id))
}

// ACMEBindings lists all bindings, the newest first.
func (db *DB) ACMEBindings(ctx context.Context) ([]ACMEBinding, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+acmeBindingColumns+` FROM acme_bindings ORDER BY created DESC, id`)
	return collect(db, "couldn't list bindings", rows, err, func(rows *sql.Rows) (ACMEBinding, error) { return scanACMEBinding(rows) })
}

// RevokeACMEBinding ends a binding, and with it what its accounts may order.
func (db *DB) RevokeACMEBinding(ctx context.Context, id string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		result, err := tx.ExecContext(ctx, `UPDATE acme_bindings SET revoked = $1 WHERE id = $2 AND revoked = 0`, micros(at), cleanText(id))
		return changedOne(result, err)
	})
	return db.wrap("couldn't revoke a binding", err)
}

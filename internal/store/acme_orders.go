// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

const acmeOrderColumns = `id, account, authority, status, profile, identifiers, authorizations, not_after, replaces, note, csr, waiting, serial, error, created, expires`

func scanACMEOrder(row scanner) (ACMEOrder, error) {
	var o ACMEOrder
	var identifiers, authorizations string
	var notAfter, created, expires int64
	err := row.Scan(&o.ID, &o.Account, &o.Authority, &o.Status, &o.Profile, &identifiers, &authorizations, &notAfter, &o.Replaces, &o.Note,
		&o.CSR, &o.Waiting, &o.Serial, &o.Error, &created, &expires)
	if err != nil {
		return o, err
	}
	o.NotAfter, o.Created, o.Expires = timeOf(notAfter), timeOf(created), timeOf(expires)
	if o.Identifiers, err = identifiersOf(identifiers); err != nil {
		return o, err
	}
	o.Authorizations, err = stringsOf(authorizations)
	return o, err
}

// AddACMEOrder keeps a new order with the authorizations that are new with it, and
// that its account was used.
func (db *DB) AddACMEOrder(ctx context.Context, o ACMEOrder, fresh []ACMEAuthorization) error {
	err := db.grouped(ctx, func(tx *writing) error {
		for _, a := range fresh {
			_, err := tx.run(ctx, `INSERT INTO acme_authorizations (`+acmeAuthorizationColumns+`) VALUES `+values(db.engine, 1, 9, nil), a.ID, a.Account, a.Kind, a.Value,
				a.Wildcard, a.Status, a.Challenges, micros(a.Created), micros(a.Expires))
			if err != nil {
				return err
			}
		}
		_, err := tx.run(ctx, `INSERT INTO acme_orders (`+acmeOrderColumns+`) VALUES `+values(db.engine, 1, 16, nil), o.ID, o.Account, o.Authority, o.Status, o.Profile,
			jsonText(o.Identifiers), stringsText(o.Authorizations), micros(o.NotAfter), o.Replaces, o.Note, orEmpty(o.CSR), o.Waiting, o.Serial, o.Error,
			micros(o.Created), micros(o.Expires))
		if err != nil {
			return err
		}
		hour := o.Created.Truncate(time.Hour)
		_, err = tx.run(ctx, `UPDATE acme_accounts SET used = $1 WHERE id = $2 AND used < $1`, micros(hour), o.Account)
		return err
	})
	return db.wrap("couldn't keep an order", err)
}

// ACMEOrder returns the order of an id.
func (db *DB) ACMEOrder(ctx context.Context, id string) (ACMEOrder, error) {
	return one(ctx, db, "couldn't read an order", `SELECT `+acmeOrderColumns+` FROM acme_orders WHERE id = $1`, scanACMEOrder, cleanText(id))
}

// ACMEOrders lists orders.
func (db *DB) ACMEOrders(ctx context.Context, l ACMEList) ([]ACMEOrder, error) {
	where := l.conditions("account")
	rows, err := db.read.QueryContext(ctx, `SELECT `+acmeOrderColumns+` FROM acme_orders WHERE `+where.String()+l.order(), where.args...)
	return collect(db, "couldn't list orders", rows, err, func(rows *sql.Rows) (ACMEOrder, error) { return scanACMEOrder(rows) })
}

// ProcessingACMEOrders returns the orders made since a time that somebody began to
// finish. It looks at all orders since then: there is no index that every order would
// have to be put in and taken out of.
func (db *DB) ProcessingACMEOrders(ctx context.Context, since time.Time) ([]ACMEOrder, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+acmeOrderColumns+` FROM acme_orders WHERE id >= $1 AND status = 'processing' ORDER BY id`, firstACMEID(since))
	return collect(db, "couldn't list orders", rows, err, func(rows *sql.Rows) (ACMEOrder, error) { return scanACMEOrder(rows) })
}

// OpenACMEOrders counts the orders of an account that wait for it, up to CountCap.
func (db *DB) OpenACMEOrders(ctx context.Context, account string, now time.Time) (int, error) {
	const query = `SELECT COUNT(*) FROM (SELECT 1 FROM acme_orders WHERE account = $1 AND status = 'pending' AND expires > $2 LIMIT 10000) AS counted`
	return one(ctx, db, "couldn't count orders", query, func(row scanner) (n int, err error) { return n, row.Scan(&n) }, account, micros(now))
}

// ACMEOrderOfSerial returns the id of the order of an account that a certificate
// was given to, "" when there is none.
func (db *DB) ACMEOrderOfSerial(ctx context.Context, account, serial string) (string, error) {
	const query = `SELECT id FROM acme_orders WHERE account = $1 AND serial = $2 LIMIT 1`
	rows, err := db.read.QueryContext(ctx, query, account, serial)
	found, err := collect(db, "couldn't find an order", rows, err, func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) })
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

// ChangeACMEOrder writes the status, CSR, serial, error and note of an order, and what it
// waits for, if its status is still from; otherwise it is ErrConflict.
func (db *DB) ChangeACMEOrder(ctx context.Context, from string, o ACMEOrder) error {
	const update = `UPDATE acme_orders SET status = $1, csr = $2, waiting = $3, serial = $4, error = $5, note = $6 WHERE id = $7 AND status = $8`
	return db.wrap("couldn't change an order", db.grouped(ctx, func(tx *writing) error {
		result, err := tx.run(ctx, update, o.Status, orEmpty(o.CSR), o.Waiting, o.Serial, o.Error, o.Note, o.ID, from)
		return changedOne(result, err)
	}))
}

const acmeAuthorizationColumns = `id, account, kind, value, wildcard, status, challenges, created, expires`

func scanACMEAuthorization(row scanner) (ACMEAuthorization, error) {
	var a ACMEAuthorization
	var created, expires int64
	err := row.Scan(&a.ID, &a.Account, &a.Kind, &a.Value, &a.Wildcard, &a.Status, &a.Challenges, &created, &expires)
	a.Created, a.Expires = timeOf(created), timeOf(expires)
	return a, err
}

// ACMEAuthorization returns the authorization of an id.
func (db *DB) ACMEAuthorization(ctx context.Context, id string) (ACMEAuthorization, error) {
	return one(ctx, db, "couldn't read an authorization", `SELECT `+acmeAuthorizationColumns+` FROM acme_authorizations WHERE id = $1`, scanACMEAuthorization, cleanText(id))
}

// ACMEAuthorizations returns those of some ids, in no order.
func (db *DB) ACMEAuthorizations(ctx context.Context, ids []string) ([]ACMEAuthorization, error) {
	keys := make([]any, len(ids))
	for i, id := range ids {
		keys[i] = id
	}
	list := make([]ACMEAuthorization, 0, len(ids))
	err := in(context.WithoutCancel(ctx), db, `SELECT `+acmeAuthorizationColumns+` FROM acme_authorizations WHERE id IN `, keys, func(rows *sql.Rows) error {
		a, err := scanACMEAuthorization(rows)
		list = append(list, a)
		return err
	})
	return list, db.wrap("couldn't read authorizations", err)
}

// UsableACMEAuthorization returns the authorization of an account for a name that
// is valid or pending until after a time, a valid one if there is one; ErrNotFound without any.
func (db *DB) UsableACMEAuthorization(ctx context.Context, account, kind, value string, wildcard bool, until time.Time) (ACMEAuthorization, error) {
	const query = `SELECT ` + acmeAuthorizationColumns + ` FROM acme_authorizations
		WHERE account = $1 AND kind = $2 AND value = $3 AND expires > $4 AND wildcard = $5 AND status IN ('valid', 'pending')
		ORDER BY status DESC, expires DESC LIMIT 1`
	return one(ctx, db, "couldn't find an authorization", query, scanACMEAuthorization, account, kind, value, micros(until), wildcard)
}

// ProcessingACMEAuthorizations returns those of which a challenge is being tried.
func (db *DB) ProcessingACMEAuthorizations(ctx context.Context) ([]ACMEAuthorization, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+acmeAuthorizationColumns+` FROM acme_authorizations WHERE status = 'processing' ORDER BY id`)
	return collect(db, "couldn't list authorizations", rows, err, func(rows *sql.Rows) (ACMEAuthorization, error) { return scanACMEAuthorization(rows) })
}

// ChangeACMEAuthorization writes the status, challenges and end of an authorization,
// if its status is still from; otherwise it is ErrConflict.
func (db *DB) ChangeACMEAuthorization(ctx context.Context, from string, a ACMEAuthorization) error {
	const update = `UPDATE acme_authorizations SET status = $1, challenges = $2, expires = $3 WHERE id = $4 AND status = $5`
	return db.wrap("couldn't change an authorization", db.grouped(ctx, func(tx *writing) error {
		result, err := tx.run(ctx, update, a.Status, a.Challenges, micros(a.Expires), a.ID, from)
		return changedOne(result, err)
	}))
}

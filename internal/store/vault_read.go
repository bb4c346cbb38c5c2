// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// An EntrustedFilter picks secrets; what is zero picks all that were not destroyed.
type EntrustedFilter struct {
	Customer, System, Account, Kind string
	Text                            string    // part of the customer, system or account
	Holder                          string    // of the newest version
	WrappingKey                     string    // of the newest version
	Due                             time.Time // to be replaced by then
	Stale                           bool
	Destroyed                       bool // those that were destroyed, and no others
}

const entrustedColumns = `e.id, e.ref, e.customer, e.system, e.account, e.kind, e.opens, e.origin, e.max_age, e.newest, e.since, e.due, e.due_why, e.lost,
	e.created, e.created_by, e.destroyed, v.holder, k.wrapping_key`

const entrustedFrom = `vault_secrets e JOIN vault_versions v ON v.secret_id = e.id AND v.number = e.newest JOIN secrets k ON k.id = v.key_id`

func scanEntrusted(row scanner, more ...any) (EntrustedSecret, error) {
	var s EntrustedSecret
	var since, due, created, destroyed int64
	err := row.Scan(append([]any{&s.Serial, &s.ID, &s.Customer, &s.System, &s.Account, &s.Kind, &s.Opens, &s.Origin, &s.MaxAge, &s.Version, &since, &due, &s.DueWhy, &s.Lost,
		&created, &s.CreatedBy, &destroyed, &s.Holder, &s.WrappingKey}, more...)...)
	s.Since, s.Due, s.Created, s.Destroyed = timeOf(since), timeOf(due), timeOf(created), timeOf(destroyed)
	return s, err
}

func (f EntrustedFilter) where() *conditions {
	w := &conditions{}
	for _, c := range []struct{ column, value string }{
		{"e.customer", f.Customer}, {"e.system", f.System}, {"e.account", f.Account}, {"e.kind", f.Kind}, {"v.holder", f.Holder}, {"k.wrapping_key", f.WrappingKey},
	} {
		if c.value != "" {
			w.add(c.column+` = ?`, c.value)
		}
	}
	if f.Text != "" {
		like := "%" + escapeLike.Replace(strings.ToLower(f.Text)) + "%"
		w.add(`(LOWER(e.customer) LIKE ? ESCAPE '\' OR LOWER(e.system) LIKE ? ESCAPE '\' OR LOWER(e.account) LIKE ? ESCAPE '\')`, like, like, like)
	}
	if !f.Due.IsZero() {
		w.add(`e.due <= ?`, micros(f.Due))
	}
	if f.Stale {
		w.add(`e.lost > e.newest`)
	}
	w.add(map[bool]string{false: `e.destroyed = 0`, true: `e.destroyed > 0`}[f.Destroyed])
	return w
}

// EntrustedSecrets lists secrets, with how many there are. They are sorted by customer,
// since (the age of the newest version) or due.
func (db *DB) EntrustedSecrets(ctx context.Context, f EntrustedFilter, page PageRequest) (Page[EntrustedSecret], int64, error) {
	sort, err := page.column(map[string]string{"customer": "e.customer", "since": "e.since", "due": "e.due"}, "customer")
	if err != nil {
		return Page[EntrustedSecret]{}, 0, err
	}
	total, err := db.count(ctx, entrustedFrom, f.where())
	if err != nil {
		return Page[EntrustedSecret]{}, 0, err
	}
	list := listing[EntrustedSecret]{columns: entrustedColumns, from: entrustedFrom, where: f.where(), sort: sort, id: "e.id", text: sort == "e.customer", scan: scanEntrusted}
	result, err := list.page(ctx, db, page)
	return result, total, err
}

// EntrustedSecret returns a secret by its id, also one that was destroyed.
func (db *DB) EntrustedSecret(ctx context.Context, id string) (EntrustedSecret, error) {
	const query = `SELECT ` + entrustedColumns + ` FROM ` + entrustedFrom + ` WHERE e.ref = $1`
	s, err := scanEntrusted(db.read.QueryRowContext(ctx, query, cleanText(id)))
	return s, db.wrap("couldn't find the entrusted secret "+id, err)
}

// EntrustedSecretsOf returns secrets by their ids, in no order, also those that were destroyed. An id that is
// not there is left out.
func (db *DB) EntrustedSecretsOf(ctx context.Context, ids []string) ([]EntrustedSecret, error) {
	keys := make([]any, len(ids))
	for i, id := range ids {
		keys[i] = id
	}
	list := make([]EntrustedSecret, 0, len(ids))
	err := in(ctx, db, `SELECT `+entrustedColumns+` FROM `+entrustedFrom+` WHERE e.ref IN `, keys, func(rows *sql.Rows) error {
		s, err := scanEntrusted(rows)
		list = append(list, s)
		return err
	})
	return list, db.wrap("couldn't find entrusted secrets", err)
}

// EntrustedFor returns the secret of an account; one that is not there is ErrNotFound.
func (db *DB) EntrustedFor(ctx context.Context, customer, system, account, kind string) (EntrustedSecret, error) {
	const query = `SELECT ` + entrustedColumns + ` FROM ` + entrustedFrom + ` WHERE e.customer = $1 AND e.system = $2 AND e.account = $3 AND e.kind = $4`
	s, err := scanEntrusted(db.read.QueryRowContext(ctx, query, customer, system, account, kind))
	return s, db.wrap("couldn't find the entrusted secret", err)
}

const versionColumns = `id, number, key_id, holder, created, entrusted_by, destroyed, sealed`

func scanVersion(row scanner) (EntrustedVersion, error) {
	var v EntrustedVersion
	var created, destroyed int64
	err := row.Scan(&v.Serial, &v.Number, &v.KeyID, &v.Holder, &created, &v.By, &destroyed, &v.Sealed)
	v.Created, v.Destroyed = timeOf(created), timeOf(destroyed)
	return v, err
}

// EntrustedVersion returns one version of a secret, also one that was destroyed.
func (db *DB) EntrustedVersion(ctx context.Context, secret, number int64) (EntrustedVersion, error) {
	row := db.read.QueryRowContext(ctx, `SELECT `+versionColumns+` FROM vault_versions WHERE secret_id = $1 AND number = $2`, secret, number)
	v, err := scanVersion(row)
	return v, db.wrap(fmt.Sprintf("couldn't find version %d", number), err)
}

// EntrustedVersions returns the versions of a secret, the newest first, at most a thousand.
func (db *DB) EntrustedVersions(ctx context.Context, secret int64) ([]EntrustedVersion, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+versionColumns+` FROM vault_versions WHERE secret_id = $1 ORDER BY number DESC LIMIT 1000`, secret)
	return collect(db, "couldn't list versions", rows, err, func(rows *sql.Rows) (EntrustedVersion, error) { return scanVersion(rows) })
}

// A Handout is a version that was given to its holder.
type Handout struct {
	Version int64     `json:"version"`
	Holder  string    `json:"holder"`
	Time    time.Time `json:"time"`
}

// AddHandout writes down that a version is given to its holder, unless it was destroyed
// or replaced meanwhile, or became stale: then it is ErrConflict.
func (db *DB) AddHandout(ctx context.Context, s EntrustedSecret, v EntrustedVersion, holder string, at time.Time) error {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return err
	}
	err = db.grouped(ctx, func(tx *writing) error {
		const insert = `INSERT INTO vault_handouts (id, version_id, holder, time)
			SELECT CAST($1 AS BIGINT), v.id, CAST($2 AS TEXT), CAST($3 AS BIGINT) FROM vault_versions v JOIN vault_secrets e ON e.id = v.secret_id
			WHERE v.id = $4 AND v.destroyed = 0 AND e.newest = $5 AND e.lost <= e.newest`
		return exactlyOne(tx.ExecContext(ctx, insert, id, holder, micros(at), v.Serial, s.Version))
	})
	return db.wrap("couldn't write down who is given the secret "+s.ID, err)
}

// Handouts returns to whom versions of a secret were given, the last first, at most limit.
func (db *DB) Handouts(ctx context.Context, secret int64, limit int) ([]Handout, error) {
	const query = `SELECT v.number, h.holder, h.time FROM vault_handouts h JOIN vault_versions v ON v.id = h.version_id WHERE v.secret_id = $1 ORDER BY h.time DESC, h.id DESC LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, secret, limit)
	return collect(db, "couldn't list who was given a secret", rows, err, func(rows *sql.Rows) (h Handout, err error) {
		var at int64
		err = rows.Scan(&h.Version, &h.Holder, &at)
		h.Time = timeOf(at)
		return h, err
	})
}

// FirstHandout returns when the holder of a secret was first given a version; zero is not yet.
func (db *DB) FirstHandout(ctx context.Context, secret, version int64) (time.Time, error) {
	const query = `SELECT COALESCE(MIN(h.time), 0) FROM vault_handouts h JOIN vault_versions v ON v.id = h.version_id WHERE v.secret_id = $1 AND v.number = $2`
	var at int64
	err := db.read.QueryRowContext(ctx, query, secret, version).Scan(&at)
	return timeOf(at), db.wrap("couldn't find who was given a secret", err)
}

// MarkEntrusted says that secrets are to be replaced at once, for a reason. It returns
// how many it was said of: those that were destroyed are left out, and so is one whose
// newest version is not the one that is named.
func (db *DB) MarkEntrusted(ctx context.Context, versions map[string]int64, why string, at time.Time) (int64, error) {
	var marked int64
	err := db.tx(ctx, func(tx *writing) error {
		marked = 0
		stmt, err := tx.prepared(ctx, `UPDATE vault_secrets SET due = $1, due_why = $2 WHERE ref = $3 AND newest = $4 AND destroyed = 0`)
		if err != nil {
			return err
		}
		for id, version := range versions {
			result, err := stmt.ExecContext(ctx, micros(at), why, id, version)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			marked += n
		}
		return nil
	})
	return marked, db.wrap("couldn't mark what is to be replaced", err)
}

// An EntrustedSums is the vault in numbers.
type EntrustedSums struct {
	Secrets   int64 `json:"secrets"`
	Customers int64 `json:"customers"`
	Due       int64 `json:"due" doc:"to be replaced by now"`
	Stale     int64 `json:"stale" doc:"a newer version was, and is not in this database"`
	Missing   int64 `json:"missing" doc:"known to have been, and not in this database at all"`
}

// EntrustedSums counts what is kept.
func (db *DB) EntrustedSums(ctx context.Context, now time.Time) (EntrustedSums, error) {
	var s EntrustedSums
	const query = `SELECT COUNT(*), COUNT(DISTINCT customer), COALESCE(SUM(CASE WHEN due <= $1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN lost > newest THEN 1 ELSE 0 END), 0),
		(SELECT COUNT(*) FROM vault_missing) FROM vault_secrets WHERE destroyed = 0`
	err := db.read.QueryRowContext(ctx, query, micros(now)).Scan(&s.Secrets, &s.Customers, &s.Due, &s.Stale, &s.Missing)
	return s, db.wrap("couldn't count what was entrusted", err)
}

// errNoReader is for a host that is not on record.
func errNoReader(host string) error {
	return fmt.Errorf("%w: no host %q has said that it can use a wrapping key", tallystick.ErrNotFound, host)
}

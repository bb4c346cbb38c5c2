// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Why a renewal is due.
const (
	DueNew    = "new"    // there is no certificate yet
	DueLife   = "life"   // its share of the lifetime has passed
	DueWindow = "window" // the issuer says so
	DueRecall = "recall" // the issuer wants it replaced, or has revoked it
	DueMoved  = "moved"  // it has another issuer now
	DueAsked  = "asked"  // somebody has asked for it
)

// A Renewal is a certificate that is had again and again.
type Renewal struct {
	ID        int64
	Name      string
	Issuer    string // "ca/NAME", or a name of the configuration
	Profile   string
	Names     []string // sorted
	Algorithm string
	Lifetime  time.Duration // 0: what the issuer gives
	Share     int64         // of the lifetime, in thousandths
	KeepKey   bool
	Directory string
	Hook      string // JSON; "" without one
	Paused    bool

	IssuedBy            string // of the newest certificate; "" while there is none
	Certificate         []byte // PEM, with its chain
	KeyID               string
	NotBefore, NotAfter time.Time

	Due         time.Time
	Why         string
	Look        time.Time // when to ask the issuer for the window; zero: it has none
	Explanation string
	Failures    int64 // in a row
	Refused     bool  // the CA said no
	Error       string
	Created     time.Time
	CreatedBy   string
	Declared    bool // in the configuration
}

const renewalColumns = `id, name, issuer, profile, names, algorithm, lifetime, share, keep_key, directory, hook, paused,
	issued_by, certificate, key_id, not_before, not_after, due, why, look, explanation, failures, refused, error, created, created_by, declared`

func scanRenewal(row scanner) (Renewal, error) {
	var r Renewal
	var names string
	var lifetime, notBefore, notAfter, due, look, created int64
	err := row.Scan(&r.ID, &r.Name, &r.Issuer, &r.Profile, &names, &r.Algorithm, &lifetime, &r.Share, &r.KeepKey, &r.Directory, &r.Hook, &r.Paused,
		&r.IssuedBy, &r.Certificate, &r.KeyID, &notBefore, &notAfter, &due, &r.Why, &look, &r.Explanation, &r.Failures, &r.Refused, &r.Error, &created, &r.CreatedBy, &r.Declared)
	if err != nil {
		return r, err
	}
	r.Lifetime, r.NotBefore, r.NotAfter, r.Due, r.Look, r.Created = ofMicros(lifetime), timeOf(notBefore), timeOf(notAfter), timeOf(due), timeOf(look), timeOf(created)
	r.Names, err = stringsOf(names)
	return r, err
}

// AddRenewal keeps a new renewal and returns it with its number. A name or a
// directory that is taken, or another one for the same, is ErrConflict; see SameRenewal.
func (db *DB) AddRenewal(ctx context.Context, r Renewal) (Renewal, error) {
	var err error
	if r.ID, err = db.newIDs(ctx, 1); err != nil {
		return r, err
	}
	err = db.grouped(ctx, func(tx *writing) error {
		const insert = `INSERT INTO renewals (id, name, issuer, profile, names, algorithm, lifetime, share, keep_key, directory, hook, certificate, due, why, created, created_by, declared)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`
		stmt, err := tx.prepared(ctx, insert)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(context.WithoutCancel(ctx), r.ID, r.Name, r.Issuer, r.Profile, stringsText(r.Names), r.Algorithm, r.Lifetime.Microseconds(), r.Share,
			r.KeepKey, r.Directory, r.Hook, []byte{}, micros(r.Due), r.Why, micros(r.Created), r.CreatedBy, r.Declared)
		return err
	})
	return r, db.wrap("couldn't add the renewal "+r.Name, err)
}

// ChangeRenewal writes what is wanted of a renewal, and what follows from that:
// when it is due, why, and who declared it. What it has stays.
func (db *DB) ChangeRenewal(ctx context.Context, r Renewal) error {
	const query = `UPDATE renewals SET issuer = $1, profile = $2, names = $3, algorithm = $4, lifetime = $5, share = $6, keep_key = $7, directory = $8, hook = $9,
		paused = $10, due = $11, why = $12, failures = $13, refused = $14, error = $15, declared = $16 WHERE id = $17`
	return db.ownRun(ctx, "couldn't change the renewal "+r.Name, query, r.Issuer, r.Profile, stringsText(r.Names), r.Algorithm, r.Lifetime.Microseconds(), r.Share, r.KeepKey,
		r.Directory, r.Hook, r.Paused, micros(r.Due), r.Why, r.Failures, r.Refused, cleanText(r.Error), r.Declared, r.ID)
}

// Renewal returns the one of a name.
func (db *DB) Renewal(ctx context.Context, name string) (Renewal, error) {
	r, err := scanRenewal(db.read.QueryRowContext(ctx, `SELECT `+renewalColumns+` FROM renewals WHERE name = $1`, cleanText(name)))
	return r, db.wrap(fmt.Sprintf("couldn't read the renewal %q", cleanText(name)), err)
}

// RenewalByID returns one.
func (db *DB) RenewalByID(ctx context.Context, id int64) (Renewal, error) {
	row, err := db.prepared(ctx, `SELECT `+renewalColumns+` FROM renewals WHERE id = $1`)
	if err != nil {
		return Renewal{}, db.wrap("couldn't read a renewal", err)
	}
	r, err := scanRenewal(row.QueryRowContext(ctx, id))
	return r, db.wrap("couldn't read a renewal", err)
}

// SameRenewal returns the one that is for the same as r, has its directory or
// its name; ErrNotFound without one.
func (db *DB) SameRenewal(ctx context.Context, r Renewal) (Renewal, error) {
	const query = `SELECT ` + renewalColumns + ` FROM renewals WHERE id <> $1 AND (name = $2 OR (directory <> '' AND directory = $3)
		OR (issuer = $4 AND profile = $5 AND names = $6 AND directory = $3)) ORDER BY CASE WHEN name = $2 THEN 0 ELSE 1 END, id LIMIT 1`
	found, err := scanRenewal(db.read.QueryRowContext(ctx, query, r.ID, r.Name, r.Directory, r.Issuer, r.Profile, stringsText(r.Names)))
	return found, db.wrap("couldn't look for the same renewal", err)
}

// A RenewalFilter picks renewals; what is zero picks all.
type RenewalFilter struct {
	Issuer string
	Like   string // part of the name or of one of the names
	// State is paused, refused, failing (in a row, and not refused), overdue (due an
	// hour ago), expired or waiting (an order is under way).
	State    string
	Declared bool // only those of the configuration
	Now      time.Time
}

// Renewals returns at most limit, in the order of their names, from behind after on.
func (db *DB) Renewals(ctx context.Context, f RenewalFilter, after string, limit int) ([]Renewal, error) {
	where, args := `name > $1`, []any{cleanText(after)}
	add := func(condition string, value any) {
		args = append(args, value)
		where += " AND " + strings.ReplaceAll(condition, "?", "$"+itoa(int64(len(args))))
	}
	if f.Issuer != "" {
		add("issuer = ?", cleanText(f.Issuer))
	}
	if f.Like != "" {
		add(`(name LIKE ? ESCAPE '\' OR names LIKE ? ESCAPE '\')`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(cleanText(f.Like))+"%")
	}
	if f.Declared {
		where += " AND declared = TRUE"
	}
	switch f.State {
	case "paused":
		where += " AND paused = TRUE"
	case "refused":
		where += " AND refused = TRUE"
	case "failing":
		where += " AND failures > 0 AND refused = FALSE"
	case "overdue":
		add("paused = FALSE AND due < ?", micros(f.Now.Add(-time.Hour)))
	case "expired":
		add("not_after > 0 AND not_after <= ?", micros(f.Now))
	case "waiting":
		where += " AND id IN (SELECT renewal_id FROM renewal_orders WHERE ended = 0)"
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+renewalColumns+` FROM renewals WHERE `+where+` ORDER BY name LIMIT `+itoa(int64(limit)), args...)
	return collect(db, "couldn't list the renewals", rows, err, func(rows *sql.Rows) (Renewal, error) { return scanRenewal(rows) })
}

// A RenewalLife is what a calendar needs of a renewal.
type RenewalLife struct {
	Name, Issuer             string
	NotBefore, NotAfter, Due int64 // microseconds since 1970; 0 is none
	Lifetime, Share          int64 // microseconds; thousandths
}

// EachRenewalLife calls fn for every renewal that is not paused.
func (db *DB) EachRenewalLife(ctx context.Context, fn func(RenewalLife)) error {
	rows, err := db.read.QueryContext(ctx, `SELECT name, issuer, not_before, not_after, due, lifetime, share FROM renewals WHERE paused = FALSE`)
	err = each(rows, err, func(rows *sql.Rows) error {
		var l RenewalLife
		err := rows.Scan(&l.Name, &l.Issuer, &l.NotBefore, &l.NotAfter, &l.Due, &l.Lifetime, &l.Share)
		if err == nil {
			fn(l)
		}
		return err
	})
	return db.wrap("couldn't read the renewals", err)
}

// PauseRenewal keeps a renewal from going on, or lets it.
func (db *DB) PauseRenewal(ctx context.Context, id int64, paused bool) error {
	return db.ownRun(ctx, "couldn't change a renewal", `UPDATE renewals SET paused = $1 WHERE id = $2`, paused, id)
}

// AskRenewal makes a renewal due, and lets its open order go on at once.
func (db *DB) AskRenewal(ctx context.Context, id int64, why string, now time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const due = `UPDATE renewals SET due = $1, why = $2, failures = 0, refused = FALSE WHERE id = $3`
		result, err := tx.ExecContext(ctx, due, micros(now), why, id)
		if err := changedOne(result, err); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE renewal_orders SET next = $1, failures = 0 WHERE renewal_id = $2 AND ended = 0`, micros(now), id)
		return err
	})
	return db.wrap("couldn't make a renewal due", err)
}

// RemoveRenewal forgets a renewal with its orders, and returns the keys that
// nothing else uses then.
func (db *DB) RemoveRenewal(ctx context.Context, id int64) ([]string, error) {
	var keys []string
	err := db.tx(ctx, func(tx *writing) error {
		keys = nil
		const of = `SELECT key_id FROM renewals WHERE id = $1 AND key_id <> '' UNION SELECT key_id FROM renewal_orders WHERE renewal_id = $1 AND key_id <> ''`
		rows, err := tx.QueryContext(ctx, of, id)
		err = each(rows, err, func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&key)
			keys = append(keys, key)
			return err
		})
		if err != nil {
			return err
		}
		for _, query := range []string{`DELETE FROM renewal_orders WHERE renewal_id = $1`, `DELETE FROM move_items WHERE renewal_id = $1 AND state IN ('waiting', 'running')`} {
			if _, err := tx.ExecContext(ctx, query, id); err != nil {
				return err
			}
		}
		result, err := tx.ExecContext(ctx, `DELETE FROM renewals WHERE id = $1`, id)
		return changedOne(result, err)
	})
	return keys, db.wrap("couldn't remove a renewal", err)
}

// RenewalsToLook returns at most limit renewals whose issuers are to be asked for
// their windows, those that wait longest first.
func (db *DB) RenewalsToLook(ctx context.Context, now time.Time, limit int) ([]Renewal, error) {
	const query = `SELECT ` + renewalColumns + ` FROM renewals WHERE look > 0 AND (look <= $1 OR look > $2) AND paused = FALSE ORDER BY look LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, micros(now), micros(now.Add(2*24*time.Hour)), limit)
	return collect(db, "couldn't list the renewals to ask about", rows, err, func(rows *sql.Rows) (Renewal, error) { return scanRenewal(rows) })
}

// LookAgain has an issuer asked about all of its certificates now.
func (db *DB) LookAgain(ctx context.Context, issuer string, now time.Time) error {
	_, err := db.write.ExecContext(ctx, `UPDATE renewals SET look = $1 WHERE issued_by = $2 AND look > 0`, micros(now), issuer)
	return db.wrap("couldn't have an issuer asked again", err)
}

// SetWindow writes what an issuer said of the certificate that a renewal had, when
// it still has that one. Without a why it is due when it was, and only Look changes.
func (db *DB) SetWindow(ctx context.Context, r Renewal) error {
	err := db.grouped(ctx, func(tx *writing) error {
		query := `UPDATE renewals SET look = $1, explanation = $2 WHERE id = $3 AND not_after = $4 AND key_id = $5`
		args := []any{micros(r.Look), cleanText(r.Explanation), r.ID, micros(r.NotAfter), r.KeyID}
		if r.Why != "" {
			query = `UPDATE renewals SET look = $1, explanation = $2, due = $6, why = $7 WHERE id = $3 AND not_after = $4 AND key_id = $5`
			args = append(args, micros(r.Due), r.Why)
		}
		stmt, err := tx.prepared(ctx, query)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(context.WithoutCancel(ctx), args...)
		return err
	})
	return db.wrap("couldn't keep what an issuer said", err)
}

// RenewalNumbers are numbers of all renewals.
type RenewalNumbers struct {
	All, Paused, Refused, Failing, Overdue, Expired int64
	Orders                                          map[string]int64 // open ones, by step
	Oldest                                          time.Time        // when the first of those due became it; zero without one
}

// CountRenewals counts.
func (db *DB) CountRenewals(ctx context.Context, now time.Time) (RenewalNumbers, error) {
	n := RenewalNumbers{Orders: map[string]int64{}}
	const count = `SELECT COUNT(*), COALESCE(SUM(CASE WHEN paused = TRUE THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN refused = TRUE THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN failures > 0 AND refused = FALSE THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN paused = FALSE AND due < $1 THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN not_after > 0 AND not_after <= $2 THEN 1 ELSE 0 END), 0),
		COALESCE(MIN(CASE WHEN paused = FALSE AND due <= $2 THEN due END), 0) FROM renewals`
	var oldest int64
	err := db.read.QueryRowContext(ctx, count, micros(now.Add(-time.Hour)), micros(now)).Scan(&n.All, &n.Paused, &n.Refused, &n.Failing, &n.Overdue, &n.Expired, &oldest)
	if err != nil {
		return n, db.wrap("couldn't count the renewals", err)
	}
	n.Oldest = timeOf(oldest)
	rows, err := db.read.QueryContext(ctx, `SELECT step, COUNT(*) FROM renewal_orders WHERE ended = 0 GROUP BY step`)
	err = each(rows, err, func(rows *sql.Rows) error {
		var step string
		var count int64
		err := rows.Scan(&step, &count)
		n.Orders[step] = count
		return err
	})
	return n, db.wrap("couldn't count the orders", err)
}

// CountAtIssuers returns how many renewals each issuer has, and how many of those
// fail now.
func (db *DB) CountAtIssuers(ctx context.Context) (map[string][2]int64, error) {
	counts := map[string][2]int64{}
	rows, err := db.read.QueryContext(ctx, `SELECT issuer, COUNT(*), SUM(CASE WHEN failures > 0 THEN 1 ELSE 0 END) FROM renewals GROUP BY issuer`)
	err = each(rows, err, func(rows *sql.Rows) error {
		var issuer string
		var n [2]int64
		err := rows.Scan(&issuer, &n[0], &n[1])
		counts[issuer] = n
		return err
	})
	return counts, db.wrap("couldn't count what issuers have", err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// An Issued is a certificate that a CA of ours signed.
type Issued struct {
	Serial              []byte // unique over all CAs; grows with time
	Authority           int64
	Profile             string
	Via                 string
	Requester           string
	Subject             string
	Names               string   // JSON
	Search              []string // the names to find it by
	SPKI                []byte   // SHA-256
	SHA256              []byte
	Certificate         []byte
	IssuedAt            time.Time
	NotBefore, NotAfter time.Time
	Replaces            []byte    // the serial of the one before it; empty without one
	Replaced            time.Time // zero: not yet
	Recalled            time.Time
	RecallURL           string
	Asked               time.Time

	Revoked      time.Time // zero: not
	Reason       int
	InvalidSince time.Time
	RevokedBy    string
	Note         string
}

// AddIssued keeps a certificate, and marks the one that it replaces. A serial that is
// taken is ErrConflict. When the key was blocked meanwhile, or the authority is in
// none of the states in which it signs such a thing, nothing is kept and it is ErrDenied. Writers
// that come at the same time share a transaction.
func (db *DB) AddIssued(ctx context.Context, c Issued, states ...string) error {
	err := db.grouped(ctx, func(tx *writing) error {
		if err := tx.stillAllowed(ctx, c, states); err != nil {
			return err
		}
		const insert = `INSERT INTO issued (serial, authority_id, profile, via, requester, subject, names, spki, sha256, certificate, issued_at, not_before, not_after, replaces)
			VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)`
		stmt, err := tx.prepared(ctx, insert)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(context.WithoutCancel(ctx), c.Serial, c.Authority, c.Profile, c.Via, c.Requester, c.Subject, c.Names, c.SPKI, c.SHA256, c.Certificate,
			micros(c.IssuedAt), micros(c.NotBefore), micros(c.NotAfter), orEmpty(c.Replaces))
		if err != nil {
			return err
		}
		names := make([][]any, len(c.Search))
		for i, name := range c.Search {
			names[i] = []any{name, c.Serial}
		}
		rows := bulk{head: `INSERT INTO issued_names (name, serial) VALUES `, tail: ` ON CONFLICT (name, serial) DO NOTHING`, width: 2}
		if _, err := rows.exec(ctx, tx, names); err != nil {
			return err
		}
		if len(c.Replaces) == 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, `UPDATE issued SET replaced = $1 WHERE serial = $2 AND replaced = 0`, micros(c.IssuedAt), c.Replaces)
		return err
	})
	return db.wrap("couldn't keep a certificate", err)
}

// stillAllowed looks again at what could have changed since the certificate was
// begun. Nobody blocks a key or changes a CA from here to the end of the transaction.
func (w *writing) stillAllowed(ctx context.Context, c Issued, states []string) error {
	if err := w.db.engine.guard(ctx, w.Tx, true); err != nil {
		return err
	}
	stmt, err := w.prepared(ctx, `SELECT (SELECT COUNT(*) FROM blocked_keys WHERE spki = $1), (SELECT state FROM authorities WHERE id = $2)`)
	if err != nil {
		return err
	}
	var blocked int
	var now sql.NullString
	if err := stmt.QueryRowContext(context.WithoutCancel(ctx), c.SPKI, c.Authority).Scan(&blocked, &now); err != nil {
		return err
	}
	if blocked > 0 {
		return fmt.Errorf("%w: the key was blocked meanwhile", tallystick.ErrDenied)
	}
	if !slices.Contains(states, now.String) {
		return fmt.Errorf("%w: the CA is %s meanwhile", tallystick.ErrDenied, now.String)
	}
	return nil
}

const issuedColumns = `i.serial, i.authority_id, i.profile, i.via, i.requester, i.subject, i.names, i.spki, i.sha256, i.certificate, i.issued_at, i.not_before, i.not_after,
	i.replaces, i.replaced, i.recalled, i.recall_url, i.asked, COALESCE(r.at, 0), COALESCE(r.reason, 0), COALESCE(r.invalid_since, 0), COALESCE(r.by_whom, ''), COALESCE(r.note, '')`

const issuedFrom = ` FROM issued i LEFT JOIN revocations r ON r.authority_id = i.authority_id AND r.serial = i.serial`

func scanIssued(row scanner) (Issued, error) {
	var c Issued
	var issued, notBefore, notAfter, replaced, recalled, asked, revoked, invalid int64
	err := row.Scan(&c.Serial, &c.Authority, &c.Profile, &c.Via, &c.Requester, &c.Subject, &c.Names, &c.SPKI, &c.SHA256, &c.Certificate, &issued, &notBefore, &notAfter,
		&c.Replaces, &replaced, &recalled, &c.RecallURL, &asked, &revoked, &c.Reason, &invalid, &c.RevokedBy, &c.Note)
	c.IssuedAt, c.NotBefore, c.NotAfter = timeOf(issued), timeOf(notBefore), timeOf(notAfter)
	c.Replaced, c.Recalled, c.Asked = timeOf(replaced), timeOf(recalled), timeOf(asked)
	c.Revoked, c.InvalidSince = timeOf(revoked), timeOf(invalid)
	return c, err
}

// IssuedBySerial returns one; ErrNotFound when no CA of ours signed it.
func (db *DB) IssuedBySerial(ctx context.Context, serial []byte) (Issued, error) {
	c, err := scanIssued(db.one(ctx, `SELECT `+issuedColumns+issuedFrom+` WHERE i.serial = $1`, serial))
	return c, db.wrap("couldn't read a certificate", err)
}

// IsIssued says whether an authority signed a serial.
func (db *DB) IsIssued(ctx context.Context, authority int64, serial []byte) (bool, error) {
	var n int
	err := db.one(ctx, `SELECT COUNT(*) FROM issued WHERE serial = $1 AND authority_id = $2`, serial, authority).Scan(&n)
	return n > 0, db.wrap("couldn't look up a certificate", err)
}

// An IssuedFilter picks certificates; what is zero picks all.
type IssuedFilter struct {
	Authority     int64
	SPKI          []byte
	Name          string // one of its names, whole
	Profile       string
	Via           string
	Requester     string
	State         string    // good, expired, revoked, recalled; good and recalled leave out what has ended
	ExpiresBefore time.Time // and not before now
	Now           time.Time // for State and ExpiresBefore
	IssuedSince   time.Time
	Answered      string // of those recalled: yes (replaced), no
	Replaces      []byte // the serial that they take the place of
}

// ListIssued returns at most limit certificates, the newest first, whose serial is
// below before; nil is from the newest on.
func (db *DB) ListIssued(ctx context.Context, f IssuedFilter, before []byte, limit int) ([]Issued, error) {
	where, args := f.where()
	if len(before) > 0 {
		args = append(args, before)
		where += fmt.Sprintf(" AND i.serial < $%d", len(args))
	}
	query := `SELECT ` + issuedColumns + issuedFrom + ` WHERE ` + where + ` ORDER BY i.serial DESC LIMIT ` + itoa(int64(PageRequest{Limit: limit}.limit()))
	rows, err := db.read.QueryContext(ctx, query, args...)
	return collect(db, "couldn't list certificates", rows, err, func(rows *sql.Rows) (Issued, error) { return scanIssued(rows) })
}

// EachIssued calls fn for every certificate that the filter picks, the oldest first.
func (db *DB) EachIssued(ctx context.Context, f IssuedFilter, fn func(Issued) error) error {
	where, args := f.where()
	rows, err := db.read.QueryContext(ctx, `SELECT `+issuedColumns+issuedFrom+` WHERE `+where+` ORDER BY i.serial`, args...)
	return db.wrap("couldn't read certificates", each(rows, err, func(rows *sql.Rows) error {
		c, err := scanIssued(rows)
		if err != nil {
			return err
		}
		return fn(c)
	}))
}

// where makes the condition.
func (f IssuedFilter) where() (string, []any) {
	where := "1 = 1"
	var args []any
	add := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(" AND "+condition, "$"+itoa(int64(len(args))))
	}
	if f.Authority != 0 {
		add("i.authority_id = %s", f.Authority)
	}
	if f.SPKI != nil {
		add("i.spki = %s", f.SPKI)
	}
	if f.Replaces != nil {
		add("length(i.replaces) > 0 AND i.replaces = %s", f.Replaces)
	}
	if f.Name != "" {
		add("i.serial IN (SELECT serial FROM issued_names WHERE name = %s)", f.Name)
	}
	for _, column := range [][2]string{{"profile", f.Profile}, {"via", f.Via}, {"requester", f.Requester}} {
		if column[1] != "" {
			add("i."+column[0]+" = %s", column[1])
		}
	}
	switch f.State {
	case "good":
		where += " AND r.serial IS NULL AND i.recalled = 0"
		add("i.not_after > %s", micros(f.Now))
	case "valid": // good or recalled
		where += " AND r.serial IS NULL"
		add("i.not_after > %s", micros(f.Now))
	case "expired":
		add("i.not_after <= %s", micros(f.Now))
	case "revoked":
		where += " AND r.serial IS NOT NULL"
	case "recalled":
		where += " AND i.recalled > 0"
		add("i.not_after > %s", micros(f.Now))
	}
	switch f.Answered {
	case "yes":
		where += " AND i.replaced > 0"
	case "no":
		where += " AND i.replaced = 0"
	}
	if !f.ExpiresBefore.IsZero() {
		add("i.not_after < %s", micros(f.ExpiresBefore))
		add("i.not_after > %s", micros(f.Now))
	}
	if !f.IssuedSince.IsZero() {
		add("i.issued_at >= %s", micros(f.IssuedSince))
	}
	return where, args
}

// MarkRecalled says of certificates that their clients are to renew now, and where
// people read why. Those that are marked already keep their first time.
func (db *DB) MarkRecalled(ctx context.Context, serials [][]byte, url string, at time.Time) (int64, error) {
	var marked int64
	err := db.tx(ctx, func(tx *writing) error {
		marked = 0
		for _, serial := range serials {
			result, err := tx.ExecContext(ctx, `UPDATE issued SET recalled = $1, recall_url = $2 WHERE serial = $3 AND recalled = 0`, micros(at), url, serial)
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
	return marked, db.wrap("couldn't mark certificates for renewal", err)
}

// RecallAuthority marks everything that an authority signed and that is valid and not
// revoked, but for what is of one profile.
func (db *DB) RecallAuthority(ctx context.Context, authority int64, except, url string, at time.Time) (int64, error) {
	var marked int64
	err := db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE issued SET recalled = $1, recall_url = $2 WHERE authority_id = $3 AND recalled = 0 AND not_after > $4 AND profile <> $5
			AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.authority_id = issued.authority_id AND r.serial = issued.serial)`
		result, err := tx.ExecContext(ctx, update, micros(at), url, authority, micros(at), except)
		if err != nil {
			return err
		}
		marked, err = result.RowsAffected()
		return err
	})
	return marked, db.wrap("couldn't mark what a CA signed for renewal", err)
}

// IssuedLife returns of a certificate what its window depends on: its validity,
// whether it is recalled and whether it is revoked.
func (db *DB) IssuedLife(ctx context.Context, serial []byte) (Issued, error) {
	const query = `SELECT i.not_before, i.not_after, i.recalled, i.recall_url, COALESCE(r.at, 0)` + issuedFrom + ` WHERE i.serial = $1`
	c := Issued{Serial: serial}
	var notBefore, notAfter, recalled, revoked int64
	err := db.one(ctx, query, serial).Scan(&notBefore, &notAfter, &recalled, &c.RecallURL, &revoked)
	c.NotBefore, c.NotAfter, c.Recalled, c.Revoked = timeOf(notBefore), timeOf(notAfter), timeOf(recalled), timeOf(revoked)
	return c, db.wrap("couldn't read a certificate", err)
}

// MarkAsked remembers when clients asked for the windows of certificates.
func (db *DB) MarkAsked(ctx context.Context, asked map[string]time.Time) error {
	err := db.grouped(ctx, func(tx *writing) error {
		for serial, at := range asked {
			if _, err := tx.ExecContext(ctx, `UPDATE issued SET asked = $1 WHERE serial = $2`, micros(at), []byte(serial)); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't remember who asked for a renewal window", err)
}

// IssuedCounts are certificates of one CA by what became of them.
type IssuedCounts struct {
	Authority int64
	Total     int64 // all that were ever signed
	Good      int64 // valid now, not revoked
	Revoked   int64 // and not ended
	Expiring  int64 // good, and ending before soon
	Recalled  int64 // and not ended, revoked or not
	Answered  int64 // of those recalled: whose clients have a newer one
	InUse     int64 // good, and not replaced by a newer one
}

// CountIssued counts by authority.
func (db *DB) CountIssued(ctx context.Context, now, soon time.Time) (map[int64]IssuedCounts, error) {
	const query = `SELECT i.authority_id, COUNT(*),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND r.serial IS NULL THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND r.serial IS NOT NULL THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND i.not_after < $2 AND r.serial IS NULL THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND i.recalled > 0 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND i.recalled > 0 AND i.replaced > 0 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN i.not_after > $1 AND i.replaced = 0 AND r.serial IS NULL THEN 1 ELSE 0 END), 0)` + issuedFrom + ` GROUP BY i.authority_id`
	counts := map[int64]IssuedCounts{}
	rows, err := db.read.QueryContext(ctx, query, micros(now), micros(soon))
	err = each(rows, err, func(rows *sql.Rows) error {
		var c IssuedCounts
		err := rows.Scan(&c.Authority, &c.Total, &c.Good, &c.Revoked, &c.Expiring, &c.Recalled, &c.Answered, &c.InUse)
		counts[c.Authority] = c
		return err
	})
	return counts, db.wrap("couldn't count certificates", err)
}

// BlockKeys refuses keys for ever; those that are blocked already keep their reason.
// It returns how many are new.
func (db *DB) BlockKeys(ctx context.Context, spkis [][]byte, reason, by string, at time.Time) (int64, error) {
	var added int64
	err := db.grouped(ctx, func(tx *writing) error {
		if err := db.engine.guard(ctx, tx.Tx, false); err != nil {
			return err
		}
		rows := make([][]any, len(spkis))
		for i, spki := range spkis {
			rows[i] = []any{spki, reason, micros(at), by}
		}
		insert := bulk{head: `INSERT INTO blocked_keys (spki, reason, at, by_whom) VALUES `, tail: ` ON CONFLICT (spki) DO NOTHING`, width: 4}
		var err error
		added, err = insert.exec(ctx, tx, rows)
		return err
	})
	return added, db.wrap("couldn't block keys", err)
}

// A BlockedKey is a key that nobody gets a certificate for.
type BlockedKey struct {
	SPKI   tallystick.KeyID `json:"key"`
	Reason string           `json:"reason"`
	At     time.Time        `json:"at"`
	By     string           `json:"by"`
}

// BlockedKey returns why a key is blocked; ErrNotFound when it is not.
func (db *DB) BlockedKey(ctx context.Context, spki []byte) (BlockedKey, error) {
	var b BlockedKey
	var at int64
	err := db.one(ctx, `SELECT reason, at, by_whom FROM blocked_keys WHERE spki = $1`, spki).Scan(&b.Reason, &at, &b.By)
	b.SPKI, b.At = tallystick.KeyID(fmt.Sprintf("%x", spki)), timeOf(at)
	return b, db.wrap("couldn't look up a blocked key", err)
}

// ListBlockedKeys returns at most limit of them, the newest first.
func (db *DB) ListBlockedKeys(ctx context.Context, limit int) ([]BlockedKey, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT spki, reason, at, by_whom FROM blocked_keys ORDER BY at DESC, spki LIMIT `+itoa(int64(PageRequest{Limit: limit}.limit())))
	return collect(db, "couldn't list blocked keys", rows, err, func(rows *sql.Rows) (BlockedKey, error) {
		var b BlockedKey
		var spki []byte
		var at int64
		err := rows.Scan(&spki, &b.Reason, &at, &b.By)
		b.SPKI, b.At = tallystick.KeyID(fmt.Sprintf("%x", spki)), timeOf(at)
		return b, err
	})
}

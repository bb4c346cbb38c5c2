// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A Revocation says since when and why a certificate is not to be trusted.
type Revocation struct {
	Authority    int64
	Serial       []byte    // 1 to 20 octets (RFC 5280 section 4.1.2.2)
	Shard        int64     // the part of the list that the certificate names; -1: the complete list
	At           time.Time // when it was revoked
	Reason       int       // RFC 5280 section 5.3.1
	InvalidSince time.Time // since when it may have been misused (section 5.3.2); zero: not known
	NotAfter     time.Time // of the certificate
	By, Note     string
}

// The reasons that stand above all others.
const (
	reasonKeyCompromise = 1
	reasonCACompromise  = 2
)

const revokeHead = `INSERT INTO revocations (serial, authority_id, shard, at, reason, invalid_since, not_after, by_whom, note, revision) VALUES `

// What is revoked already keeps when and by whom. Its reason changes in one way: when it turns
// out that the key was stolen, whoever trusts a signature of the time before must learn it.
const revokeTail = ` ON CONFLICT (serial, authority_id) DO UPDATE SET reason = excluded.reason, revision = excluded.revision,
	invalid_since = CASE WHEN excluded.invalid_since > 0 THEN excluded.invalid_since ELSE revocations.invalid_since END,
	note = CASE WHEN excluded.note <> '' THEN excluded.note ELSE revocations.note END
	WHERE excluded.reason IN (1, 2) AND revocations.reason NOT IN (1, 2) RETURNING serial, at`

var revokeRows = bulk{head: revokeHead, tail: revokeTail, width: 10}

// expect has the statement ready for the next transaction. Otherwise the first one of a process would
// prepare it for each row, which takes longer than the row.
func (b bulk) expect(db *DB) {
	for _, n := range b.sizes(db.engine) {
		text := b.head + values(db.engine, n, b.width, b.cast) + b.tail
		if _, ready := db.writes.get(text); !ready {
			db.writes.want(text)
		}
	}
}

// Revoke keeps revocations, all or none, and returns those that it changed: new ones, and ones whose
// reason was raised to a compromise of the key, with the date that they have had. Anything else that
// is revoked already stays as it is, so that asking twice changes nothing. Writers that come at
// the same time share a transaction.
func (db *DB) Revoke(ctx context.Context, list []Revocation) ([]Revocation, error) {
	for _, r := range list {
		if len(r.Serial) == 0 || len(r.Serial) > 20 {
			return nil, fmt.Errorf("%w: a serial number has 1 to 20 octets, not %d", tallystick.ErrInvalid, len(r.Serial))
		}
	}
	// In one order for everybody, so that no two writers wait for each other.
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Revocation) int {
		return cmp.Or(cmp.Compare(a.Authority, b.Authority), bytes.Compare(a.Serial, b.Serial))
	})
	list = onePerSerial(list)
	revokeRows.expect(db)
	var changed []Revocation
	err := db.grouped(ctx, func(tx *writing) error {
		changed = nil // it may be the second time
		for rest := list; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].Authority == rest[0].Authority {
				n++
			}
			some, err := revokeOf(ctx, tx, rest[:n])
			if err != nil {
				return err
			}
			changed = append(changed, some...)
			rest = rest[n:]
		}
		return nil
	})
	if err != nil {
		return nil, db.wrap("couldn't keep revocations", err)
	}
	return changed, nil
}

// onePerSerial leaves one of each serial, the one with the gravest reason.
func onePerSerial(sorted []Revocation) []Revocation {
	list := sorted[:0]
	for _, r := range sorted {
		last := len(list) - 1
		if last < 0 || list[last].Authority != r.Authority || !bytes.Equal(list[last].Serial, r.Serial) {
			list = append(list, r)
		} else if compromise(r.Reason) && !compromise(list[last].Reason) {
			list[last] = r
		}
	}
	return list
}

func compromise(reason int) bool {
	return reason == reasonKeyCompromise || reason == reasonCACompromise
}

// revokeOf keeps revocations of one authority.
func revokeOf(ctx context.Context, tx *writing, list []Revocation) ([]Revocation, error) {
	const next = `INSERT INTO revocation_revisions (authority_id, revision) VALUES ($1, 1)
		ON CONFLICT (authority_id) DO UPDATE SET revision = revocation_revisions.revision + 1 RETURNING revision`
	var revision int64
	if err := tx.QueryRowContext(ctx, next, list[0].Authority).Scan(&revision); err != nil {
		return nil, err
	}
	rows := make([][]any, len(list))
	for i, r := range list {
		rows[i] = []any{r.Serial, r.Authority, r.Shard, micros(r.At), int64(r.Reason), micros(r.InvalidSince), micros(r.NotAfter), r.By, r.Note, revision}
	}
	var changed []Revocation
	err := revokeRows.query(context.WithoutCancel(ctx), tx, rows, func(rows *sql.Rows) error {
		var serial sql.RawBytes
		var at int64
		if err := rows.Scan(&serial, &at); err != nil {
			return err
		}
		i, found := slices.BinarySearchFunc(list, []byte(serial), func(r Revocation, s []byte) int { return bytes.Compare(r.Serial, s) })
		if !found {
			return fmt.Errorf("%w: the store answers for serial %x, which nobody asked for", tallystick.ErrDamaged, []byte(serial))
		}
		one := list[i]
		one.At = timeOf(at)
		changed = append(changed, one)
		return nil
	})
	if err == nil && len(changed) == 0 {
		// Nothing has this revision, so whoever waits for it would wait for ever.
		_, err = tx.ExecContext(ctx, `UPDATE revocation_revisions SET revision = revision - 1 WHERE authority_id = $1`, list[0].Authority)
	}
	return changed, err
}

// RevocationRevision says how often revocations of an authority were added or changed; 0: never.
func (db *DB) RevocationRevision(ctx context.Context, authority int64) (int64, error) {
	var revision int64
	err := db.read.QueryRowContext(ctx, `SELECT revision FROM revocation_revisions WHERE authority_id = $1`, authority).Scan(&revision)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return revision, db.wrap("couldn't read how many revocations there are", err)
}

const revocationColumns = `authority_id, serial, shard, at, reason, invalid_since, not_after`

// RevocationOf returns the revocation of a certificate; ErrNotFound when it is not revoked.
func (db *DB) RevocationOf(ctx context.Context, serial []byte) (Revocation, error) {
	const query = `SELECT ` + revocationColumns + `, by_whom, note FROM revocations WHERE serial = $1`
	stmt, err := db.prepared(ctx, query)
	if err != nil {
		return Revocation{}, db.wrap("couldn't look up a revocation", err)
	}
	var r Revocation
	var at, invalid, end int64
	err = stmt.QueryRowContext(ctx, serial).Scan(&r.Authority, &r.Serial, &r.Shard, &at, &r.Reason, &invalid, &end, &r.By, &r.Note)
	r.At, r.InvalidSince, r.NotAfter = timeOf(at), timeOf(invalid), timeOf(end)
	return r, db.wrap("couldn't look up a revocation", err)
}

// EachRevocation calls fn for every revocation of an authority, in the order of serials, without By
// and Note. The serial is only good until fn returns. No more than one is in memory at a time.
func (db *DB) EachRevocation(ctx context.Context, authority int64, fn func(Revocation) error) error {
	const query = `SELECT ` + revocationColumns + ` FROM revocations WHERE authority_id = $1 ORDER BY serial`
	rows, err := db.read.QueryContext(ctx, query, authority)
	return db.wrap("couldn't read the revocations", eachRevocation(rows, err, fn))
}

// RevokedSince is EachRevocation for those that were added or changed after a revision.
func (db *DB) RevokedSince(ctx context.Context, authority, revision int64, fn func(Revocation) error) error {
	const query = `SELECT ` + revocationColumns + ` FROM revocations WHERE authority_id = $1 AND revision > $2 ORDER BY serial`
	rows, err := db.read.QueryContext(ctx, query, authority, revision)
	return db.wrap("couldn't read the new revocations", eachRevocation(rows, err, fn))
}

func eachRevocation(rows *sql.Rows, err error, fn func(Revocation) error) error {
	var serial sql.RawBytes
	return each(rows, err, func(rows *sql.Rows) error {
		var r Revocation
		var at, invalid, end int64
		if err := rows.Scan(&r.Authority, &serial, &r.Shard, &at, &r.Reason, &invalid, &end); err != nil {
			return err
		}
		r.Serial, r.At, r.InvalidSince, r.NotAfter = serial, timeOf(at), timeOf(invalid), timeOf(end)
		return fn(r)
	})
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A WrappingKey is where a key is that wraps the keys of secrets; package custody
// says what its words mean.
type WrappingKey struct {
	ID, Kind, About string
	Parameters      string // JSON
	Proof           []byte // a known value under it
	Since, Retired  time.Time
}

// A Secret is what is kept under an envelope.
type Secret struct {
	ID, Kind, Owner string
	WrappingKey     string
	Version         int64 // counts rewraps, from 1
	Wrapped, Sealed []byte
	Device          string // URI of a key that never leaves a device; "" for others
	Public          []byte // SubjectPublicKeyInfo of a key; empty for others

	Created, Rewrapped, Destroyed time.Time
}

const wrappingKeyColumns = `id, kind, about, parameters, proof, since, retired`

// AddWrappingKey adds a wrapping key. One that is there already stays as it is.
func (db *DB) AddWrappingKey(ctx context.Context, k WrappingKey) error {
	err := db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO wrapping_keys (` + wrappingKeyColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING`
		_, err := tx.ExecContext(ctx, insert, k.ID, k.Kind, k.About, k.Parameters, orEmpty(k.Proof), micros(k.Since), micros(k.Retired))
		return err
	})
	return db.wrap("couldn't add the wrapping key "+k.ID, err)
}

// WrappingKeys returns all, the oldest first.
func (db *DB) WrappingKeys(ctx context.Context) ([]WrappingKey, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+wrappingKeyColumns+` FROM wrapping_keys ORDER BY since, id`)
	return collect(db, "couldn't list the wrapping keys", rows, err, func(rows *sql.Rows) (WrappingKey, error) {
		var k WrappingKey
		var since, retired int64
		err := rows.Scan(&k.ID, &k.Kind, &k.About, &k.Parameters, &k.Proof, &since, &retired)
		k.Since, k.Retired = timeOf(since), timeOf(retired)
		return k, err
	})
}

// RetireWrappingKeys retires all but one, as far as no secret is under them, and
// takes that one back when it was retired.
func (db *DB) RetireWrappingKeys(ctx context.Context, but string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const back = `UPDATE wrapping_keys SET retired = 0 WHERE id = $1`
		if _, err := tx.ExecContext(ctx, back, but); err != nil {
			return err
		}
		const retire = `UPDATE wrapping_keys SET retired = $1 WHERE id <> $2 AND retired = 0
			AND NOT EXISTS (SELECT 1 FROM secrets s WHERE s.wrapping_key = wrapping_keys.id AND s.destroyed = 0)`
		_, err := tx.ExecContext(ctx, retire, micros(at), but)
		return err
	})
	return db.wrap("couldn't retire wrapping keys", err)
}

const secretColumns = `id, kind, owner, wrapping_key, version, wrapped, sealed, device, public, created, rewrapped, destroyed`

func scanSecret(row scanner) (Secret, error) {
	var s Secret
	var created, rewrapped, destroyed int64
	err := row.Scan(&s.ID, &s.Kind, &s.Owner, &s.WrappingKey, &s.Version, &s.Wrapped, &s.Sealed, &s.Device, &s.Public, &created, &rewrapped, &destroyed)
	s.Created, s.Rewrapped, s.Destroyed = timeOf(created), timeOf(rewrapped), timeOf(destroyed)
	return s, err
}

// AddSecret adds a secret. A wrapping key that is not known or is retired is
// ErrConflict: secrets were put under another one meanwhile.
func (db *DB) AddSecret(ctx context.Context, s Secret) error {
	err := db.grouped(ctx, func(tx *writing) error {
		const insert = `INSERT INTO secrets (` + secretColumns + `)
			SELECT $1, $2, $3, k.id, $4, $5, $6, $7, $8, $9, 0, 0 FROM wrapping_keys k WHERE k.id = $10 AND k.retired = 0`
		result, err := tx.ExecContext(ctx, insert, s.ID, s.Kind, s.Owner, s.Version, s.Wrapped, s.Sealed, s.Device, orEmpty(s.Public), micros(s.Created), s.WrappingKey)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return fmt.Errorf("%w: the wrapping key %s is no longer in use", tallystick.ErrConflict, s.WrappingKey)
	})
	return db.wrap("couldn't keep a secret", err)
}

// Secret returns a secret, also one that was destroyed.
func (db *DB) Secret(ctx context.Context, id string) (Secret, error) {
	s, err := scanSecret(db.read.QueryRowContext(ctx, `SELECT `+secretColumns+` FROM secrets WHERE id = $1`, id))
	return s, db.wrap("couldn't find the secret "+id, err)
}

// SecretsUnder returns secrets that are under a wrapping key and were not
// destroyed, in the order of their ids, from behind one on.
func (db *DB) SecretsUnder(ctx context.Context, key, after string, limit int) ([]Secret, error) {
	const query = `SELECT ` + secretColumns + ` FROM secrets WHERE wrapping_key = $1 AND id > $2 AND destroyed = 0 ORDER BY id LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, key, after, limit)
	return collect(db, "couldn't list secrets", rows, err, func(rows *sql.Rows) (Secret, error) { return scanSecret(rows) })
}

// RewrapSecrets writes the new wrapping of secrets, as they were read before, all
// or none. One that has changed since is left alone. That they were under the
// wrapping key before stays on record.
func (db *DB) RewrapSecrets(ctx context.Context, secrets []Secret, key string, wrapped [][]byte, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		for i, s := range secrets {
			if err := tx.rewrap(ctx, s, key, wrapped[i], at); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't rewrap secrets", err)
}

func (w *writing) rewrap(ctx context.Context, s Secret, key string, wrapped []byte, at time.Time) error {
	const update = `UPDATE secrets SET wrapping_key = $1, wrapped = $2, rewrapped = $3, version = version + 1
		WHERE id = $4 AND version = $5 AND wrapping_key = $6 AND destroyed = 0`
	stmt, err := w.prepared(ctx, update)
	if err != nil {
		return err
	}
	result, err := stmt.ExecContext(ctx, key, wrapped, micros(at), s.ID, s.Version, s.WrappingKey)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	since := s.Created
	if !s.Rewrapped.IsZero() {
		since = s.Rewrapped
	}
	const past = `INSERT INTO past_wrappings (wrapping_key, secret_id, since, until) VALUES ($1, $2, $3, $4)
		ON CONFLICT (wrapping_key, secret_id) DO UPDATE SET until = excluded.until`
	if stmt, err = w.prepared(ctx, past); err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, s.WrappingKey, s.ID, micros(since), micros(at))
	return err
}

// DestroySecret overwrites a secret with zeros and keeps the rest of its row. One
// that was destroyed before stays as it is.
func (db *DB) DestroySecret(ctx context.Context, id string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		var wrapped, sealed []byte
		var destroyed int64
		const query = `SELECT wrapped, sealed, destroyed FROM secrets WHERE id = $1`
		if err := tx.QueryRowContext(ctx, query, id).Scan(&wrapped, &sealed, &destroyed); err != nil || destroyed > 0 {
			return err
		}
		// As long as before, so that SQLite writes over them and not beside them.
		const update = `UPDATE secrets SET wrapped = $1, sealed = $2, destroyed = $3 WHERE id = $4`
		_, err := tx.ExecContext(ctx, update, make([]byte, len(wrapped)), make([]byte, len(sealed)), micros(at), id)
		return err
	})
	if err == nil {
		err = db.engine.settle(ctx, db.write)
	}
	return db.wrap("couldn't destroy the secret "+id, err)
}

// A SecretCount is how many secrets of a kind are under a wrapping key.
type SecretCount struct {
	WrappingKey, Kind string
	Devices           int64 // of which are keys in a device
	Kept, Destroyed   int64
}

// CountSecrets counts them, by wrapping key and kind.
func (db *DB) CountSecrets(ctx context.Context) ([]SecretCount, error) {
	const query = `SELECT wrapping_key, kind, SUM(CASE WHEN device <> '' AND destroyed = 0 THEN 1 ELSE 0 END),
		SUM(CASE WHEN destroyed = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN destroyed > 0 THEN 1 ELSE 0 END)
		FROM secrets GROUP BY wrapping_key, kind ORDER BY wrapping_key, kind`
	rows, err := db.read.QueryContext(ctx, query)
	return collect(db, "couldn't count secrets", rows, err, func(rows *sql.Rows) (SecretCount, error) {
		var c SecretCount
		err := rows.Scan(&c.WrappingKey, &c.Kind, &c.Devices, &c.Kept, &c.Destroyed)
		return c, err
	})
}

// A Wrapping says when a secret was under a wrapping key.
type Wrapping struct {
	Secret, Kind, Owner, Device string
	Created, Destroyed          time.Time
	Since, Until                time.Time // Until is zero while it is under it
}

// Wrappings returns every secret that is or was under a wrapping key, in the
// order of their ids, from behind one on.
func (db *DB) Wrappings(ctx context.Context, key, after string, limit int) ([]Wrapping, error) {
	// One that came back under a key has a row of the past as well.
	const query = `SELECT s.id, s.kind, s.owner, s.device, s.created, s.destroyed,
			COALESCE(p.since, CASE WHEN s.rewrapped > 0 THEN s.rewrapped ELSE s.created END),
			CASE WHEN s.wrapping_key = $1 THEN 0 ELSE p.until END
		FROM secrets s LEFT JOIN past_wrappings p ON p.secret_id = s.id AND p.wrapping_key = $1
		WHERE s.id > $2 AND s.id IN (SELECT id FROM secrets WHERE wrapping_key = $1 UNION SELECT secret_id FROM past_wrappings WHERE wrapping_key = $1)
		ORDER BY s.id LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, key, after, limit)
	return collect(db, "couldn't list what was under "+key, rows, err, func(rows *sql.Rows) (Wrapping, error) {
		var w Wrapping
		var created, destroyed, since, until int64
		err := rows.Scan(&w.Secret, &w.Kind, &w.Owner, &w.Device, &created, &destroyed, &since, &until)
		w.Created, w.Destroyed, w.Since, w.Until = timeOf(created), timeOf(destroyed), timeOf(since), timeOf(until)
		return w, err
	})
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A VaultHead says which state of the vault a database holds.
type VaultHead struct {
	Vault  string // which vault it is
	Number int64  // of changes
	Mark   string // which change the newest one is
}

// An EntrustedSecret is a credential that a customer has entrusted, without its value.
type EntrustedSecret struct {
	Serial    int64     `json:"-"`
	ID        string    `json:"id"`
	Customer  string    `json:"customer"`
	System    string    `json:"system" doc:"what it opens: a system of the customer"`
	Account   string    `json:"account" doc:"and an account or a connection there"`
	Kind      string    `json:"kind" enum:"password,client-secret,api-key,certificate,other"`
	Opens     string    `json:"opens,omitempty" doc:"what it opens, in words"`
	Origin    string    `json:"origin,omitempty" doc:"where it was brought from"`
	MaxAge    int64     `json:"max_age,omitempty" doc:"after how many seconds to replace it; absent is any"`
	Version   int64     `json:"version" doc:"the newest, from 1"`
	Since     time.Time `json:"since" doc:"when that version was entrusted"`
	Due       time.Time `json:"due,omitzero" doc:"when to replace it"`
	DueWhy    string    `json:"due_why,omitempty" doc:"who said so, and why; absent is its age"`
	Holder    string    `json:"holder,omitempty" doc:"who alone is given the value"`
	Lost      int64     `json:"lost,omitempty" doc:"the newest version that is known to have been, and is not in this database: the value is stale"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Destroyed time.Time `json:"destroyed,omitzero"`
	// WrappingKey is what the data key of the newest version is under now.
	WrappingKey string `json:"wrapping_key"`
}

// Stale says that a newer version is known to have been than the newest one that is here.
func (s EntrustedSecret) Stale() bool { return s.Lost > s.Version }

// An EntrustedVersion is one value of a secret, under its envelope.
type EntrustedVersion struct {
	Serial    int64     `json:"-"`
	Number    int64     `json:"version"`
	KeyID     string    `json:"key" doc:"the customer's data key"`
	Holder    string    `json:"holder,omitempty"`
	Created   time.Time `json:"created"`
	By        string    `json:"entrusted_by"`
	Destroyed time.Time `json:"destroyed,omitzero"`
	Sealed    []byte    `json:"-"`
}

// VaultHead returns the head; with a fresh id when there is none yet.
func (db *DB) VaultHead(ctx context.Context, fresh string) (VaultHead, error) {
	h, err := vaultHead(db.read.QueryRowContext(ctx, vaultHeadQuery))
	if errors.Is(err, sql.ErrNoRows) {
		const insert = `INSERT INTO vault_head (id, vault, number, mark) VALUES (1, $1, 0, '') ON CONFLICT (id) DO NOTHING`
		if _, err = db.write.ExecContext(ctx, insert, fresh); err == nil {
			h, err = vaultHead(db.write.QueryRowContext(ctx, vaultHeadQuery))
		}
	}
	return h, db.wrap("couldn't read the head of the vault", err)
}

const vaultHeadQuery = `SELECT vault, number, mark FROM vault_head WHERE id = 1`

func vaultHead(row scanner) (h VaultHead, err error) {
	return h, row.Scan(&h.Vault, &h.Number, &h.Mark)
}

// moveVault goes from one head to the next. Another one than was read is ErrConflict.
func (w *writing) moveVault(ctx context.Context, from, to VaultHead) error {
	const update = `UPDATE vault_head SET number = $1, mark = $2 WHERE id = 1 AND number = $3 AND mark = $4`
	return exactlyOne(w.ExecContext(ctx, update, to.Number, to.Mark, from.Number, from.Mark))
}

// exactlyOne is ErrConflict when a statement has not changed exactly one row.
func exactlyOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("%w: the vault was changed since it was read", tallystick.ErrConflict)
}

// An Entrusting is a secret with one more version. A secret whose Serial is 0 is new.
type Entrusting struct {
	Secret  EntrustedSecret // Version is that of the version before; 0 is none
	Version EntrustedVersion
}

// keptVersions is how many versions of a secret can be read: the newest, and the one
// before it while a system still takes both.
const keptVersions = 2

// Entrust adds versions, all or none, and destroys what is older than the version before.
func (db *DB) Entrust(ctx context.Context, from, to VaultHead, list []Entrusting) error {
	first, err := db.newIDs(ctx, 2*int64(len(list)))
	if err != nil {
		return err
	}
	err = db.tx(ctx, func(tx *writing) error {
		if err := tx.moveVault(ctx, from, to); err != nil {
			return err
		}
		for i, e := range list {
			if err := tx.entrust(ctx, first+2*int64(i), to.Number, e); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't keep what was entrusted", err)
}

// entrust adds a version with the id that is given, and a new secret with the one after.
func (w *writing) entrust(ctx context.Context, id, change int64, e Entrusting) error {
	s, v := e.Secret, e.Version
	if s.Serial == 0 {
		s.Serial = id + 1
		const insert = `INSERT INTO vault_secrets (id, ref, customer, system, account, kind, opens, origin, max_age, newest, since, due, due_why, changed, created, created_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', $13, $14, $15)`
		stmt, err := w.prepared(ctx, insert)
		if err != nil {
			return err
		}
		if _, err := stmt.ExecContext(ctx, s.Serial, s.ID, s.Customer, s.System, s.Account, s.Kind, s.Opens, s.Origin, s.MaxAge,
			v.Number, micros(v.Created), endMicros(s.Due), change, micros(v.Created), v.By); err != nil {
			return err
		}
	} else {
		const update = `UPDATE vault_secrets SET opens = $1, origin = $2, max_age = $3, newest = $4, since = $5, due = $6, due_why = '', changed = $7, destroyed = 0
			WHERE id = $8 AND newest = $9`
		stmt, err := w.prepared(ctx, update)
		if err != nil {
			return err
		}
		if err := exactlyOne(stmt.ExecContext(ctx, s.Opens, s.Origin, s.MaxAge, v.Number, micros(v.Created), endMicros(s.Due), change, s.Serial, s.Version)); err != nil {
			return err
		}
		if err := w.destroyVersions(ctx, s.Serial, v.Number-keptVersions, v.Created); err != nil {
			return err
		}
	}
	const insert = `INSERT INTO vault_versions (id, secret_id, number, key_id, holder, created, entrusted_by, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	stmt, err := w.prepared(ctx, insert)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, id, s.Serial, v.Number, v.KeyID, v.Holder, micros(v.Created), v.By, v.Sealed)
	return err
}

// destroyVersions overwrites the versions of a secret up to a number. Zeros are as
// long as what was there, so that SQLite writes over it and not beside it.
func (w *writing) destroyVersions(ctx context.Context, secret, upTo int64, at time.Time) error {
	sizes := map[int64]int64{}
	stmt, err := w.prepared(ctx, `SELECT id, LENGTH(sealed) FROM vault_versions WHERE secret_id = $1 AND number <= $2 AND destroyed = 0`)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, secret, upTo)
	err = each(rows, err, func(rows *sql.Rows) error {
		var id, size int64
		err := rows.Scan(&id, &size)
		sizes[id] = size
		return err
	})
	if err != nil {
		return err
	}
	if stmt, err = w.prepared(ctx, `UPDATE vault_versions SET sealed = $1, destroyed = $2 WHERE id = $3`); err != nil {
		return err
	}
	for id, size := range sizes {
		if _, err := stmt.ExecContext(ctx, make([]byte, size), micros(at), id); err != nil {
			return err
		}
	}
	return nil
}

// DestroyEntrusted overwrites all versions of a secret and keeps the rest of its rows.
func (db *DB) DestroyEntrusted(ctx context.Context, from, to VaultHead, s EntrustedSecret, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		if err := tx.moveVault(ctx, from, to); err != nil {
			return err
		}
		const update = `UPDATE vault_secrets SET destroyed = $1, changed = $2, due = $3, due_why = '' WHERE id = $4 AND newest = $5`
		if err := exactlyOne(tx.ExecContext(ctx, update, micros(at), to.Number, int64(forever), s.Serial, s.Version)); err != nil {
			return err
		}
		return tx.destroyVersions(ctx, s.Serial, s.Version, at)
	})
	if err == nil {
		err = db.engine.settle(ctx, db.write)
	}
	return db.wrap("couldn't destroy the secret "+s.ID, err)
}

// ForgetMissing forgets which secrets a witness knew of that are not here.
func (db *DB) ForgetMissing(ctx context.Context) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM vault_missing`)
	return db.wrap("couldn't forget what is missing", err)
}

// A VaultChange is a change of a secret as a witness has it.
type VaultChange struct {
	Number  int64 // of the head
	ID      string
	Version int64
}

// VaultChanges returns which secrets were changed after a number, in that order.
func (db *DB) VaultChanges(ctx context.Context, after int64) ([]VaultChange, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT changed, ref, newest FROM vault_secrets WHERE changed > $1 ORDER BY changed`, after)
	return collect(db, "couldn't read the changes of the vault", rows, err, func(rows *sql.Rows) (c VaultChange, err error) {
		return c, rows.Scan(&c.Number, &c.ID, &c.Version)
	})
}

// LoseEntrusted writes down that secrets were changed after what this database knows:
// of those that are here, up to which version; the others are missing.
func (db *DB) LoseEntrusted(ctx context.Context, from, to VaultHead, lost []VaultChange, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		if err := tx.moveVault(ctx, from, to); err != nil {
			return err
		}
		for _, c := range lost {
			// What was only destroyed, or came as a version that has our number, is stale as well.
			const update = `UPDATE vault_secrets SET lost = CASE WHEN newest < $1 THEN $1 ELSE newest + 1 END WHERE ref = $2`
			result, err := tx.ExecContext(ctx, update, c.Version, c.ID)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil {
				return err
			} else if n > 0 {
				continue
			}
			const insert = `INSERT INTO vault_missing (ref, version, found) VALUES ($1, $2, $3) ON CONFLICT (ref) DO NOTHING`
			if _, err := tx.ExecContext(ctx, insert, c.ID, c.Version, micros(at)); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't write down what the vault has lost", err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// An Authority is a CA; package ca says what its words mean.
type Authority struct {
	ID, Parent, Follows int64 // 0: none
	Name                string
	Kind                string
	State               string
	Subject             string
	SPKI                string // SHA-256, in hexadecimal
	Algorithm           string
	Key                 string // of Secrets; "" while it is offline
	Certificate         []byte
	Chain               []byte // DER, one after the other
	NotBefore, NotAfter time.Time
	Settings            string // JSON
	Created             time.Time
	CreatedBy           string
}

const authorityColumns = `id, parent_id, follows_id, name, kind, state, subject, spki, algorithm, key_id, certificate, chain, not_before, not_after, settings, created, created_by`

func scanAuthority(row scanner) (Authority, error) {
	var a Authority
	var notBefore, notAfter, created int64
	err := row.Scan(&a.ID, &a.Parent, &a.Follows, &a.Name, &a.Kind, &a.State, &a.Subject, &a.SPKI, &a.Algorithm, &a.Key,
		&a.Certificate, &a.Chain, &notBefore, &notAfter, &a.Settings, &created, &a.CreatedBy)
	a.NotBefore, a.NotAfter, a.Created = timeOf(notBefore), timeOf(notAfter), timeOf(created)
	return a, err
}

// AddAuthority adds one and returns it with its id; a name that is taken is ErrConflict.
func (db *DB) AddAuthority(ctx context.Context, a Authority) (Authority, error) {
	var err error
	if a.ID, err = db.newIDs(ctx, 1); err != nil {
		return a, err
	}
	err = db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO authorities (` + authorityColumns + `) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)`
		_, err := tx.ExecContext(ctx, insert, a.ID, a.Parent, a.Follows, a.Name, a.Kind, a.State, a.Subject, a.SPKI, a.Algorithm, a.Key,
			orEmpty(a.Certificate), orEmpty(a.Chain), micros(a.NotBefore), micros(a.NotAfter), a.Settings, micros(a.Created), a.CreatedBy)
		return err
	})
	return a, db.wrap("couldn't add the CA "+a.Name, err)
}

// orEmpty keeps nil out of columns that are never NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Authorities returns all, in the order of their names.
func (db *DB) Authorities(ctx context.Context) ([]Authority, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+authorityColumns+` FROM authorities ORDER BY name`)
	return collect(db, "couldn't list CAs", rows, err, func(rows *sql.Rows) (Authority, error) { return scanAuthority(rows) })
}

// ChangeAuthority writes what may change of one, if its state is still from:
// state, settings, certificate, chain, key and validity. Otherwise it is ErrConflict.
func (db *DB) ChangeAuthority(ctx context.Context, from string, a Authority) error {
	err := db.tx(ctx, func(tx *writing) error {
		if err := db.engine.guard(ctx, tx.Tx, false); err != nil {
			return err
		}
		const update = `UPDATE authorities SET state = $1, settings = $2, certificate = $3, chain = $4, key_id = $5, not_before = $6, not_after = $7, parent_id = $8
			WHERE id = $9 AND state = $10`
		result, err := tx.ExecContext(ctx, update, a.State, a.Settings, orEmpty(a.Certificate), orEmpty(a.Chain), a.Key, micros(a.NotBefore), micros(a.NotAfter), a.Parent, a.ID, from)
		return changedOne(result, err)
	})
	return db.wrap("couldn't change the CA "+a.Name, err)
}

// changedOne is ErrConflict when a statement changed nothing.
func changedOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return fmt.Errorf("%w: it is not what it was", tallystick.ErrConflict)
	}
	return err
}

// A CrossCertificate is a further certificate of a CA's key.
type CrossCertificate struct {
	SHA256      string
	Authority   int64 // whose key
	Issuer      int64 // who signed
	Certificate []byte
	NotAfter    time.Time
	Created     time.Time
}

// AddCrossCertificate adds one; one that is there already changes nothing.
func (db *DB) AddCrossCertificate(ctx context.Context, c CrossCertificate) error {
	err := db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO cross_certificates (sha256, authority_id, issuer_id, certificate, not_after, created) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT (sha256) DO NOTHING`
		_, err := tx.ExecContext(ctx, insert, c.SHA256, c.Authority, c.Issuer, c.Certificate, micros(c.NotAfter), micros(c.Created))
		return err
	})
	return db.wrap("couldn't keep a cross-signed certificate", err)
}

// CrossCertificates returns all, the newest first.
func (db *DB) CrossCertificates(ctx context.Context) ([]CrossCertificate, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT sha256, authority_id, issuer_id, certificate, not_after, created FROM cross_certificates ORDER BY created DESC, sha256`)
	return collect(db, "couldn't list cross-signed certificates", rows, err, func(rows *sql.Rows) (CrossCertificate, error) {
		var c CrossCertificate
		var notAfter, created int64
		err := rows.Scan(&c.SHA256, &c.Authority, &c.Issuer, &c.Certificate, &notAfter, &created)
		c.NotAfter, c.Created = timeOf(notAfter), timeOf(created)
		return c, err
	})
}

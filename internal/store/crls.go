// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// CompleteList is the shard of the list that has everything.
const CompleteList = -1

// A CRL is a list of revoked certificates as it is served.
type CRL struct {
	Authority  int64
	Shard      int64 // CompleteList, or from 0
	Number     int64 // from 1
	ThisUpdate time.Time
	NextUpdate time.Time
	Entries    int64
	Revision   int64 // it holds every revocation up to this one
	Size       int64
	SHA256     string // of List
	List       []byte // DER; not in CRLs
}

// pieceSize is how much of a list is in one row: what the engine copies at a time.
const pieceSize = 1 << 20

// PutCRL keeps a list in place of the one of number previous; 0: there is none. When there is
// another one by now it is ErrConflict, and nothing changes: so no number is ever given to two lists,
// whoever else signs (RFC 5280 section 5.2.3).
func (db *DB) PutCRL(ctx context.Context, c CRL, previous int64) error {
	if c.Number <= previous {
		return fmt.Errorf("couldn't keep a list: %w: number %d does not follow %d", tallystick.ErrInvalid, c.Number, previous)
	}
	err := db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO crls (authority_id, shard, number, this_update, next_update, entries, revision, size, sha256)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (authority_id, shard) DO UPDATE SET number = excluded.number,
			this_update = excluded.this_update, next_update = excluded.next_update, entries = excluded.entries,
			revision = excluded.revision, size = excluded.size, sha256 = excluded.sha256 WHERE crls.number = $10`
		done, err := tx.ExecContext(ctx, insert, c.Authority, c.Shard, c.Number, micros(c.ThisUpdate), micros(c.NextUpdate),
			c.Entries, c.Revision, int64(len(c.List)), c.SHA256, previous)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return conflictOr(err)
		}
		return putPieces(ctx, tx, c)
	})
	return db.wrap("couldn't keep a list of revoked certificates", err)
}

func conflictOr(err error) error {
	if err != nil {
		return err
	}
	return tallystick.ErrConflict
}

func putPieces(ctx context.Context, tx *writing, c CRL) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM crl_pieces WHERE authority_id = $1 AND shard = $2`, c.Authority, c.Shard); err != nil {
		return err
	}
	for i, rest := int64(0), c.List; len(rest) > 0; i++ {
		n := min(len(rest), pieceSize)
		const insert = `INSERT INTO crl_pieces (authority_id, shard, piece, bytes) VALUES ($1, $2, $3, $4)`
		if _, err := tx.ExecContext(ctx, insert, c.Authority, c.Shard, i, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

const crlColumns = `c.authority_id, c.shard, c.number, c.this_update, c.next_update, c.entries, c.revision, c.size, c.sha256`

// CRLs returns the lists of an authority by shard, without List.
func (db *DB) CRLs(ctx context.Context, authority int64) ([]CRL, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+crlColumns+` FROM crls c WHERE c.authority_id = $1 ORDER BY c.shard`, authority)
	return collect(db, "couldn't read which lists there are", rows, err, func(rows *sql.Rows) (CRL, error) {
		c, _, err := scanCRL(rows)
		return c, err
	})
}

// CRL returns a list; ErrNotFound when there is none.
func (db *DB) CRL(ctx context.Context, authority, shard int64) (CRL, error) {
	// One statement, so that no piece is of another list.
	const query = `SELECT ` + crlColumns + `, p.bytes FROM crls c JOIN crl_pieces p ON p.authority_id = c.authority_id AND p.shard = c.shard
		WHERE c.authority_id = $1 AND c.shard = $2 ORDER BY p.piece`
	var c CRL
	var der []byte
	var piece sql.RawBytes
	rows, err := db.read.QueryContext(ctx, query, authority, shard)
	err = each(rows, err, func(rows *sql.Rows) error {
		head, size, err := scanCRL(rows, &piece)
		if der == nil {
			der = make([]byte, 0, size)
		}
		c, der = head, append(der, piece...)
		return err
	})
	switch {
	case err != nil:
	case der == nil:
		err = sql.ErrNoRows
	case int64(len(der)) != c.Size:
		err = tallystick.ErrDamaged
	}
	c.List = der
	return c, db.wrap("couldn't read a list of revoked certificates", err)
}

// scanCRL reads crlColumns and what is behind them. The size is never negative, nor larger than a
// list can be.
func scanCRL(rows *sql.Rows, more ...any) (CRL, int64, error) {
	var c CRL
	var this, next int64
	into := []any{&c.Authority, &c.Shard, &c.Number, &this, &next, &c.Entries, &c.Revision, &c.Size, &c.SHA256}
	err := rows.Scan(append(into, more...)...)
	c.ThisUpdate, c.NextUpdate = timeOf(this), timeOf(next)
	return c, min(max(c.Size, 0), 1<<31), err
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/tallystick/tallystick"
)

// An AuditHead is how far the audit log goes.
type AuditHead struct {
	Size       int64  // records that were appended
	Checkpoint string // signed with the last of them; "" while there are none
	Newest     int64  // the highest number that a record has
}

// An AuditRow is one record of the audit log. Record is the whole of it; the
// other fields repeat what a search needs.
type AuditRow struct {
	ID      int64 // from 1 without gaps
	Time    time.Time
	Actor   string
	Action  string
	Allowed bool
	Record  string
}

// An AuditAddition is records with the hashes that they add to the tree, whose
// positions are in a row from FirstHash, and the checkpoint that covers them.
type AuditAddition struct {
	Rows       []AuditRow // their IDs are given by the store
	FirstHash  int64
	Hashes     [][]byte
	Checkpoint string
}

// AppendAudit adds n records. It calls extend with the head that the records come
// after and with a function that reads hashes by their positions; no other process
// appends meanwhile. When extend returns an error nothing is changed, and AppendAudit
// returns that error. extend may be called twice, of which the second time counts.
func (db *DB) AppendAudit(ctx context.Context, n int,
	extend func(AuditHead, func(positions []int64) ([][]byte, error)) (AuditAddition, error)) error {
	err := db.grouped(ctx, func(tx *writing) error {
		next, err := tx.prepared(ctx, `UPDATE audit_head SET size = size + $1 WHERE id = 1 RETURNING size, checkpoint`)
		if err != nil {
			return err
		}
		var size int64
		var head AuditHead
		if err := next.QueryRowContext(context.WithoutCancel(ctx), n).Scan(&size, &head.Checkpoint); err != nil {
			return err
		}
		head.Size, head.Newest = size-int64(n), size-int64(n)
		add, err := extend(head, func(positions []int64) ([][]byte, error) {
			return auditHashes(ctx, tx, positions)
		})
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, head.Size, add)
	})
	return db.wrap("couldn't append to the audit log", err)
}

// writeAudit writes records behind the first size ones.
func writeAudit(ctx context.Context, tx *writing, size int64, add AuditAddition) error {
	rows := make([][]any, len(add.Rows))
	for i, r := range add.Rows {
		rows[i] = []any{size + 1 + int64(i), micros(r.Time), r.Actor, r.Action, r.Allowed, r.Record}
	}
	records := bulk{head: `INSERT INTO audit_log (id, time, actor, action, allowed, record) VALUES `, width: 6}
	if _, err := records.exec(ctx, tx, rows); err != nil {
		return err
	}
	hashes := make([][]any, len(add.Hashes))
	for i, hash := range add.Hashes {
		hashes[i] = []any{add.FirstHash + int64(i), hash}
	}
	insert := bulk{head: `INSERT INTO audit_hashes (position, hash) VALUES `, width: 2}
	if _, err := insert.exec(ctx, tx, hashes); err != nil {
		return err
	}
	head, err := tx.prepared(ctx, `UPDATE audit_head SET checkpoint = $1 WHERE id = 1`)
	if err != nil {
		return err
	}
	_, err = head.ExecContext(context.WithoutCancel(ctx), add.Checkpoint)
	return err
}

// auditHashes returns the hashes at the positions, in their order. One that is
// missing is ErrNotFound.
func auditHashes(ctx context.Context, p preparer, positions []int64) ([][]byte, error) {
	keys := make([]any, len(positions))
	for i, p := range positions {
		keys[i] = p
	}
	found := make(map[int64][]byte, len(positions))
	err := in(ctx, p, `SELECT position, hash FROM audit_hashes WHERE position IN `, keys, func(rows *sql.Rows) error {
		var position int64
		var hash []byte
		err := rows.Scan(&position, &hash)
		found[position] = hash
		return err
	})
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(positions))
	for i, p := range positions {
		hash, ok := found[p]
		if !ok {
			return nil, fmt.Errorf("hash %d of the audit log: %w", p, tallystick.ErrNotFound)
		}
		hashes[i] = hash
	}
	return hashes, nil
}

// AuditHead returns how far the log goes. Its fields belong to one moment.
func (db *DB) AuditHead(ctx context.Context) (AuditHead, error) {
	const query = `SELECT size, checkpoint, (SELECT COALESCE(MAX(id), 0) FROM audit_log) FROM audit_head WHERE id = 1`
	var h AuditHead
	err := db.read.QueryRowContext(ctx, query).Scan(&h.Size, &h.Checkpoint, &h.Newest)
	return h, db.wrap("couldn't read the head of the audit log", err)
}

// An AuditFilter picks records; what is zero picks all.
type AuditFilter struct {
	Actor        string
	Action       string
	Denied       bool      // only what was not allowed
	Since, Until time.Time // from, and before
}

// ListAudit returns records, newest first, whose number is below before; 0 is
// from the newest on.
func (db *DB) ListAudit(ctx context.Context, f AuditFilter, before int64, limit int) ([]AuditRow, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	query := `SELECT ` + auditColumns + ` FROM audit_log WHERE id < $1`
	args := []any{before}
	where := func(condition string, value any) {
		args = append(args, value)
		query += " AND " + condition + "$" + itoa(int64(len(args)))
	}
	if f.Actor != "" {
		where("actor = ", f.Actor)
	}
	if f.Action != "" {
		where("action = ", f.Action)
	}
	if f.Denied {
		where("allowed = ", false)
	}
	if !f.Since.IsZero() {
		where("time >= ", micros(f.Since))
	}
	if !f.Until.IsZero() {
		where("time < ", micros(f.Until))
	}
	args = append(args, limit)
	query += " ORDER BY id DESC LIMIT $" + itoa(int64(len(args)))
	rows, err := db.auditRows(ctx, query, args...)
	return rows, db.wrap("couldn't list the audit log", err)
}

// FirstAudit returns the lowest number of a record whose time is not before since; 0
// when there is none.
func (db *DB) FirstAudit(ctx context.Context, since time.Time) (int64, error) {
	var id int64
	err := db.read.QueryRowContext(ctx, `SELECT COALESCE(MIN(id), 0) FROM audit_log WHERE time >= $1`, micros(since)).Scan(&id)
	return id, db.wrap("couldn't read the audit log", err)
}

const auditColumns = `id, time, actor, action, allowed, record`

// ReadAudit returns the records whose numbers are from first to last, in order.
func (db *DB) ReadAudit(ctx context.Context, first, last int64) ([]AuditRow, error) {
	const query = `SELECT ` + auditColumns + ` FROM audit_log WHERE id BETWEEN $1 AND $2 ORDER BY id`
	rows, err := db.auditRows(ctx, query, first, last)
	return rows, db.wrap("couldn't read the audit log", err)
}

// ReadAuditHashes returns the hashes whose positions are from first to last, by
// position.
func (db *DB) ReadAuditHashes(ctx context.Context, first, last int64) (map[int64][]byte, error) {
	const query = `SELECT position, hash FROM audit_hashes WHERE position BETWEEN $1 AND $2`
	hashes := make(map[int64][]byte, last-first+1)
	rows, err := db.read.QueryContext(ctx, query, first, last)
	err = each(rows, err, func(rows *sql.Rows) error {
		var position int64
		var hash []byte
		err := rows.Scan(&position, &hash)
		hashes[position] = hash
		return err
	})
	return hashes, db.wrap("couldn't read the hashes of the audit log", err)
}

func (db *DB) auditRows(ctx context.Context, query string, args ...any) ([]AuditRow, error) {
	var list []AuditRow
	rows, err := db.read.QueryContext(ctx, query, args...)
	err = each(rows, err, func(rows *sql.Rows) error {
		var r AuditRow
		var us int64
		err := rows.Scan(&r.ID, &us, &r.Actor, &r.Action, &r.Allowed, &r.Record)
		r.Time = timeOf(us)
		list = append(list, r)
		return err
	})
	return list, err
}

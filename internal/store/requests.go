// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// The states of an IssueRequest.
const (
	RequestWaiting  = "waiting"
	RequestApproved = "approved" // and not issued yet
	RequestIssued   = "issued"
	RequestRefused  = "refused" // by a person, or by the policy
	RequestFailed   = "failed"
)

// An IssueRequest is a certificate that was asked for and was not issued at once.
type IssueRequest struct {
	ID        int64     `json:"id"`
	Authority string    `json:"authority"`
	Profile   string    `json:"profile"`
	Via       string    `json:"via"`
	Requester string    `json:"requester"`
	Request   string    `json:"-"` // JSON: all that was asked for
	Names     []string  `json:"names"`
	State     string    `json:"state"`
	Why       string    `json:"why"`
	At        time.Time `json:"at"`
	DecidedBy string    `json:"decided_by,omitempty"`
	Decided   time.Time `json:"decided,omitzero"`
	Serial    []byte    `json:"-"`
}

const requestColumns = `id, authority, profile, via, requester, request, names, state, why, at, decided_by, decided, serial`

func scanIssueRequest(row scanner) (IssueRequest, error) {
	var r IssueRequest
	var at, decided int64
	var names string
	err := row.Scan(&r.ID, &r.Authority, &r.Profile, &r.Via, &r.Requester, &r.Request, &names, &r.State, &r.Why, &at, &r.DecidedBy, &decided, &r.Serial)
	if err != nil {
		return r, err
	}
	r.At, r.Decided = timeOf(at), timeOf(decided)
	r.Names, err = stringsOf(names)
	return r, err
}

// AddIssueRequest keeps a request and returns it with its id.
func (db *DB) AddIssueRequest(ctx context.Context, r IssueRequest) (IssueRequest, error) {
	var err error
	if r.ID, err = db.newIDs(ctx, 1); err != nil {
		return r, err
	}
	err = db.grouped(ctx, func(tx *writing) error {
		const insert = `INSERT INTO issue_requests (` + requestColumns + `) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)`
		_, err := tx.ExecContext(ctx, insert, r.ID, r.Authority, r.Profile, r.Via, r.Requester, r.Request, stringsText(r.Names), r.State, r.Why,
			micros(r.At), r.DecidedBy, micros(r.Decided), orEmpty(r.Serial))
		return err
	})
	return r, db.wrap("couldn't keep a request", err)
}

// IssueRequest returns one.
func (db *DB) IssueRequest(ctx context.Context, id int64) (IssueRequest, error) {
	r, err := scanIssueRequest(db.read.QueryRowContext(ctx, `SELECT `+requestColumns+` FROM issue_requests WHERE id = $1`, id))
	return r, db.wrap("couldn't read a request", err)
}

// OpenIssueRequest returns the newest request of a requester for exactly the same that
// is not over, or was fulfilled since a time; ErrNotFound without one. So asking again
// does not ask twice.
func (db *DB) OpenIssueRequest(ctx context.Context, requester, request string, since time.Time) (IssueRequest, error) {
	const query = `SELECT ` + requestColumns + ` FROM issue_requests
		WHERE (state IN ('waiting', 'approved') OR state = 'issued' AND decided >= $1) AND requester = $2 AND request = $3 ORDER BY id DESC LIMIT 1`
	r, err := scanIssueRequest(db.read.QueryRowContext(ctx, query, micros(since), requester, request))
	return r, db.wrap("couldn't look for a request", err)
}

// ManyIssueRequests says whether a requester has at least most requests in a state since a time.
func (db *DB) ManyIssueRequests(ctx context.Context, requester, state string, since time.Time, most int) (bool, error) {
	const query = `SELECT COUNT(*) FROM (SELECT 1 FROM issue_requests WHERE requester = $1 AND state = $2 AND at >= $3 LIMIT $4) AS few`
	var n int
	err := db.one(ctx, query, requester, state, micros(since), most).Scan(&n)
	return n >= most, db.wrap("couldn't count requests", err)
}

// ForgetIssueRequests removes what was refused or failed before a time.
func (db *DB) ForgetIssueRequests(ctx context.Context, before time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM issue_requests WHERE state IN ('refused', 'failed') AND decided < $1`, micros(before))
		return err
	})
	return db.wrap("couldn't remove old requests", err)
}

// ListIssueRequests returns at most limit in a state ("" is any), the newest first,
// whose id is below before; 0 is from the newest on.
func (db *DB) ListIssueRequests(ctx context.Context, state string, before int64, limit int) ([]IssueRequest, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	query := `SELECT ` + requestColumns + ` FROM issue_requests WHERE id < $1`
	args := []any{before}
	if state != "" {
		query += ` AND state = $2`
		args = append(args, state)
	}
	rows, err := db.read.QueryContext(ctx, query+` ORDER BY id DESC LIMIT `+itoa(int64(PageRequest{Limit: limit}.limit())), args...)
	return collect(db, "couldn't list requests", rows, err, func(rows *sql.Rows) (IssueRequest, error) { return scanIssueRequest(rows) })
}

// DecideIssueRequest moves a request from one state to another; when it is not in
// from any more, it is ErrConflict.
func (db *DB) DecideIssueRequest(ctx context.Context, from string, r IssueRequest) error {
	err := db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE issue_requests SET state = $1, why = $2, decided_by = $3, decided = $4, serial = $5 WHERE id = $6 AND state = $7`
		result, err := tx.ExecContext(ctx, update, r.State, r.Why, r.DecidedBy, micros(r.Decided), orEmpty(r.Serial), r.ID, from)
		return changedOne(result, err)
	})
	return db.wrap("couldn't decide a request", err)
}

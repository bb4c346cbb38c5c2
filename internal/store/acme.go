// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// What the ACME server (RFC 8555) keeps. Ids begin with the time and are given by
// it; lists are in their order, the newest first.

// An ACMEIdentifier is what an order is for (RFC 8555 section 9.7.7, RFC 8738).
type ACMEIdentifier struct {
	Type  string `json:"type"` // dns or ip
	Value string `json:"value"`
}

// An ACMEAccount is a key that may order.
type ACMEAccount struct {
	ID         string
	Thumbprint string // of its key, RFC 7638
	Key        string // JWK
	Contact    []string
	Status     string // valid, deactivated (by its owner), revoked (by an operator)
	Binding    string // the external account it is bound to; "" without one
	Address    string // where it was made from
	Created    time.Time
	Used       time.Time // when it last ordered, to the hour
}

// An ACMEBinding is a key by which an account is bound to something outside of
// ACME (RFC 8555 section 7.3.4), and what accounts of it may do.
type ACMEBinding struct {
	ID        string    `json:"id"`
	Secret    string    `json:"-"`                   // the id of its key in custody
	Authority string    `json:"authority,omitempty"` // the only CA that may be asked
	Profiles  []string  `json:"profiles,omitempty"`  // empty: all that are served
	Names     []string  `json:"names,omitempty"`     // patterns; empty: all that are proven
	Note      string    `json:"note,omitempty"`
	Reusable  bool      `json:"reusable,omitempty"` // for more than one account
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires,omitzero"`
	Used      time.Time `json:"used,omitzero"` // when an account was last bound
	Revoked   time.Time `json:"revoked,omitzero"`
}

// An ACMEOrder asks for one certificate.
type ACMEOrder struct {
	ID             string
	Account        string
	Authority      string
	Status         string // pending, processing, valid, invalid
	Profile        string
	Identifiers    []ACMEIdentifier
	Authorizations []string // ids
	NotAfter       time.Time
	Replaces       string // the certID that was accepted
	Note           string
	CSR            []byte // DER
	Waiting        int64  // of the requests for approval; 0: none
	Serial         string
	Error          string // JSON
	Created        time.Time
	Expires        time.Time
}

// An ACMEAuthorization says that an account has shown control of a name, or how
// it may do so.
type ACMEAuthorization struct {
	ID         string
	Account    string
	Kind       string // dns or ip
	Value      string // without "*."
	Wildcard   bool
	Status     string // pending, processing, valid, invalid, deactivated
	Challenges string // JSON
	Created    time.Time
	Expires    time.Time
}

// An ACMEList asks for a part of a list: at most Limit rows (50 when it is 0)
// older than the one of id Before.
type ACMEList struct {
	Account string // "" is of all
	Status  string // "" is in any
	Before  string
	Limit   int
}

// conditions returns what a row of the list fulfils.
func (l ACMEList) conditions(accountColumn string) *conditions {
	where := &conditions{}
	if l.Account != "" {
		where.add(accountColumn+` = ?`, l.Account)
	}
	if l.Status != "" {
		where.add(`status = ?`, l.Status)
	}
	if l.Before != "" {
		where.add(`id < ?`, l.Before)
	}
	return where
}

// order is the end of the query of a list.
func (l ACMEList) order() string {
	return ` ORDER BY id DESC LIMIT ` + itoa(int64(PageRequest{Limit: l.Limit}.limit()))
}

// ForgetACME removes orders that came to nothing and authorizations, when they
// expired before ended, and orders that came to something before then; it returns
// how many rows it removed. A certificate does not need its order.
func (db *DB) ForgetACME(ctx context.Context, ended, fulfilled time.Time) (int64, error) {
	var removed int64
	err := db.tx(ctx, func(tx *writing) error {
		removed = 0
		for _, step := range []struct {
			query string
			at    time.Time
		}{
			{`DELETE FROM acme_orders WHERE expires < $1 AND status IN ('pending', 'invalid')`, ended},
			{`DELETE FROM acme_orders WHERE expires < $1 AND status = 'valid'`, fulfilled},
		} {
			result, err := tx.ExecContext(ctx, step.query, micros(step.at))
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
		result, err := tx.ExecContext(ctx, `DELETE FROM acme_authorizations WHERE id < $1 AND expires < $2`, firstACMEID(ended), micros(ended))
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		removed += n
		return err
	})
	return removed, db.wrap("couldn't forget old orders", err)
}

// firstACMEID is below every id that was given at a time or later: ids begin with the
// milliseconds since 1970 as 12 hexadecimal digits.
func firstACMEID(at time.Time) string { return fmt.Sprintf("%012x", max(0, at.UnixMilli())) }

// one reads the row of a query by a prepared statement; none is ErrNotFound.
func one[T any](ctx context.Context, db *DB, doing, query string, scan func(scanner) (T, error), args ...any) (T, error) {
	var none T
	stmt, err := db.prepared(ctx, query)
	if err != nil {
		return none, db.wrap(doing, err)
	}
	// Without a context that ends, the driver needs no goroutine to watch it.
	found, err := scan(stmt.QueryRowContext(context.WithoutCancel(ctx), args...))
	if err != nil {
		return none, db.wrap(doing, err)
	}
	return found, nil
}

// run runs a prepared statement of a transaction.
func (w *writing) run(ctx context.Context, query string, args ...any) (sql.Result, error) {
	stmt, err := w.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(context.WithoutCancel(ctx), args...)
}

func identifiersOf(text string) ([]ACMEIdentifier, error) {
	var list []ACMEIdentifier
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

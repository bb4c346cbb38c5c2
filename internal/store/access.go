// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A Person is somebody who may sign in.
type Person struct {
	Name      string
	Role      string
	Created   time.Time
	CreatedBy string
	SignedIn  time.Time // the last time; zero for never
	Disabled  time.Time // since when; zero for not
}

const personColumns = `p.name, p.role, p.created, p.created_by, p.signed_in, p.disabled`

func scanPerson(row scanner) (Person, error) {
	var p Person
	var created, signedIn, disabled int64
	err := row.Scan(&p.Name, &p.Role, &created, &p.CreatedBy, &signedIn, &disabled)
	p.Created, p.SignedIn, p.Disabled = timeOf(created), timeOf(signedIn), timeOf(disabled)
	return p, err
}

// People returns everybody, by name.
func (db *DB) People(ctx context.Context) ([]Person, error) {
	var people []Person
	rows, err := db.read.QueryContext(ctx, `SELECT `+personColumns+` FROM people p ORDER BY p.name`)
	err = each(rows, err, func(rows *sql.Rows) error {
		p, err := scanPerson(rows)
		people = append(people, p)
		return err
	})
	return people, db.wrap("couldn't list people", err)
}

// ErrLast is the error of a change after which nobody with a role could sign in
// who could before.
var ErrLast = fmt.Errorf("%w: nobody else could sign in with that role", tallystick.ErrInvalid)

// keepOne runs a change to people, and undoes it with ErrLast when it takes the
// last one who is not disabled from a role.
func (w *writing) keepOne(ctx context.Context, role string, change func() error) error {
	// It changes nothing and locks: of two who disable each other at once, the
	// second waits here for the first.
	const before = `UPDATE people SET role = role WHERE role = $1 AND disabled = 0`
	result, err := w.ExecContext(ctx, before, role)
	if err != nil {
		return err
	}
	had, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	var have int64
	const after = `SELECT COUNT(*) FROM people WHERE role = $1 AND disabled = 0`
	if err := w.QueryRowContext(ctx, after, role).Scan(&have); err != nil {
		return err
	}
	if had > 0 && have == 0 {
		return ErrLast
	}
	return nil
}

// A NewLink is a sign-in link, by its hash, and whom it is for.
type NewLink struct {
	Hash    string
	Expires time.Time
	Person  Person
	// KeepRole leaves a person who is known with the role that they have.
	KeepRole bool
	// Last is the role that somebody has to be left with; see ErrLast.
	Last string
}

// AddLink stores a sign-in link in place of any other link of the person. The
// person is made, or has the role from now on, and is not disabled.
func (db *DB) AddLink(ctx context.Context, l NewLink) error {
	p := l.Person
	person := `INSERT INTO people (name, role, created, created_by) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET disabled = 0`
	if !l.KeepRole {
		person += `, role = excluded.role`
	}
	err := db.tx(ctx, func(tx *writing) error {
		err := tx.keepOne(ctx, l.Last, func() error {
			_, err := tx.ExecContext(ctx, person, p.Name, p.Role, micros(p.Created), p.CreatedBy)
			return err
		})
		if err != nil {
			return err
		}
		const old = `DELETE FROM links WHERE person = $1 OR expires <= $2`
		if _, err := tx.ExecContext(ctx, old, p.Name, micros(p.Created)); err != nil {
			return err
		}
		const link = `INSERT INTO links (hash, person, created, created_by, expires) VALUES ($1, $2, $3, $4, $5)`
		_, err = tx.ExecContext(ctx, link, l.Hash, p.Name, micros(p.Created), p.CreatedBy, micros(l.Expires))
		return err
	})
	return db.wrap("couldn't add a sign-in link", err)
}

// LinkPerson returns whom a link that is still good at the time is for.
func (db *DB) LinkPerson(ctx context.Context, hash string, now time.Time) (Person, error) {
	const query = `SELECT ` + personColumns + ` FROM links l JOIN people p ON p.name = l.person
		WHERE l.hash = $1 AND l.expires > $2 AND p.disabled = 0`
	p, err := scanPerson(db.read.QueryRowContext(ctx, query, hash, micros(now)))
	return p, db.wrap("couldn't find the sign-in link", err)
}

// RedeemLink takes a link that is still good away and adds a session for its
// person, both or neither: of several who try at once one succeeds, and the
// others get ErrNotFound.
func (db *DB) RedeemLink(ctx context.Context, link, session string, now, expires time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const take = `DELETE FROM links WHERE hash = $1 AND expires > $2 RETURNING person`
		var name string
		if err := tx.QueryRowContext(ctx, take, link, micros(now)).Scan(&name); err != nil {
			return err
		}
		const person = `UPDATE people SET signed_in = $1 WHERE name = $2 AND disabled = 0 RETURNING name`
		if err := tx.QueryRowContext(ctx, person, micros(now), name).Scan(&name); err != nil {
			return err
		}
		const old = `DELETE FROM sessions WHERE expires <= $1`
		if _, err := tx.ExecContext(ctx, old, micros(now)); err != nil {
			return err
		}
		const add = `INSERT INTO sessions (hash, person, created, expires) VALUES ($1, $2, $3, $4)`
		_, err := tx.ExecContext(ctx, add, session, name, micros(now), micros(expires))
		return err
	})
	return db.wrap("couldn't redeem the sign-in link", err)
}

// SessionPerson returns whose session it is, while it is good.
func (db *DB) SessionPerson(ctx context.Context, hash string, now time.Time) (Person, error) {
	const query = `SELECT ` + personColumns + ` FROM sessions s JOIN people p ON p.name = s.person
		WHERE s.hash = $1 AND s.expires > $2 AND p.disabled = 0`
	p, err := scanPerson(db.read.QueryRowContext(ctx, query, hash, micros(now)))
	return p, db.wrap("couldn't find the session", err)
}

// EndSession takes a session away; that there is none is no error.
func (db *DB) EndSession(ctx context.Context, hash string) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM sessions WHERE hash = $1`, hash)
	return db.wrap("couldn't end the session", err)
}

// DisablePerson keeps a person from signing in, and ends their sessions and
// links. Somebody who does not exist is ErrNotFound; last is the role that
// somebody has to be left with, see ErrLast.
func (db *DB) DisablePerson(ctx context.Context, name, last string, now time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		err := tx.keepOne(ctx, last, func() error {
			const person = `UPDATE people SET disabled = CASE WHEN disabled = 0 THEN $1 ELSE disabled END WHERE name = $2 RETURNING name`
			return tx.QueryRowContext(ctx, person, micros(now), name).Scan(&name)
		})
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM links WHERE person = $1`, name); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM sessions WHERE person = $1`, name)
		return err
	})
	return db.wrap(fmt.Sprintf("couldn't disable %s", name), err)
}

// A Token is what is stored of an API token.
type Token struct {
	ID        int64
	Name      string
	Role      string
	Created   time.Time
	CreatedBy string
	Expires   time.Time
	LastUsed  time.Time // zero for never
	Revoked   time.Time // since when; zero for not
}

const tokenColumns = `id, name, role, created, created_by, expires, last_used, revoked`

func scanToken(row scanner) (Token, error) {
	var t Token
	var created, expires, lastUsed, revoked int64
	err := row.Scan(&t.ID, &t.Name, &t.Role, &created, &t.CreatedBy, &expires, &lastUsed, &revoked)
	t.Created, t.Expires, t.LastUsed, t.Revoked = timeOf(created), timeOf(expires), timeOf(lastUsed), timeOf(revoked)
	return t, err
}

// AddToken stores a token by its hash and returns it with its number.
func (db *DB) AddToken(ctx context.Context, hash string, t Token) (Token, error) {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return Token{}, err
	}
	t.ID = id
	const query = `INSERT INTO tokens (id, hash, name, role, created, created_by, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	_, err = db.write.ExecContext(ctx, query, t.ID, hash, t.Name, t.Role, micros(t.Created), t.CreatedBy, micros(t.Expires))
	return t, db.wrap("couldn't add a token", err)
}

// TokenOf returns the token with a hash, also one that is no longer good.
func (db *DB) TokenOf(ctx context.Context, hash string) (Token, error) {
	t, err := scanToken(db.one(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE hash = $1`, hash))
	return t, db.wrap("couldn't find the token", err)
}

// TouchToken notes that a token was used.
func (db *DB) TouchToken(ctx context.Context, id int64, now time.Time) error {
	_, err := db.write.ExecContext(ctx, `UPDATE tokens SET last_used = $1 WHERE id = $2 AND last_used < $1`, micros(now), id)
	return db.wrap("couldn't note the use of the token", err)
}

// RevokeToken makes a token useless for good. One that does not exist is
// ErrNotFound; one that was revoked before keeps its time.
func (db *DB) RevokeToken(ctx context.Context, id int64, now time.Time) error {
	const query = `UPDATE tokens SET revoked = CASE WHEN revoked = 0 THEN $1 ELSE revoked END WHERE id = $2`
	result, err := db.write.ExecContext(ctx, query, micros(now), id)
	if err != nil {
		return db.wrap("couldn't revoke the token", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return db.wrap("couldn't revoke the token", err)
	}
	return fmt.Errorf("couldn't revoke token %d: %w", id, tallystick.ErrNotFound)
}

// Tokens returns all tokens, by number, also those that are no longer good.
func (db *DB) Tokens(ctx context.Context) ([]Token, error) {
	var tokens []Token
	rows, err := db.read.QueryContext(ctx, `SELECT `+tokenColumns+` FROM tokens ORDER BY id`)
	err = each(rows, err, func(rows *sql.Rows) error {
		t, err := scanToken(rows)
		tokens = append(tokens, t)
		return err
	})
	return tokens, db.wrap("couldn't list tokens", err)
}

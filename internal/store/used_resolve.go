// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A Sighted is what the inventory has of a credential that is used.
type Sighted struct {
	Credential *tallystick.Credential
	Annotation tallystick.Annotation
	Places     int64
	Gone       time.Time // since when it is at no place; zero while it is at one, and when it never was
}

// ResolveUsed returns the fingerprint of the credential that has one of some
// names of the normal form, a sighted one before one that is known by its uses
// alone; "" when there is none. Of several certificates of one key it is the one
// that ends last.
func (db *DB) ResolveUsed(ctx context.Context, names []string) (tallystick.Fingerprint, error) {
	for _, by := range []struct{ kind, query string }{
		{"cert-sha256:", `SELECT fingerprint FROM credentials WHERE fingerprint = $1`},
		{"x5t:", `SELECT c.fingerprint FROM terms t JOIN credentials c ON c.id = t.credential_id WHERE t.term = $1 ORDER BY c.id LIMIT 1`},
		{"spki-sha256:", `SELECT fingerprint FROM credentials WHERE key_id = $1 ORDER BY present DESC, not_after DESC, id LIMIT 1`},
	} {
		for _, name := range names {
			value, ok := strings.CutPrefix(name, by.kind)
			if !ok {
				continue
			}
			var f tallystick.Fingerprint
			err := db.read.QueryRowContext(ctx, by.query, value).Scan(&f)
			if err == nil {
				return f, nil
			} else if !errors.Is(err, sql.ErrNoRows) {
				return "", db.wrap("couldn't look up a credential by its name", err)
			}
		}
	}
	return "", nil
}

// A Name is that of a credential which is known by its uses alone.
type Name struct {
	Name string
	Seen time.Time // first
}

// NameCredentials makes credentials that are known by their uses alone, unless
// they are there, and returns their fingerprints.
func (db *DB) NameCredentials(ctx context.Context, list []Name) ([]tallystick.Fingerprint, error) {
	if len(list) == 0 {
		return nil, nil
	}
	next, err := db.newIDs(ctx, int64(len(list)))
	if err != nil {
		return nil, err
	}
	fingerprints := make([]tallystick.Fingerprint, len(list))
	return fingerprints, db.wrap("couldn't record credentials by their names", db.tx(ctx, func(tx *writing) error {
		var credentials, bodies, terms [][]any
		isNew := map[tallystick.Fingerprint]bool{}
		for i, one := range list {
			name := cleanText(one.Name)
			id, f := next+int64(i), tallystick.FingerprintOf([]byte(name))
			fingerprints[i] = f
			var old int64
			err := tx.QueryRowContext(ctx, `SELECT id FROM credentials WHERE fingerprint = $1`, string(f)).Scan(&old)
			if err == nil || isNew[f] {
				continue
			} else if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			isNew[f] = true
			words := nameWords(name)
			credentials = append(credentials, []any{
				id, string(f), string(tallystick.KindNamed), "", "", int64(0), name, "", "", stringsText(nil), int64(0), endMicros(time.Time{}),
				"", false, false, false, stringsText(nil), "", "", "", micros(one.Seen), searchText(words), false,
			})
			bodies = append(bodies, []any{id, []byte(name), []byte{}})
			for _, word := range words {
				terms = append(terms, []any{word, id})
			}
			// The rules judge what is somewhere, and never this.
			const standing = `INSERT INTO standing (credential_id, places, recheck_at) VALUES ($1, 0, $2)`
			if _, err := tx.ExecContext(ctx, standing, id, endMicros(time.Time{})); err != nil {
				return err
			}
		}
		for _, write := range []struct {
			bulk
			rows [][]any
		}{{insertCredentials, credentials}, {insertBodies, bodies}, {insertTerms, terms}} {
			if _, err := write.exec(ctx, tx, write.rows); err != nil {
				return err
			}
		}
		return nil
	}))
}

// nameWords are what a search finds a credential by that has but a name: all of
// it, and what is behind its kind.
func nameWords(name string) []string {
	words := []string{cutUTF8(strings.ToLower(name), maxTermLen)}
	if _, value, ok := strings.Cut(words[0], ":"); ok && value != "" {
		words = append(words, value)
	}
	return words
}

// SightedOf returns what the inventory has of credentials, by fingerprint.
func (db *DB) SightedOf(ctx context.Context, list []tallystick.Fingerprint) (map[tallystick.Fingerprint]Sighted, error) {
	found := map[tallystick.Fingerprint]Sighted{}
	var keys []any
	for _, f := range list {
		keys = append(keys, string(f))
	}
	const query = `SELECT ` + fullColumns + `, c.owner, c.environment, c.tags, c.notes, st.places,
		COALESCE((SELECT MAX(s.gone_since) FROM sightings s WHERE s.credential_id = c.id), 0)
		FROM credentials c JOIN bodies b ON b.credential_id = c.id JOIN standing st ON st.credential_id = c.id WHERE c.fingerprint IN `
	err := in(ctx, db, query, keys, func(rows *sql.Rows) error {
		var s Sighted
		var tags string
		var gone int64
		var err error
		_, s.Credential, err = scanCredential(rows, &s.Annotation.Owner, &s.Annotation.Environment, &tags, &s.Annotation.Notes, &s.Places, &gone)
		if err != nil {
			return err
		}
		if s.Places == 0 {
			s.Gone = timeOf(gone)
		}
		s.Annotation.Tags, err = stringsOf(tags)
		found[s.Credential.ID] = s
		return err
	})
	return found, db.wrap("couldn't read what is known of credentials that are used", err)
}

// addThumbprints lets certificates that an older program recorded be found by
// their thumbprints.
func (db *DB) addThumbprints(ctx context.Context) error {
	var rows [][]any
	found, err := db.read.QueryContext(ctx, `SELECT c.id, b.raw FROM credentials c JOIN bodies b ON b.credential_id = c.id WHERE c.kind = 'certificate' ORDER BY c.id`)
	err = each(found, err, func(found *sql.Rows) error {
		var id int64
		var raw []byte
		err := found.Scan(&id, &raw)
		rows = append(rows, []any{thumbprint(raw), id})
		return err
	})
	if err != nil {
		return db.wrap("couldn't read certificates", err)
	}
	add := insertTerms
	add.tail = ` ON CONFLICT (term, credential_id) DO NOTHING`
	return db.wrap("couldn't add thumbprints", db.tx(ctx, func(tx *writing) error {
		_, err := add.exec(ctx, tx, rows)
		return err
	}))
}

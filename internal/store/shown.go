// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/tallystick/tallystick"
)

// A ShownRow is a TLS endpoint with a certificate that it shows as its own now.
type ShownRow struct {
	Place       tallystick.Place
	Address     string
	Certificate *tallystick.Credential // without Raw and Key.SPKI
}

// EachShown calls fn for every endpoint and each certificate with names that
// it shows as its own; those of the same names follow each other.
func (db *DB) EachShown(ctx context.Context, fn func(ShownRow) error) error {
	const query = `SELECT c.fingerprint, c.kind, c.algorithm, c.subject, c.issuer, c.names, c.not_before, c.not_after, c.self_issued,
		c.subject_key_id, c.authority_key_id, p.uri, s.facts
		FROM sightings s JOIN credentials c ON c.id = s.credential_id JOIN places p ON p.id = s.place_id
		WHERE s.scheme = 'tls' AND s.gone_since = 0 AND c.kind = 'certificate' AND c.names <> '[]' ORDER BY c.names, p.uri, c.id`
	rows, err := db.read.QueryContext(ctx, query)
	return db.wrap("couldn't read which endpoint shows what", each(rows, err, func(rows *sql.Rows) error {
		l, own, err := scanShown(rows)
		if err != nil || !own {
			return err
		}
		return fn(l)
	}))
}

// scanShown says own of a certificate that was not sent along with another one.
func scanShown(rows *sql.Rows) (l ShownRow, own bool, err error) {
	var c tallystick.Credential
	var names, facts string
	var notBefore, notAfter int64
	err = rows.Scan(&c.ID, &c.Kind, &c.Key.Algorithm, &c.Subject, &c.Issuer, &names, &notBefore, &notAfter, &c.SelfIssued,
		&c.SubjectKeyID, &c.AuthorityKeyID, &l.Place, &facts)
	if err != nil {
		return l, false, err
	}
	c.NotBefore, c.NotAfter = timeOf(notBefore), timeOf(notAfter)
	if c.Names, err = stringsOf(names); err != nil {
		return l, false, err
	}
	var seen tallystick.Facts
	if err := json.Unmarshal([]byte(facts), &seen); err != nil {
		return l, false, err
	}
	if seen.TLS == nil || seen.TLS.Position > 0 {
		return l, false, nil
	}
	l.Address, l.Certificate = seen.TLS.Address, &c
	return l, true, nil
}

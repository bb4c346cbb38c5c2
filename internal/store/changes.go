// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// A RunChange is what a run found to be different.
type RunChange struct {
	Kind       string                 `json:"kind"` // "appeared", "returned", "vanished"
	ID         int64                  `json:"-"`    // of the sighting, for paging
	Credential tallystick.Fingerprint `json:"credential"`
	Subject    string                 `json:"subject"`
	CredKind   tallystick.Kind        `json:"credential_kind"`
	Place      tallystick.Place       `json:"place"`
	Time       time.Time              `json:"time"`
	// Replaces is the certificate of the same subject that went from the
	// same place in the same run: this one is its renewal.
	Replaces tallystick.Fingerprint `json:"replaces,omitempty"`
}

// Appeared returns what a run saw that was not there before, in the order of
// sighting ids after one. What had been there earlier has kind "returned".
func (db *DB) Appeared(ctx context.Context, run, after int64, limit int) ([]RunChange, error) {
	const query = `SELECT s.id, c.fingerprint, c.subject, c.kind, p.uri, s.first_seen,
		EXISTS (SELECT 1 FROM sightings o WHERE o.credential_id = s.credential_id AND o.place_id = s.place_id AND o.id <> s.id AND o.gone_since > 0),
		COALESCE((SELECT g.fingerprint FROM sightings o JOIN credentials g ON g.id = o.credential_id
			WHERE o.place_id = s.place_id AND o.gone_run = s.first_run AND g.subject = c.subject AND g.kind = c.kind AND g.id <> c.id LIMIT 1), '')
		FROM sightings s JOIN credentials c ON c.id = s.credential_id JOIN places p ON p.id = s.place_id
		WHERE s.first_run = $1 AND s.id > $2 ORDER BY s.id LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, run, after, limit)
	return collect(db, "couldn't list what is new", rows, err, func(rows *sql.Rows) (RunChange, error) {
		change := RunChange{Kind: "appeared"}
		var seen int64
		var before bool
		err := rows.Scan(&change.ID, &change.Credential, &change.Subject, &change.CredKind, &change.Place, &seen, &before, &change.Replaces)
		change.Time = timeOf(seen)
		if before {
			change.Kind = "returned"
		}
		return change, err
	})
}

// Vanished returns what a run no longer saw, in the order of sighting ids after one.
func (db *DB) Vanished(ctx context.Context, run, after int64, limit int) ([]RunChange, error) {
	const query = `SELECT s.id, c.fingerprint, c.subject, c.kind, p.uri, s.gone_since
		FROM sightings s JOIN credentials c ON c.id = s.credential_id JOIN places p ON p.id = s.place_id
		WHERE s.gone_run = $1 AND s.gone_run > 0 AND s.id > $2 ORDER BY s.id LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, run, after, limit)
	return collect(db, "couldn't list what is gone", rows, err, func(rows *sql.Rows) (RunChange, error) {
		change := RunChange{Kind: "vanished"}
		var since int64
		err := rows.Scan(&change.ID, &change.Credential, &change.Subject, &change.CredKind, &change.Place, &since)
		change.Time = timeOf(since)
		return change, err
	})
}

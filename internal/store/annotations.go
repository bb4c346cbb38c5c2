// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A PastAnnotation is what somebody said about a credential at a time.
type PastAnnotation struct {
	Time   time.Time `json:"time"`
	Author string    `json:"author"`
	tallystick.Annotation
}

// Annotate replaces what is said about a credential and keeps what was said
// before. Saying the same again is no change.
func (db *DB) Annotate(ctx context.Context, credential tallystick.Fingerprint, a PastAnnotation) error {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return err
	}
	a.Tags = slices.Compact(slices.Sorted(slices.Values(a.Tags)))
	tags := stringsText(a.Tags)
	err = db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE credentials SET owner = $1, environment = $2, tags = $3, notes = $4
			WHERE fingerprint = $5 AND NOT (owner = $1 AND environment = $2 AND tags = $3 AND notes = $4) RETURNING id`
		var row int64
		err := tx.QueryRowContext(ctx, update, a.Owner, a.Environment, tags, a.Notes, string(credential)).Scan(&row)
		if err == sql.ErrNoRows {
			const exists = `SELECT id FROM credentials WHERE fingerprint = $1`
			return tx.QueryRowContext(ctx, exists, string(credential)).Scan(&row)
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, makeDue+`= $1`, row); err != nil {
			return err
		}
		const history = `INSERT INTO annotations (id, credential_id, time, author, owner, environment, tags, notes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
		_, err = tx.ExecContext(ctx, history, id, row, micros(a.Time), a.Author, a.Owner, a.Environment, tags, a.Notes)
		if err != nil {
			return err
		}
		return replaceTags(ctx, tx, row, a.Tags)
	})
	return db.wrap("couldn't annotate credential "+credential.Short(), err)
}

func replaceTags(ctx context.Context, tx *writing, credential int64, tags []string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM tags WHERE credential_id = $1`, credential); err != nil {
		return err
	}
	for _, tag := range tags {
		const insert = `INSERT INTO tags (tag, credential_id) VALUES ($1, $2)`
		if _, err := tx.ExecContext(ctx, insert, strings.TrimSpace(tag), credential); err != nil {
			return err
		}
	}
	return nil
}

// Annotations returns what was said about a credential, newest first.
func (db *DB) Annotations(ctx context.Context, credential tallystick.Fingerprint, limit int) ([]PastAnnotation, error) {
	const query = `SELECT a.time, a.author, a.owner, a.environment, a.tags, a.notes FROM annotations a
		JOIN credentials c ON c.id = a.credential_id WHERE c.fingerprint = $1 ORDER BY a.id DESC LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, string(credential), limit)
	return collect(db, "couldn't read the annotations", rows, err, func(rows *sql.Rows) (PastAnnotation, error) {
		var a PastAnnotation
		var at int64
		var tags string
		err := rows.Scan(&at, &a.Author, &a.Owner, &a.Environment, &tags, &a.Notes)
		if err != nil {
			return a, err
		}
		a.Time = timeOf(at)
		a.Tags, err = stringsOf(tags)
		return a, err
	})
}

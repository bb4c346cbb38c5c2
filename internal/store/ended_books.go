// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// An EndedBook is one whose writer is gone for good: no verdict waits for it.
type EndedBook struct {
	Source string          `json:"source"`
	Side   tallystick.Side `json:"side"`
	Ended  time.Time       `json:"ended"`
	Author string          `json:"author"`
	Reason string          `json:"reason"`
}

// EndBook says that a book has ended. Saying it again changes the reason.
func (db *DB) EndBook(ctx context.Context, b EndedBook) error {
	const query = `INSERT INTO ended_books (source, side, ended, author, reason) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (source, side) DO UPDATE SET ended = excluded.ended, author = excluded.author, reason = excluded.reason`
	_, err := db.write.ExecContext(ctx, query, cleanText(b.Source), string(b.Side), micros(b.Ended), b.Author, cleanText(b.Reason))
	return db.wrap("couldn't end a book", err)
}

// ReopenBook takes it back. A book that has not ended is ErrNotFound.
func (db *DB) ReopenBook(ctx context.Context, source string, side tallystick.Side) error {
	var one string
	err := db.write.QueryRowContext(ctx, `DELETE FROM ended_books WHERE source = $1 AND side = $2 RETURNING source`, source, string(side)).Scan(&one)
	return db.wrap("couldn't reopen a book", err)
}

// EndedBooks returns the books that have ended, by name.
func (db *DB) EndedBooks(ctx context.Context) ([]EndedBook, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT source, side, ended, author, reason FROM ended_books ORDER BY source, side`)
	return collect(db, "couldn't read which books have ended", rows, err, func(rows *sql.Rows) (EndedBook, error) {
		var b EndedBook
		var ended int64
		err := rows.Scan(&b.Source, &b.Side, &ended, &b.Author, &b.Reason)
		b.Ended = timeOf(ended)
		return b, err
	})
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
)

// bulkSizes are how many rows one statement may carry. Most of the cost of a
// small statement is in getting it to the engine; beyond some hundred rows
// nothing more is gained. They are few, so that each can be prepared once.
var bulkSizes = [...]int{128, 16, 1}

// bulkSize returns the largest size that n rows fill.
func bulkSize(n int) int {
	for _, size := range bulkSizes {
		if n >= size {
			return size
		}
	}
	return 0
}

// values writes n placeholder tuples of the given width: ($1,$2),($3,$4)...
// cast names a type for each column where PostgreSQL could not tell it.
func values(e engine, n, width int, cast []string) string {
	var b strings.Builder
	for row := range n {
		if row > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for col := range width {
			if col > 0 {
				b.WriteByte(',')
			}
			placeholder := e.placeholder(row*width + col + 1)
			if cast != nil {
				placeholder = "CAST(" + placeholder + " AS " + cast[col] + ")"
			}
			b.WriteString(placeholder)
		}
		b.WriteByte(')')
	}
	return b.String()
}

// A bulk is a statement over many rows: head, the tuples, tail.
type bulk struct {
	head, tail string
	width      int
	cast       []string
}

// exec runs the statement over rows, some at a time, and calls fn for what it
// returns; fn may be nil when it returns nothing.
func (b bulk) exec(ctx context.Context, tx *writing, rows [][]any, fn func(*sql.Rows) error) error {
	for len(rows) > 0 {
		n := bulkSize(len(rows))
		args := make([]any, 0, n*b.width)
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		rows = rows[n:]
		stmt, err := tx.prepared(ctx, b.head+values(tx.db.engine, n, b.width, b.cast)+b.tail)
		if err != nil {
			return err
		}
		if fn == nil {
			if _, err := stmt.ExecContext(ctx, args...); err != nil {
				return err
			}
			continue
		}
		result, err := stmt.QueryContext(ctx, args...)
		if err := each(result, err, fn); err != nil {
			return err
		}
	}
	return nil
}

// A preparer is a *DB, for reading, or a *writing.
type preparer interface {
	prepared(ctx context.Context, query string) (*sql.Stmt, error)
	dialect() engine
}

// in runs head + ($1,$2,...) over keys, some at a time.
func in(ctx context.Context, p preparer, head string, keys []any, fn func(*sql.Rows) error) error {
	for len(keys) > 0 {
		n := bulkSize(len(keys))
		stmt, err := p.prepared(ctx, head+values(p.dialect(), 1, n, nil))
		if err != nil {
			return err
		}
		rows, err := stmt.QueryContext(ctx, keys[:n]...)
		if err := each(rows, err, fn); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

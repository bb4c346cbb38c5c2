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
var bulkSizes = []int{128, 16, 1}

// bulkSize returns the largest of some sizes that n rows fill.
func bulkSize(sizes []int, n int) int {
	for _, size := range sizes {
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
	// cast names the types of the columns of tuples that stand behind FROM,
	// where PostgreSQL would take them for text; nil behind INSERT.
	cast []string
}

// sizes returns how many rows a statement carries.
func (b bulk) sizes(e engine) []int {
	if b.cast == nil {
		return e.insertSizes()
	}
	return bulkSizes
}

// exec runs the statement over rows and returns how many it changed.
func (b bulk) exec(ctx context.Context, tx *writing, rows [][]any) (int64, error) {
	var changed int64
	for len(rows) > 0 {
		n := bulkSize(b.sizes(tx.db.engine), len(rows))
		stmt, err := tx.prepared(ctx, b.head+values(tx.db.engine, n, b.width, b.cast)+b.tail)
		if err != nil {
			return changed, err
		}
		for ; len(rows) >= n; rows = rows[n:] {
			if err := ctx.Err(); err != nil {
				return changed, err
			}
			// Without a context that ends, the driver needs no goroutine to
			// watch it, which costs as much as a small statement.
			result, err := stmt.ExecContext(context.WithoutCancel(ctx), flat(rows[:n])...)
			if err != nil {
				return changed, err
			}
			affected, err := result.RowsAffected()
			if err != nil {
				return changed, err
			}
			changed += affected
		}
	}
	return changed, nil
}

// query runs the statement over rows, some at a time, and calls fn for what it
// returns.
func (b bulk) query(ctx context.Context, p preparer, rows [][]any, fn func(*sql.Rows) error) error {
	for len(rows) > 0 {
		n := bulkSize(b.sizes(p.dialect()), len(rows))
		stmt, err := p.prepared(ctx, b.head+values(p.dialect(), n, b.width, b.cast)+b.tail)
		if err != nil {
			return err
		}
		found, err := stmt.QueryContext(ctx, flat(rows[:n])...)
		if err := each(found, err, fn); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// flat returns the values of rows one after the other.
func flat(rows [][]any) []any {
	if len(rows) == 1 {
		return rows[0]
	}
	args := make([]any, 0, len(rows)*len(rows[0]))
	for _, row := range rows {
		args = append(args, row...)
	}
	return args
}

// A preparer is a *DB, for reading, or a *writing.
type preparer interface {
	prepared(ctx context.Context, query string) (*sql.Stmt, error)
	dialect() engine
}

// in runs head + ($1,$2,...) over keys, some at a time.
func in(ctx context.Context, p preparer, head string, keys []any, fn func(*sql.Rows) error) error {
	for len(keys) > 0 {
		n := bulkSize(bulkSizes, len(keys))
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

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"sync"
)

// bulkSizes are how many rows one statement may carry. Most of the cost of a
// small statement is in getting it to the engine; beyond some hundred rows
// nothing more is gained. They are few, so that each can be prepared once.
var bulkSizes = [...]int{128, 16, 1}

// bulkRows is the largest of them.
const bulkRows = 128

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

// A writing is a transaction that knows the statements prepared before it.
type writing struct {
	*sql.Tx
	db *DB
}

// prepared returns a statement of the transaction. The first time it is
// prepared on the pool, which in SQLite has one connection, so it must be
// ready before a transaction holds that: see warm.
func (w *writing) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := w.db.writes.get(query); ok {
		return w.Tx.StmtContext(ctx, stmt), nil
	}
	w.db.writes.want(query)
	return w.Tx.PrepareContext(ctx, query)
}

func (w *writing) dialect() engine { return w.db.engine }

// once is a writing for a text that will not come again: it is not kept.
type once struct{ *writing }

func (w once) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	return w.Tx.PrepareContext(ctx, query)
}

// prepared returns a statement on the pool for reading.
func (db *DB) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := db.reads.get(query); ok {
		return stmt, nil
	}
	return db.reads.prepare(ctx, db.read, query)
}

func (db *DB) dialect() engine { return db.engine }

// statements are prepared ones by their text. There are as many as there are
// bulks times bulkSizes.
type statements struct {
	mu     sync.Mutex
	ready  map[string]*sql.Stmt // guarded by mu
	wanted []string             // guarded by mu
}

func (s *statements) get(query string) (*sql.Stmt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stmt, ok := s.ready[query]
	return stmt, ok
}

func (s *statements) want(query string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = append(s.wanted, query)
}

// prepare returns a statement on a pool. It does not hold mu while it waits for
// a connection, because whoever has the connection may need mu to be done.
func (s *statements) prepare(ctx context.Context, pool *sql.DB, query string) (*sql.Stmt, error) {
	stmt, err := pool.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready == nil {
		s.ready = map[string]*sql.Stmt{}
	}
	if other, ok := s.ready[query]; ok { // somebody was faster
		return other, stmt.Close()
	}
	s.ready[query] = stmt
	return stmt, nil
}

// warm prepares on the pool what transactions have asked for.
func (s *statements) warm(ctx context.Context, pool *sql.DB) error {
	s.mu.Lock()
	wanted := s.wanted
	s.wanted = nil
	s.mu.Unlock()
	for _, query := range wanted {
		if _, ok := s.get(query); ok {
			continue
		}
		if _, err := s.prepare(ctx, pool, query); err != nil {
			return err
		}
	}
	return nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// idBlockSize is how many ids a process takes at once.
const idBlockSize = 4096

// An idBlock hands out ids that no other process hands out.
type idBlock struct {
	mu        sync.Mutex
	next, end int64 // guarded by mu; the ids [next, end) are ours
}

// newIDs returns the first of n ids in a row. A block that is lost with a
// process leaves a gap and nothing else. It writes outside any transaction, so
// it must be called before one begins: SQLite has one writer.
func (db *DB) newIDs(ctx context.Context, n int64) (int64, error) {
	db.ids.mu.Lock()
	defer db.ids.mu.Unlock()
	if db.ids.end-db.ids.next < n {
		take := max(n, idBlockSize)
		const query = `UPDATE counters SET next = next + $1 WHERE name = 'id' RETURNING next`
		var end int64
		if err := db.write.QueryRowContext(ctx, query, take).Scan(&end); err != nil {
			return 0, db.wrap("couldn't take new ids", err)
		}
		db.ids.next, db.ids.end = end-take, end
	}
	first := db.ids.next
	db.ids.next += n
	return first, nil
}

// knownIDsSize bounds knownIDs: two such maps of 64-byte keys take about 40 MB.
const knownIDsSize = 100_000

// knownIDs remembers the ids of credentials and places met lately, so that a
// look at the same estate need not ask for them again. Ids never change.
type knownIDs struct {
	mu  sync.Mutex
	ids map[string]int64 // guarded by mu; by fingerprint or by place
}

func (k *knownIDs) get(name string) (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.ids[name]
	return id, ok
}

// put takes over ids that are committed.
func (k *knownIDs) put(ids map[string]int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids == nil || len(k.ids)+len(ids) > knownIDsSize {
		k.ids = make(map[string]int64, len(ids))
	}
	for name, id := range ids {
		k.ids[name] = id
	}
}

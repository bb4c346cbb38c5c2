// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"sync"
)

// A writing is a transaction that knows the statements prepared before it.
type writing struct {
	*sql.Tx
	db   *DB
	last afterwards
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

// A row is the first row of a query, or why there is none.
type row struct {
	*sql.Row
	err error
}

func (r row) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.Row.Scan(into...)
}

// one returns the row of a short query that is asked so often that preparing it each
// time would cost more than running it. It is not cut off when ctx ends: without a
// context that can, the driver needs no goroutine to watch it.
func (db *DB) one(ctx context.Context, query string, args ...any) row {
	stmt, err := db.prepared(ctx, query)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return row{err: err}
	}
	return row{Row: stmt.QueryRowContext(context.WithoutCancel(ctx), args...)}
}

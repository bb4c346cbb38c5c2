// SPDX-License-Identifier: Apache-2.0

// Package store keeps what Tallystick knows, in SQLite by default and in
// PostgreSQL for many nodes. It is one concrete type, DB, with a file for each
// noun; every query is written once, in the SQL that both engines share, beside
// the function that uses it. What differs between the engines is in engine.go.
//
// Guarantees: a method that returns nil has made its change durable; a method
// that writes does it in one transaction; a read sees a committed state.
// Times are kept to the microsecond, in UTC. The store knows no feature and
// decides nothing: who may do what is the gate's affair.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store/batch"
)

// A DB is an open store. Its methods are safe to call from several goroutines.
type DB struct {
	engine    engine
	write     *sql.DB // one connection in SQLite: writers queue here, not on its lock
	read      *sql.DB
	ids       idBlock
	known     knownIDs
	common    commonWords
	unsettled atomic.Int64 // sightings recorded since settle
	held      *sql.Conn    // of Alone; nil without it
	group     batch.Queue[change]
	reads     statements // of in
	writes    statements // of bulk
}

// Open opens the store at a URL: "postgres://..." or the path of a SQLite file,
// which is made when it is missing. The schema is brought up to date; a store
// that a newer version has written is ErrNewerData and left alone.
func Open(ctx context.Context, url string) (*DB, error) {
	db, err := connect(url)
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(db.wrap("couldn't prepare the store", err), db.Close())
	}
	return db, nil
}

// connect makes the pools.
func connect(url string) (*DB, error) {
	var e engine = sqlite{}
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		e = postgres{}
	}
	write, read, err := e.open(url)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the store: %w", err)
	}
	return &DB{engine: e, write: write, read: read}, nil
}

// Close releases the connections. Nothing is lost by not calling it.
func (db *DB) Close() error {
	if db.held != nil {
		// Not put back into the pool: the lock would go on living there.
		_ = db.held.Raw(func(any) error { return driver.ErrBadConn })
	}
	if db.read == db.write {
		return db.write.Close()
	}
	return errors.Join(db.write.Close(), db.read.Close())
}

// Engine returns "sqlite" or "postgres".
func (db *DB) Engine() string { return db.engine.name() }

// Ping says whether the store answers.
func (db *DB) Ping(ctx context.Context) error {
	return db.wrap("couldn't reach the store", db.read.PingContext(ctx))
}

// Alone keeps further servers off the store until it is closed, and is ErrInUse
// when there is one. Places on a machine carry no host yet: two servers would
// take each other's files for gone. Commands may work beside a server.
func (db *DB) Alone(ctx context.Context) error {
	c, err := db.write.Conn(ctx)
	if err != nil {
		return db.wrap("couldn't reach the store", err)
	}
	if err := db.engine.alone(ctx, c); err != nil || db.engine.name() == "sqlite" {
		return errors.Join(db.wrap("couldn't take the store for this server", err), c.Close())
	}
	db.held = c
	return nil
}

// Tidy lets the engine refresh what it knows about the tables, so that it goes
// on choosing good plans; worth calling after a large run.
func (db *DB) Tidy(ctx context.Context) error {
	_, err := db.write.ExecContext(ctx, `ANALYZE`)
	return db.wrap("couldn't analyse the tables", err)
}

// settleAfter is how many sightings are recorded between two calls of settle
// that do something: they leave some 50 MB to copy.
const settleAfter = 16_000

// settle lets the engine put in its place what many transactions have written,
// so that none of them has to wait for it.
func (db *DB) settle(ctx context.Context) error {
	if db.unsettled.Load() < settleAfter {
		return nil
	}
	db.unsettled.Store(0)
	return db.wrap("couldn't settle what was written", db.engine.settle(ctx, db.write))
}

// tx runs fn in one writing transaction.
func (db *DB) tx(ctx context.Context, fn func(*writing) error) error {
	if err := db.writes.warm(ctx, db.write); err != nil {
		return err
	}
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	w := &writing{Tx: tx, db: db}
	if err := fn(w); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := w.finish(ctx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

// ignoreDone drops the error of rolling back what a cancelled context has
// rolled back already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// wrap gives an engine's error its kind and says what was being done.
func (db *DB) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", doing, tallystick.ErrNotFound)
	}
	if kind := db.engine.classify(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", doing, kind, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// each calls fn for every row of a query.
func each(rows *sql.Rows, err error, fn func(*sql.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// collect gathers the values that scan makes of rows.
func collect[T any](db *DB, doing string, rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	list := []T{}
	err = each(rows, err, func(rows *sql.Rows) error {
		v, err := scan(rows)
		list = append(list, v)
		return err
	})
	if err != nil {
		return nil, db.wrap(doing, err)
	}
	return list, nil
}

// forever stands for "no end" in columns that are sorted by an end.
const forever = math.MaxInt64

// micros returns t as it is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// endMicros is micros for an end; none is forever.
func endMicros(t time.Time) int64 {
	if t.IsZero() {
		return forever
	}
	return t.UnixMicro()
}

// timeOf undoes micros and endMicros.
func timeOf(us int64) time.Time {
	if us == 0 || us == forever {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// jsonText writes a value as the JSON that a TEXT column holds. Values of
// this package's types always encode.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: %T does not encode: %v", v, err))
	}
	return string(text)
}

// stringsText is jsonText for a list that is never null.
func stringsText(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return jsonText(list)
}

// stringsOf undoes stringsText.
func stringsOf(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/tallystick/tallystick"
)

// An engine is what differs between SQLite and PostgreSQL.
type engine interface {
	name() string
	// open returns the pools for writing and for reading, which may be one.
	open(url string) (write, read *sql.DB, err error)
	// schema turns a schema file into the engine's dialect.
	schema(text string) string
	// locking is the clause by which a query that picks work to do keeps
	// other nodes from picking it too.
	locking() string
	// alone keeps other servers off the store until the connection closes;
	// ErrInUse when there is one already.
	alone(ctx context.Context, c *sql.Conn) error
	// guard makes a transaction wait until no other does what it must not see half of;
	// those that share it do not wait for each other.
	guard(ctx context.Context, tx *sql.Tx, shared bool) error
	// still keeps everybody else from writing a table until a transaction ends, of which
	// it is the first statement: what is counted in it then stays true.
	still(ctx context.Context, tx *sql.Tx, table string) error
	// placeholder is that of the nth argument in statements that have many.
	placeholder(n int) string
	// settle puts in its place what was written.
	settle(ctx context.Context, write *sql.DB) error
	// insertSizes are how many rows an INSERT may carry, the largest first.
	insertSizes() []int
	// classify returns the error of the root package that err is a case of, or nil.
	classify(err error) error
}

type sqlite struct{}

func (sqlite) name() string { return "sqlite" }

// open gives writers one connection and readers a few, which put what they sort
// into files when it outgrows their cache: a million rows are a gigabyte. Full
// sync, because a record that was acknowledged may be the proof of an attack; with
// WAL that is one fsync for a transaction (sqlite.org/pragma.html#pragma_synchronous).
func (sqlite) open(path string) (write, read *sql.DB, err error) {
	if err := makePrivate(path); err != nil {
		return nil, nil, err
	}
	write, err = sql.Open("sqlite", sqliteDSN(path, "immediate", -128<<10)+"&_pragma=temp_store(MEMORY)")
	if err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	read, err = sql.Open("sqlite", sqliteDSN(path, "deferred", -16<<10)+"&_pragma=query_only(1)")
	if err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(2 + runtime.NumCPU())
	read.SetMaxIdleConns(2 + runtime.NumCPU())
	return write, read, nil
}

// makePrivate makes the file before SQLite does, for nobody else's eyes.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDSN makes the data source name; cache is in KiB when it is negative
// (sqlite.org/pragma.html#pragma_cache_size).
func sqliteDSN(path, lock string, cache int) string {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"busy_timeout(15000)", "journal_mode(WAL)", "synchronous(FULL)",
		// The log grows to 128 MiB before a commit copies it into the file, so that
		// a page that many transactions touch is copied once; see also settle.
		"wal_autocheckpoint(32768)", "journal_size_limit(134217728)",
		"cache_size(" + itoa(int64(cache)) + ")",
	}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func (sqlite) schema(text string) string {
	return strings.NewReplacer("{{id}}", "INTEGER PRIMARY KEY", "{{clustered}}", " WITHOUT ROWID").Replace(text)
}

func (sqlite) locking() string { return "" }

// One writes at a time.
func (sqlite) still(context.Context, *sql.Tx, string) error { return nil }

// alone has nothing to do: the data directory has a lock file.
func (sqlite) alone(context.Context, *sql.Conn) error { return nil }

// guard has nothing to do: there is one writer.
func (sqlite) guard(context.Context, *sql.Tx, bool) error { return nil }

// placeholder names no number: SQLite looks numbers up in a list, which with a
// thousand arguments takes longer than the statement.
func (sqlite) placeholder(int) string { return "?" }

// settle copies the log into the file; a passive checkpoint waits for nobody
// and leaves what somebody still reads (sqlite.org/pragma.html#pragma_wal_checkpoint).
func (sqlite) settle(ctx context.Context, write *sql.DB) error {
	_, err := write.ExecContext(ctx, `PRAGMA wal_checkpoint(PASSIVE)`)
	return err
}

// insertSizes is one row: there is no way to the engine that more would save,
// and a statement that may fail half-way keeps a copy of every page it changes.
func (sqlite) insertSizes() []int { return []int{1} }

func (sqlite) classify(err error) error {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_FULL:
		return tallystick.ErrNoSpace
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED:
		return tallystick.ErrInUse
	case sqlitelib.SQLITE_CONSTRAINT:
		return tallystick.ErrConflict
	case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
		return tallystick.ErrDamaged
	}
	if errors.Is(err, syscall.ENOSPC) {
		return tallystick.ErrNoSpace
	}
	return nil
}

type postgres struct{}

func (postgres) name() string { return "postgres" }

func (postgres) open(url string) (write, read *sql.DB, err error) {
	pool, err := sql.Open("pgx", url)
	if err != nil {
		return nil, nil, hideURL(err)
	}
	pool.SetMaxOpenConns(4 + 2*runtime.NumCPU())
	pool.SetMaxIdleConns(4)
	return pool, pool, nil
}

// hideURL drops the text of an error that may quote a URL with a password in it.
func hideURL(error) error {
	return errors.Join(tallystick.ErrInvalid, errors.New("the database URL could not be understood"))
}

// schema also asks for text in the order of its bytes, as SQLite has it: lists
// are paged and prefixes are searched by that order.
func (postgres) schema(text string) string {
	return strings.NewReplacer("{{id}}", "BIGINT PRIMARY KEY", "{{clustered}}", "", " TEXT ", ` TEXT COLLATE "C" `).Replace(text)
}

func (postgres) locking() string { return " FOR UPDATE SKIP LOCKED" }

func (postgres) still(ctx context.Context, tx *sql.Tx, table string) error {
	_, err := tx.ExecContext(ctx, `LOCK TABLE `+table+` IN SHARE ROW EXCLUSIVE MODE`)
	return err
}

// alone takes an advisory lock, which the server gives back when the
// connection is gone, however the process ended. The number is our own.
func (postgres) alone(ctx context.Context, c *sql.Conn) error {
	var got bool
	err := c.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(8443175620931)`).Scan(&got)
	if err == nil && !got {
		return fmt.Errorf("%w: another tally up works on this database", tallystick.ErrInUse)
	}
	return err
}

// guard takes an advisory lock that ends with the transaction. The number is our own.
func (postgres) guard(ctx context.Context, tx *sql.Tx, shared bool) error {
	query := `SELECT pg_advisory_xact_lock(8443175620932)`
	if shared {
		query = `SELECT pg_advisory_xact_lock_shared(8443175620932)`
	}
	_, err := tx.ExecContext(ctx, query)
	return err
}

func (postgres) placeholder(n int) string { return "$" + strconv.Itoa(n) }

// settle has nothing to do: the server has a process for that.
func (postgres) settle(context.Context, *sql.DB) error { return nil }

func (postgres) insertSizes() []int { return bulkSizes }

// classify reads SQLSTATE (PostgreSQL documentation, appendix A).
func (postgres) classify(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return nil
	}
	switch {
	case e.Code == "53100":
		return tallystick.ErrNoSpace
	case strings.HasPrefix(e.Code, "23"), e.Code == "40001", e.Code == "40P01":
		return tallystick.ErrConflict
	case e.Code == "55P03":
		return tallystick.ErrInUse
	case e.Code == "XX001", e.Code == "XX002":
		return tallystick.ErrDamaged
	}
	return nil
}

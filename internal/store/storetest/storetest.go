// SPDX-License-Identifier: Apache-2.0

// Package storetest gives tests real stores: what it runs, it runs on SQLite
// and on PostgreSQL. The PostgreSQL server is Debian's, started once in a test
// process and gone with it; TALLYSTICK_TEST_POSTGRES may hold the URL of another
// one, whose user may create databases.
package storetest

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/store"
)

// Each runs f on a new, empty store of each engine.
func Each(t *testing.T, f func(t *testing.T, db *store.DB)) {
	EachURL(t, func(t *testing.T, url string) { f(t, Open(t, url)) })
}

// EachURL runs f with what store.Open takes for a store that is not there yet,
// for tests that open it more than once.
func EachURL(t *testing.T, f func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, filepath.Join(t.TempDir(), "tally.db")) })
	t.Run("postgres", func(t *testing.T) { f(t, newDatabase(t)) })
}

// Open opens the store until the test ends.
func Open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Exec changes a store behind its back, as somebody would who owns the database.
func Exec(t testing.TB, url, query string, args ...any) {
	t.Helper()
	engine := "sqlite"
	if strings.HasPrefix(url, "postgres://") {
		engine = "pgx"
	}
	db, err := sql.Open(engine, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// newDatabase makes an empty database that is dropped when the test ends.
func newDatabase(t *testing.T) string {
	t.Helper()
	address := os.Getenv("TALLYSTICK_TEST_POSTGRES")
	if address == "" {
		var err error
		if address, err = server(); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("TALLYSTICK_TEST_POSTGRES is not a URL")
	}
	admin, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	name := "tally_" + strings.ToLower(rand.Text())
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		if err != nil {
			t.Error(err)
		}
		if err := admin.Close(); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

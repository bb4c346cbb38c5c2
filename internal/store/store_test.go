// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestOpenTwice(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		for range 2 {
			db, err := store.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := db.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Several nodes may start at once on an empty store; those that come second
// may fail, but nothing is left half done.
func TestOpenAtOnce(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if db, err := store.Open(t.Context(), url); err == nil {
					_ = db.Close()
				}
			})
		}
		wg.Wait()
		storetest.Open(t, url)
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		storetest.Open(t, url)
		storetest.Exec(t, url, `INSERT INTO schema_version (version) VALUES (9999)`)
		_, err := store.Open(t.Context(), url)
		if !errors.Is(err, tallystick.ErrNewerData) {
			t.Fatalf("got %v, want ErrNewerData", err)
		}
	})
}

func TestIDsAreUnique(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		nodes := []*store.DB{storetest.Open(t, url), storetest.Open(t, url)}
		var mu sync.Mutex
		seen := map[int64]bool{} // guarded by mu
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 700 {
					first, err := store.NewIDs(t.Context(), nodes[i%2], 3)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for id := first; id < first+3; id++ {
						if seen[id] || id == 0 {
							t.Errorf("id %d was handed out twice, or is zero", id)
						}
						seen[id] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 8*700*3 {
			t.Errorf("got %d ids", len(seen))
		}
	})
}

// The engines' own errors become the errors of the root package.
func TestErrorsHaveKinds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		write := store.Write(db)
		const twice = `INSERT INTO settings (name, value) VALUES ('a', 'b')`
		if _, err := write.ExecContext(t.Context(), twice); err != nil {
			t.Fatal(err)
		}
		_, err := write.ExecContext(t.Context(), twice)
		if err := store.Wrap(db, "couldn't set", err); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("got %v, want ErrConflict", err)
		}
		var name string
		err = write.QueryRowContext(t.Context(), `SELECT name FROM settings WHERE name = 'none'`).Scan(&name)
		if err := store.Wrap(db, "couldn't read", err); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		full := `DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$`
		if db.Engine() == "sqlite" {
			// The pragma holds for one connection, which is all that writers have.
			if _, err := write.ExecContext(t.Context(), `PRAGMA max_page_count = 1`); err != nil {
				t.Fatal(err)
			}
			full = `INSERT INTO settings (name, value) VALUES ('big', hex(zeroblob(1000000)))`
		}
		_, err = write.ExecContext(t.Context(), full)
		if err := store.Wrap(db, "couldn't write", err); !errors.Is(err, tallystick.ErrNoSpace) {
			t.Errorf("got %v, want ErrNoSpace", err)
		}
	})
}

// A file that is no store, and one whose pages were written over, are damage and
// not a mistake of ours.
func TestDamageHasAKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tally.db")
	db, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwritten := slices.Clone(whole[:4096]) // the header, and then nothing of sense
	overwritten = append(overwritten, bytes.Repeat([]byte{0xa5}, len(whole)-4096)...)
	for what, content := range map[string][]byte{
		"another file": bytes.Repeat([]byte("not a store\n"), 1000), "an overwritten file": overwritten,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(t.Context(), path)
		if err == nil {
			_, err = db.People(t.Context())
			err = errors.Join(err, db.Close())
		}
		if !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", what, err)
		}
	}
}

// A URL may hold a password, so no error quotes it.
func TestOpenHidesURL(t *testing.T) {
	_, err := store.Open(t.Context(), "postgres://tally:hunter2@127.0.0.1:1/x?connect_timeout=2")
	if err == nil || containsSecret(err) {
		t.Errorf("got %v", err)
	}
	_, err = store.Open(t.Context(), "postgres://tally:hunter2@127.0.0.1:port/x")
	if err == nil || containsSecret(err) {
		t.Errorf("got %v", err)
	}
}

func containsSecret(err error) bool { return strings.Contains(err.Error(), "hunter2") }

// Two servers on one database would take each other's files for gone. A SQLite
// file is kept for one by the lock of its directory, which is not the store's.
func TestOneServerAtATime(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		first, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		second := storetest.Open(t, url)
		if err := first.Alone(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.Alone(t.Context()); second.Engine() == "postgres" && !errors.Is(err, tallystick.ErrInUse) {
			t.Errorf("the second server gets %v, want ErrInUse", err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		for range 50 { // the database server notices a closed connection a little later
			if err = second.Alone(t.Context()); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("after the first server has ended the second gets %v", err)
	})
}

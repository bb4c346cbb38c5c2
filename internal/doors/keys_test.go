// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// custodyKeys opens keys over a custody, and says where its store is.
func custodyKeys(t *testing.T) (doors.CustodyKeys, *store.DB) {
	t.Helper()
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	wrapper, err := custody.OpenFile(filepath.Join(t.TempDir(), "wrapping.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: wrapper, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return doors.CustodyKeys{Custody: kept, Names: db}, db
}

func fileKeys(t *testing.T, dir string) *doors.FileKeys {
	t.Helper()
	keys, err := doors.OpenFileKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// each runs a test over both.
func each(t *testing.T, test func(t *testing.T, keys doors.Keys)) {
	t.Run("custody", func(t *testing.T) { keys, _ := custodyKeys(t); test(t, keys) })
	t.Run("files", func(t *testing.T) { test(t, fileKeys(t, filepath.Join(t.TempDir(), "keys"))) })
}

func TestAKeyIsMadeOnce(t *testing.T) {
	each(t, func(t *testing.T, keys doors.Keys) {
		made := make([]crypto.PublicKey, 8)
		var group sync.WaitGroup
		for i := range made {
			group.Go(func() {
				key, err := keys.Make(t.Context(), "recall/7/new/3", "ed25519")
				if err != nil {
					t.Error(err)
					return
				}
				made[i] = key.Public()
			})
		}
		group.Wait()
		key, err := keys.Signer(t.Context(), "recall/7/new/3")
		if err != nil {
			t.Fatal(err)
		}
		for _, public := range made {
			if !cmp.Equal(public, key.Public()) {
				t.Error("two have different keys")
			}
		}
		if _, err := keys.Make(t.Context(), "recall/7/new/4", "rsa-1024"); !errors.Is(err, tallystick.ErrInvalid) {
			t.Error(err)
		}
	})
}

// Weak keys are what is replaced, so they are kept.
func TestAKeyThatIsTooShortIsKept(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, keys doors.Keys) {
		for range 2 {
			if err := keys.KeepKey(t.Context(), "recall/7/old/3", weak); err != nil {
				t.Fatal(err)
			}
		}
		key, err := keys.Signer(t.Context(), "recall/7/old/3")
		if err != nil || !weak.PublicKey.Equal(key.Public()) {
			t.Errorf("another key came back: %v", err)
		}
	})
}

func TestSecretsAreReplaced(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 3*custody.MaxSecret/16+1)
	each(t, func(t *testing.T, keys doors.Keys) {
		for _, secret := range [][]byte{[]byte("first"), large, []byte("third"), []byte("third")} {
			if err := keys.Keep(t.Context(), "recall/7/sessions/3", secret); err != nil {
				t.Fatal(err)
			}
			if kept, err := keys.Get(t.Context(), "recall/7/sessions/3"); err != nil || !bytes.Equal(kept, secret) {
				t.Errorf("%d bytes of %d came back, %v", len(kept), len(secret), err)
			}
		}
		for name, secret := range map[string][]byte{"recall/7/none": nil, "recall/7/huge": make([]byte, 64*custody.MaxSecret+1), "": []byte("x"), "/etc/x": []byte("x"),
			"recall/../x": []byte("x"), strings.Repeat("x", 200): []byte("x"), "recall//x": []byte("x")} {
			if err := keys.Keep(t.Context(), name, secret); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := keys.Signer(t.Context(), "recall/7/sessions/3"); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("as a key: %v", err)
		}
	})
}

func TestForgottenAreThoseOfOneRecall(t *testing.T) {
	each(t, func(t *testing.T, keys doors.Keys) {
		for _, name := range []string{"recall/7/new/1", "recall/70/new/1", "recall/7/old"} {
			if err := keys.Keep(t.Context(), name, []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := keys.Make(t.Context(), "recall/7/key", "ed25519"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := keys.Forget(t.Context(), "recall/7"); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]error{"recall/7/new/1": tallystick.ErrNotFound, "recall/7/old": tallystick.ErrNotFound, "recall/7/key": tallystick.ErrNotFound, "recall/70/new/1": nil} {
			if _, err := keys.Get(t.Context(), name); !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := keys.Forget(t.Context(), ""); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("everything: %v", err)
		}
	})
}

// cut is a store of names that fails once, before or after it happened.
type cut struct {
	doors.NameStore
	after  bool
	failed bool
}

var errCut = errors.New("cut off")

func (c *cut) NameSecret(ctx context.Context, name string, ids []string) ([]string, error) {
	if c.failed {
		return c.NameStore.NameSecret(ctx, name, ids)
	}
	c.failed = true
	if c.after {
		if _, err := c.NameStore.NameSecret(ctx, name, ids); err != nil {
			return nil, err
		}
	}
	return nil, errCut
}

// A process that is killed between making a key and naming it leaves nothing behind
// that Forget does not find.
func TestAKeyThatWasNotNamed(t *testing.T) {
	for _, after := range []bool{false, true} {
		keys, db := custodyKeys(t)
		keys.Names = &cut{NameStore: db, after: after}
		if _, err := keys.Make(t.Context(), "recall/7/new", "ed25519"); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		first, err := keys.Make(t.Context(), "recall/7/new", "ed25519")
		if err != nil {
			t.Fatal(err)
		}
		second, err := keys.Make(t.Context(), "recall/7/new", "ed25519")
		if err != nil || !cmp.Equal(first.Public(), second.Public()) {
			t.Errorf("two keys, %v", err)
		}
		if err := keys.Forget(t.Context(), "recall/7"); err != nil {
			t.Fatal(err)
		}
		counts, err := db.CountSecrets(t.Context())
		if err != nil || len(counts) != 1 || counts[0].Kept != 0 || counts[0].Destroyed == 0 {
			t.Errorf("%+v, %v", counts, err)
		}
	}
}

func TestFilesOfKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	keys := fileKeys(t, dir)
	if err := keys.Keep(t.Context(), "recall/7/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".half-1"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := fileKeys(t, dir)
	if secret, err := again.Get(t.Context(), "recall/7/a"); err != nil || string(secret) != "x" {
		t.Errorf("%q, %v", secret, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := doors.OpenFileKeys(dir); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a directory that others can look into: %v", err)
	}
}

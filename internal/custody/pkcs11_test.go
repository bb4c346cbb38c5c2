// SPDX-License-Identifier: Apache-2.0

//go:build pkcs11

package custody_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// softHSM makes a token in a directory, and returns the options for it.
func softHSM(t *testing.T) (dir string, options map[string]string) {
	t.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		t.Fatal("the tests need softhsm2-util: apt-get install -y --no-install-recommends softhsm2")
	}
	modules, err := filepath.Glob("/usr/lib/softhsm/libsofthsm2.so")
	if more, _ := filepath.Glob("/usr/lib/*/softhsm/libsofthsm2.so"); err != nil || len(modules)+len(more) == 0 {
		t.Fatal("the tests need libsofthsm2.so: apt-get install -y --no-install-recommends softhsm2", err)
	} else {
		modules = append(modules, more...)
	}
	home := t.TempDir()
	dir = filepath.Join(home, "tokens")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(home, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	out, err := exec.CommandContext(t.Context(), "softhsm2-util", "--init-token", "--free", "--label", "lab token", "--so-pin", "12345678", "--pin", "87654321").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir, map[string]string{"module": modules[0], "token": "lab token", "pin_file": secretFile(t, "87654321\n")}
}

// tokenKey returns a wrapping key in a token. Its library reads where tokens are when
// it is first used, and forgets it when nobody uses it any more.
func tokenKey(t *testing.T, options map[string]string) custody.Wrapper {
	t.Helper()
	w := setting(t, custody.Setting{Kind: custody.KindPKCS11, Options: options})
	t.Cleanup(func() {
		if err := w.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// tokenCustody opens a custody whose keys are in a token.
func tokenCustody(t *testing.T, db *store.DB, options map[string]string) *custody.Custody {
	t.Helper()
	w := tokenKey(t, options)
	return openCustody(t, custody.Config{DB: db, Wrapper: w, Maker: w.(custody.KeyMaker)})
}

func TestToken(t *testing.T) {
	_, options := softHSM(t)
	db, _ := sqliteStore(t)
	w := tokenKey(t, options)
	wraps(t, w)
	c := tokenCustody(t, db, options)
	made := map[string]crypto.Signer{}
	for _, kind := range []custody.KeyType{custody.P256, custody.P384, custody.RSA2048} {
		id, signer, err := c.NewDeviceKey(t.Context(), kind, custody.Owner{Kind: "ca-key", Name: "ca/lab"})
		if err != nil {
			t.Fatal(kind, err)
		}
		made[id] = signer
	}
	if _, _, err := c.NewDeviceKey(t.Context(), custody.Ed25519, owner); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	if err := w.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	c = tokenCustody(t, db, options)
	for id, signer := range made {
		got, err := c.Signer(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, got, signer.Public())
		if _, err := c.Get(t.Context(), id); !errors.Is(err, tallystick.ErrInvalid) {
			t.Error("it leaves its device:", err)
		}
		if public, ok := got.Public().(*rsa.PublicKey); ok {
			digest := sha256.Sum256([]byte("x"))
			pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
			signature, err := got.Sign(rand.Reader, digest[:], pss)
			if err != nil || rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, pss) != nil {
				t.Error("PSS:", err)
			}
		}
	}
	lineage, err := c.Readable(t.Context(), w.Identity().ID)
	if err != nil || len(lineage) != 3 || slices.ContainsFunc(lineage, func(r custody.Readable) bool { return r.Device == "" }) {
		t.Errorf("%+v, %v", lineage, err)
	}
}

// Keys in a token stay there: secrets go elsewhere only once they are gone.
func TestTokenKeysDoNotMove(t *testing.T) {
	_, options := softHSM(t)
	db, path := sqliteStore(t)
	c := tokenCustody(t, db, options)
	secret, err := c.Put(t.Context(), owner, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := c.NewDeviceKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := c.NewDeviceKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	to := fileKey(t)
	if err := c.Rewrap(t.Context(), to, nil); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	// A row that was made to name another key costs that key nothing.
	row, err := db.Secret(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	before, err := db.Secret(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, path, `UPDATE secrets SET device = '`+row.Device+`' WHERE id = '`+id+`'`)
	if err := c.Destroy(t.Context(), id); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error(err)
	}
	storetest.Exec(t, path, `UPDATE secrets SET device = '`+before.Device+`' WHERE id = '`+id+`'`)
	options["key"] = "another"
	next := tokenKey(t, options)
	if err := c.Rewrap(t.Context(), next, nil); err != nil {
		t.Error("to another wrapping key in the same token:", err)
	}
	for _, key := range []string{id, other} {
		signer, err := c.Signer(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Destroy(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte("x"))
		if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error("it still signs:", err)
		}
	}
	if err := c.Rewrap(t.Context(), to, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := openCustody(t, custody.Config{DB: db, Wrapper: to}).Get(t.Context(), secret); err != nil || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
}

// A token that is taken away and brought back is used again, also by signers that
// were there before.
func TestTokenGoneForAWhile(t *testing.T) {
	dir, options := softHSM(t)
	db, _ := sqliteStore(t)
	c := tokenCustody(t, db, options)
	secret, err := c.Put(t.Context(), owner, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	_, signer, err := c.NewDeviceKey(t.Context(), custody.P256, owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	fresh := tokenCustody(t, db, options) // a server starts meanwhile
	for range 3 {
		if _, err := fresh.Get(t.Context(), secret); !errors.Is(err, tallystick.ErrUnavailable) {
			t.Error("another process:", err)
		}
	}
	if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error("the key signs without its token:", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*custody.Custody{c, fresh} {
		eventually(t, func() error {
			got, err := one.Get(t.Context(), secret)
			if err == nil && string(got) != "kept" {
				t.Errorf("%q", got)
			}
			return err
		})
	}
	eventually(t, func() error {
		_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		return err
	})
	signs(t, signer, signer.Public())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
}

// Secrets do not move to a token that lacks a key which they stand beside.
func TestTokenLacksAKey(t *testing.T) {
	_, options := softHSM(t)
	db, _ := sqliteStore(t)
	c := tokenCustody(t, db, options)
	secret, err := c.Put(t.Context(), owner, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.NewDeviceKey(t.Context(), custody.P256, owner); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "softhsm2-util", "--init-token", "--free", "--label", "other token", "--so-pin", "12345678", "--pin", "87654321").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other := map[string]string{"module": options["module"], "token": "other token", "pin_file": options["pin_file"]}
	if err := c.Rewrap(t.Context(), tokenKey(t, other), nil); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
	if got, err := tokenCustody(t, db, options).Get(t.Context(), secret); err != nil || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
)

// wraps runs what every wrapping key has to keep to.
func wraps(t *testing.T, w custody.Wrapper) {
	t.Helper()
	key, aad := bytes.Repeat([]byte{7}, 32), []byte("what it is")
	wrapped, err := w.Wrap(t.Context(), key, aad)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(wrapped, key) {
		t.Fatal("it is not encrypted")
	}
	if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, key) {
		t.Fatal("it does not come back:", err)
	}
	if again, err := w.Wrap(t.Context(), key, aad); err != nil || bytes.Equal(again, wrapped) {
		t.Error("twice the same:", err)
	}
	if _, err := w.Unwrap(t.Context(), wrapped, []byte("something else")); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error("what is authenticated with it can be changed:", err)
	}
	for i := 0; i < len(wrapped); i += max(1, len(wrapped)/16) {
		changed := bytes.Clone(wrapped)
		changed[i] ^= 4
		if got, err := w.Unwrap(t.Context(), changed, aad); !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("byte %d can be changed: %x, %v", i, got, err)
		}
	}
	for _, short := range [][]byte{nil, {1}, wrapped[:len(wrapped)/2]} {
		if _, err := w.Unwrap(t.Context(), short, aad); !errors.Is(err, tallystick.ErrDamaged) {
			t.Error(err)
		}
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, key) {
				t.Error(err)
			}
		})
	}
	workers.Wait()
}

// keeps runs a custody on a wrapping key, and opens it again with another value of
// the same, as a restart does.
func keeps(t *testing.T, first, again func(known []store.WrappingKey) custody.Wrapper) {
	t.Helper()
	db, _ := sqliteStore(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: first(nil)})
	id, err := c.Put(t.Context(), owner, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := db.WrappingKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c = openCustody(t, custody.Config{DB: db, Wrapper: again(known)})
	if got, err := c.Get(t.Context(), id); err != nil || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.State != custody.StateReachable {
		t.Errorf("%+v, %v", s, err)
	}
}

// a setting of a kind, for tests.
func setting(t *testing.T, s custody.Setting) custody.Wrapper {
	t.Helper()
	if s.Getenv == nil {
		s.Getenv = func(string) string { return "" }
	}
	w, err := s.Wrapper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestFile(t *testing.T) {
	home := t.TempDir()
	s := custody.Setting{Create: true, Data: filepath.Join(home, "data"), Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }}
	w := setting(t, s)
	wraps(t, w)
	path := filepath.Join(home, ".config", "tallystick", "wrapping.key")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o400 || info.Size() != 32 {
		t.Errorf("%v, %v", info, err)
	}
	s.Create = false
	if again := setting(t, s); again.Identity() != w.Identity() || again.Identity().About != path {
		t.Errorf("%+v and %+v", again.Identity(), w.Identity())
	}
	keeps(t, func([]store.WrappingKey) custody.Wrapper { return w }, func([]store.WrappingKey) custody.Wrapper { return setting(t, s) })
}

func TestFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	inside := filepath.Join(data, "keys", "wrapping.key")
	write := func(name string, size int, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte{1}, size), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", 32, 0o400)
	linked, roundabout := filepath.Join(dir, "linked"), filepath.Join(dir, "roundabout")
	for link, to := range map[string]string{linked: good, roundabout: data} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	write("data/keys/wrapping.key", 32, 0o400)
	for what, path := range map[string]string{
		"inside the data directory":   inside,
		"inside it by a link":         filepath.Join(roundabout, "keys", "wrapping.key"),
		"inside it and not there yet": filepath.Join(data, "new.key"),
		"a link":                      linked,
		"that its group can read":     write("group", 32, 0o440),
		"that everybody can read":     write("all", 32, 0o404),
		"that others can write":       write("written", 32, 0o602),
		"that is too short":           write("short", 31, 0o400),
		"that is too long":            write("long", 33, 0o400),
		"that is empty":               write("empty", 0, 0o400),
		"that is a directory":         dir,
	} {
		if _, err := custody.OpenFile(path, data, "", true); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a file %s: %v", what, err)
		}
	}
	if os.Getuid() == 0 {
		path := write("another's", 32, 0o400)
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := custody.OpenFile(path, data, "", true); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("another user's file: %v", err)
		}
	}
	if _, err := custody.OpenFile(filepath.Join(dir, "missing"), data, "", false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := custody.OpenFile(good, data, "", false); err != nil {
		t.Error(err)
	}
}

// Two processes that start at once make one key.
func TestFileIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "wrapping.key")
	var made sync.Map
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			w, err := custody.OpenFile(path, "", "", true)
			if err != nil {
				t.Error(err)
				return
			}
			made.Store(w.Identity().ID, true)
		})
	}
	workers.Wait()
	n := 0
	made.Range(func(any, any) bool { n++; return true })
	entries, err := os.ReadDir(filepath.Dir(path))
	if n != 1 || err != nil || len(entries) != 1 {
		t.Errorf("%d keys, %v, %v", n, entries, err)
	}
}

func TestCredentialOfSystemd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, custody.CredentialName)
	// With an access control list the group's bits are its mask.
	if err := os.WriteFile(path, bytes.Repeat([]byte{3}, 32), 0o440); err != nil {
		t.Fatal(err)
	}
	s := custody.Setting{Getenv: func(name string) string {
		return map[string]string{"CREDENTIALS_DIRECTORY": dir, "HOME": "/nowhere"}[name]
	}}
	if w := setting(t, s); w.Identity().About != path {
		t.Errorf("%+v", w.Identity())
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wrapper(t.Context()); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(path, []byte("one two three four five six\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	s := custody.Setting{Kind: custody.KindPassphrase, File: path}
	w := setting(t, s)
	wraps(t, w)
	keeps(t, func([]store.WrappingKey) custody.Wrapper { return w }, func(known []store.WrappingKey) custody.Wrapper {
		asked := custody.Setting{Kind: custody.KindPassphrase, Known: known, Ask: func(bool) ([]byte, error) { return []byte("one two three four five six"), nil }}
		again := setting(t, asked)
		if again.Identity() != w.Identity() {
			t.Errorf("%+v and %+v", again.Identity(), w.Identity())
		}
		asked.Ask = func(bool) ([]byte, error) { return []byte("one two three four five seven"), nil }
		asked.Getenv = os.Getenv
		if _, err := asked.Wrapper(t.Context()); !errors.Is(err, custody.ErrWrongKey) {
			t.Error("another passphrase:", err)
		}
		return again
	})
}

func TestPassphrasesThatAreRefused(t *testing.T) {
	if _, err := custody.NewPassphrase([]byte("too short a one")[:14], ""); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	s := custody.Setting{Kind: custody.KindPassphrase, Getenv: func(string) string { return "" }}
	if _, err := s.Wrapper(t.Context()); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "custody.file") {
		t.Error(err)
	}
	for _, parameters := range []string{
		`{}`, `{"kdf":"argon2id","salt":"00","time":3,"memory":65536,"threads":4}`,
		`{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":3,"memory":4294967295,"threads":4}`,
		`{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":0,"memory":65536,"threads":4}`,
		`{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":1,"memory":8,"threads":1}`,
		`{"kdf":"none","salt":"00112233445566778899aabbccddeeff","time":3,"memory":65536,"threads":4}`,
	} {
		if _, err := custody.NewPassphrase([]byte("one two three four"), parameters); !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%s: %v", parameters, err)
		}
	}
}

// No error and no text that is printed holds a passphrase.
func TestErrorsHoldNoSecret(t *testing.T) {
	const marker = "hunter2hunter2hunter2"
	path := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(path, []byte(strings.Repeat(marker, 100)), 0o400); err != nil {
		t.Fatal(err)
	}
	s := custody.Setting{Kind: custody.KindPassphrase, File: path, Getenv: os.Getenv}
	_, err := s.Wrapper(t.Context())
	if err == nil || strings.Contains(err.Error(), marker) {
		t.Error(err)
	}
	_, err = custody.NewPassphrase([]byte(marker), `{"kdf":"x"}`)
	if err == nil || strings.Contains(err.Error(), marker) {
		t.Error(err)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	for what, s := range map[string]custody.Setting{
		"kind":             {Kind: "safe"},
		"option":           {Kind: custody.KindTPM, Options: map[string]string{"pin": "1"}},
		"option of a file": {Options: map[string]string{"device": "x"}},
		"parent":           {Kind: custody.KindTPM, Options: map[string]string{"parent": "0x80000001"}},
		"a path":           {Kind: custody.KindTPM, Options: map[string]string{"device": "dev/tpmrm0"}},
		"no address":       {Kind: custody.KindTransit, Options: map[string]string{"key": "k", "token_file": "/f"}},
		"no way in":        {Kind: custody.KindTransit, Options: map[string]string{"address": "https://bao.example.com", "key": "k"}},
		"in clear":         {Kind: custody.KindTransit, Options: map[string]string{"address": "http://bao.example.com", "key": "k", "token_file": "/f"}},
		"a password":       {Kind: custody.KindTransit, Options: map[string]string{"address": "https://a:b@bao.example.com", "key": "k", "token_file": "/f"}},
		"a name":           {Kind: custody.KindTransit, Options: map[string]string{"address": "https://bao.example.com", "key": "../k", "token_file": "/f"}},
		"pkcs11":           {Kind: custody.KindPKCS11},
	} {
		s.Getenv = func(string) string { return "" }
		if _, err := s.Wrapper(context.Background()); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

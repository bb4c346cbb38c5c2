// SPDX-License-Identifier: Apache-2.0

package recalltest

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// files keep an estate in a directory, for processes that are killed.
type files struct{ dir string }

// A saved is a door as a file has it.
type saved struct {
	Door    doors.Door
	Shown   driver.Public
	Place   bool
	Accepts map[string]bool
	Denies  map[string]bool
}

// Open returns the estate of a directory, which keeps all that is done there.
func Open(dir, issuer string, now func() time.Time) (*Estate, error) {
	e := New(issuer, now)
	e.files = &files{dir}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return nil, err
	}
	list, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var s saved
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		d := &door{Door: s.Door, shown: s.Shown, place: s.Place, accepts: s.Accepts, denies: s.Denies}
		e.doors[d.Name] = d
		e.noteHolder(d)
	}
	return e, e.files.loadKeys(e)
}

// Save writes every door.
func (e *Estate) Save() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, d := range e.doors {
		errs = append(errs, e.files.save(e, d))
	}
	return errors.Join(errs...)
}

func (f *files) save(_ *Estate, d *door) error {
	text, err := json.Marshal(saved{d.Door, d.shown, d.place, d.accepts, d.denies})
	if err != nil {
		return err
	}
	return replace(filepath.Join(f.dir, d.Name+".json"), text)
}

// replace writes a file so that it is never half there.
func replace(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// keyFile is where a key is; its name has slashes.
func (f *files) keyFile(name string) string {
	return filepath.Join(f.dir, "keys", strings.ReplaceAll(name, "/", "+"))
}

// saveKey keeps a key; nil is one that this package need not have.
func (f *files) saveKey(name string, key *ecdsa.PrivateKey) error {
	if f == nil {
		return nil
	}
	var text []byte
	if key != nil {
		var err error
		if text, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return err
		}
	}
	return replace(f.keyFile(name), text)
}

func (f *files) dropKey(name string) error {
	if f == nil {
		return nil
	}
	if err := os.Remove(f.keyFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *files) loadKeys(e *Estate) error {
	list, err := os.ReadDir(filepath.Join(f.dir, "keys"))
	if err != nil {
		return err
	}
	for _, entry := range list {
		if strings.HasSuffix(entry.Name(), ".new") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(f.dir, "keys", entry.Name()))
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(entry.Name(), "+", "/")
		if len(text) == 0 {
			e.keys[name] = anyKey{}
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(text)
		if err != nil {
			return err
		}
		e.keys[name] = key.(*ecdsa.PrivateKey)
	}
	return nil
}

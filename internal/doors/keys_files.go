// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
)

// nameForm is what secrets are called: parts between slashes. maxName is so that the name
// of a file holds one.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$`)

const maxName = 180

// checkName refuses what is no name of a secret.
func checkName(name string) error {
	if len(name) > maxName || !nameForm.MatchString(strings.TrimSuffix(name, "/")) {
		return fmt.Errorf("%w: %.100q is no name for a secret", tallystick.ErrInvalid, name)
	}
	return nil
}

func isNotFound(err error) bool { return errors.Is(err, tallystick.ErrNotFound) }
func isInvalid(err error) bool  { return errors.Is(err, tallystick.ErrInvalid) }

// parseKey reads a private key, PKCS #8.
func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a private key", tallystick.ErrInvalid) // the error may be of the key
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: it is a key that does not sign", tallystick.ErrInvalid)
	}
	return signer, nil
}

// FileKeys is Keys over the files of a directory, for agents: each secret is a file that
// only the user can read whom the agent runs as. That user can read the keys at the
// doors as well, so there is no wrapping key beside them.
type FileKeys struct{ dir string }

// The ends of the names of files: kept ones, and those that are being written.
const (
	secretFile = ".secret"
	halfFile   = ".half-*"
)

// OpenFileKeys opens a directory, which it makes, and takes away what a crash has left half
// written. A directory that others can look into is ErrInvalid. One process uses it.
func OpenFileKeys(dir string) (*FileKeys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the directory of the keys: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't look at the directory of the keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: others can look into %s: run chmod 700 %s", tallystick.ErrInvalid, dir, dir)
	}
	half, err := filepath.Glob(filepath.Join(dir, halfFile))
	for _, path := range half {
		err = errors.Join(err, os.Remove(path))
	}
	return &FileKeys{dir: dir}, err
}

func (k *FileKeys) path(name string) string {
	return filepath.Join(k.dir, url.PathEscape(name)+secretFile)
}

// Make makes a key. A file is linked to its name when it is complete, which fails when
// another is there already.
func (k *FileKeys) Make(ctx context.Context, name, algorithm string) (crypto.Signer, error) {
	if signer, err := k.Signer(ctx, name); !isNotFound(err) {
		return signer, err
	}
	key, err := custody.Generate(custody.KeyType(algorithm))
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode a key: %w", err)
	}
	defer clear(der)
	if err := k.write(name, der, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return k.Signer(ctx, name)
}

// Signer returns a key.
func (k *FileKeys) Signer(ctx context.Context, name string) (crypto.Signer, error) {
	der, err := k.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return parseKey(der)
}

// KeepKey keeps a key.
func (k *FileKeys) KeepKey(ctx context.Context, name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("%w: a key of type %T cannot be kept", tallystick.ErrInvalid, key)
	}
	defer clear(der)
	return k.Keep(ctx, name, der)
}

// Keep keeps a secret.
func (k *FileKeys) Keep(_ context.Context, name string, secret []byte) error {
	if len(secret) == 0 || len(secret) > maxParts*custody.MaxSecret {
		return fmt.Errorf("%w: a secret has 1 to %d bytes", tallystick.ErrInvalid, maxParts*custody.MaxSecret)
	}
	return k.write(name, secret, os.Rename)
}

// write makes a complete and durable file, and puts it in its place.
func (k *FileKeys) write(name string, secret []byte, place func(from, to string) error) (err error) {
	if err := checkName(name); err != nil {
		return err
	}
	file, err := os.CreateTemp(k.dir, halfFile) // for its owner alone (os.CreateTemp)
	if err != nil {
		return fmt.Errorf("couldn't keep %s: %w", name, err)
	}
	defer os.Remove(file.Name()) // it is gone already after a rename
	_, err = file.Write(secret)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = place(file.Name(), k.path(name))
	}
	if err == nil {
		err = syncDir(k.dir)
	}
	if err != nil {
		return fmt.Errorf("couldn't keep %s: %w", name, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get returns a secret.
func (k *FileKeys) Get(_ context.Context, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	secret, err := os.ReadFile(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: nothing is kept as %s", tallystick.ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", name, err)
	}
	return secret, nil
}

// Names returns what secrets are kept under.
func (k *FileKeys) Names() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't list the keys: %w", err)
	}
	var names []string
	for _, entry := range entries {
		escaped, ok := strings.CutSuffix(entry.Name(), secretFile)
		if name, err := url.PathUnescape(escaped); ok && err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Forget removes files. What they held may be on the disk until it is written over.
func (k *FileKeys) Forget(_ context.Context, prefix string) error {
	if err := checkName(prefix); err != nil {
		return err
	}
	names, err := k.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !Within(prefix, name) {
			continue
		}
		if err := os.Remove(k.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("couldn't destroy %s: %w", name, err)
		}
	}
	return syncDir(k.dir)
}

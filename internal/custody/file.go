// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tallystick/tallystick"
)

// A FileKey is a wrapping key in a file: 32 random bytes, and nothing else.
type FileKey struct {
	*local
	identity Identity
}

// CredentialName is what systemd calls the file of a wrapping key:
// LoadCredentialEncrypted=tallystick.wrapping-key.
const CredentialName = "tallystick.wrapping-key"

// OpenFile reads the wrapping key in a file. With create, a file that is missing is
// made, for nobody else's eyes; otherwise it is fs.ErrNotExist. A file that others
// can read, that is another user's, a link, or inside the data directory is ErrInvalid.
func OpenFile(path, data, credentials string, create bool) (*FileKey, error) {
	s := secrecy{outside: data, given: credentials}
	key, err := readPrivate(path, keySize, s)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err = makeFile(path); err == nil {
			key, err = readPrivate(path, keySize, s)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the wrapping key: %w", err)
	}
	if len(key) != keySize {
		clear(key)
		return nil, fmt.Errorf("couldn't read the wrapping key: %w: %s holds %d bytes, a key has %d", tallystick.ErrInvalid, path, len(key), keySize)
	}
	named := append([]byte("tallystick wrapping key 1:"), key...)
	sum := sha256.Sum256(named)
	clear(named)
	f := &FileKey{identity: Identity{ID: "file:" + hex.EncodeToString(sum[:16]), Kind: KindFile, About: path}}
	f.local = &local{fetch: func(context.Context) ([]byte, error) { return nil, errors.New("couldn't happen: the key is there") }}
	if f.aead, err = newAEAD(key); err != nil {
		return nil, err
	}
	return f, nil
}

// makeFile makes a file with a new key. It appears under its name only when all of
// it is durable, and never in place of another.
func makeFile(path string) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key := make([]byte, keySize)
	rand.Read(key) // it never fails
	defer clear(key)
	file, err := os.OpenFile(filepath.Join(dir, ".tallystick-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // it has another name by then, or is of no use
	_, err = file.Write(key)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	// As O_EXCL: a link never takes another file's place. Who lost reads the winner's.
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes durable which names a directory has.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Identity implements Wrapper.
func (f *FileKey) Identity() Identity { return f.identity }

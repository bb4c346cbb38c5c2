// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A key signs checkpoints. Its name is also the origin of the log.
type key struct {
	Verifier
	signer note.Signer
}

// sign returns the checkpoint of the tree that e is the edge of.
func (k key) sign(size int64, e *edge) (string, error) {
	root, err := tlog.TreeHash(size, e)
	if err != nil {
		return "", fmt.Errorf("couldn't hash the audit log: %w", err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", k.signer.Name(), size, root)
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return "", fmt.Errorf("couldn't sign the audit log: %w", err)
	}
	return string(signed), nil
}

// openKey reads the key in a file. When there is no such file it makes one, if
// that is allowed.
func openKey(path string, mayMake bool) (key, error) {
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !mayMake {
			return key{}, problem.With(err, "The audit log is signed with the key in this file. Restore it from a backup, or copy it from another node.")
		}
		text, err = makeKey(path)
	}
	if err != nil {
		return key{}, err
	}
	k, err := parseKey(text)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w: %w", path, tallystick.ErrInvalid, err)
	}
	return k, nil
}

// readPrivate reads a small file that nobody but its owner may read.
func readPrivate(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", problem.With(fmt.Errorf("%w: others may read or change %s", tallystick.ErrInvalid, path), "Run: chmod 600 "+path)
	}
	if info.Size() > 1000 {
		return "", fmt.Errorf("%w: %s is not a key of an audit log", tallystick.ErrInvalid, path)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// makeKey writes a new key. It is complete before it has its name, and does not
// take the place of one that another process made meanwhile.
func makeKey(path string) (string, error) {
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	text, _, err := note.GenerateKey(rand.Reader, "tallystick/audit/"+hex.EncodeToString(id))
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".audit-key-*") // mode 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return readPrivate(path)
}

// parseKey reads a signer key as note.GenerateKey makes it. The public half is
// derived, so that there is one file to keep and nothing to mix up.
func parseKey(text string) (key, error) {
	text = strings.TrimSpace(text)
	signer, err := note.NewSigner(text)
	if err != nil {
		return key{}, errors.New("it is not a signer key")
	}
	// "PRIVATE+KEY+name+hash+base64"; base64 may hold a plus of its own.
	seed, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 5)[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return key{}, errors.New("it is not an Ed25519 signer key")
	}
	private := ed25519.NewKeyFromSeed(seed[1:]) // the first byte names the algorithm
	public, err := note.NewEd25519VerifierKey(signer.Name(), private.Public().(ed25519.PublicKey))
	if err != nil {
		return key{}, err
	}
	verifier, err := NewVerifier(public)
	return key{verifier, signer}, err
}

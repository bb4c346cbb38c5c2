// SPDX-License-Identifier: Apache-2.0

// Package access knows who may come in, and how: people by one-time sign-in
// links that start sessions, programs by API tokens. There are no passwords,
// and so no default one.
//
// A link, a session and a token are 256 random bits each. Only their SHA-256 is
// stored and looked up, so that neither a stolen database nor the time that a
// look-up takes gives one away. Everything that lets somebody in or changes who
// may come in passes the gate first.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// LinkLife is how long a sign-in link is good.
	LinkLife = 15 * time.Minute
	// SessionLife is how long a session is good, whether it is used or not:
	// a day's work, and short enough that idle time need not be kept track of.
	SessionLife = 12 * time.Hour
	// MaxTokenLife is the longest that an API token can be good.
	MaxTokenLife = 366 * 24 * time.Hour
)

// A Control lets people and programs in. Its methods are safe to call from
// several goroutines and from several nodes on one store.
type Control struct {
	db   *store.DB
	gate *gate.Gate
	now  func() time.Time
}

// New returns the access control of a store.
func New(db *store.DB, g *gate.Gate, now func() time.Time) *Control {
	return &Control{db: db, gate: g, now: now}
}

// secretBytes is the size of what cannot be guessed.
const secretBytes = 32

// newSecret returns a secret and its hash.
func newSecret(prefix string) (secret, hash string) {
	random := make([]byte, secretBytes)
	_, _ = rand.Read(random) // never fails (crypto/rand.Read)
	secret = prefix + base64.RawURLEncoding.EncodeToString(random)
	return secret, hashOf(secret)
}

// hashOf returns what stands for a secret in the store. The secrets are as good
// as random keys, so a fast hash without salt is enough.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// isSecret says whether a text could be a secret, without looking it up.
func isSecret(prefix, text string) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	return ok && len(rest) == base64.RawURLEncoding.EncodedLen(secretBytes)
}

// refuse turns a stranger away, on record. A failure of the store, which says
// nothing about the secret, is returned as it is.
func (c *Control) refuse(ctx context.Context, who gate.Actor, from, reason string, err error) error {
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	who.Role = gate.Nobody
	return c.gate.Refuse(ctx, who, gate.SignIn, "from "+from, fmt.Errorf("%w: %s", tallystick.ErrUnsigned, reason))
}

// maxName is the longest name, in bytes.
const maxName = 100

// checkName refuses names that a person could not read in a list.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return problem.With(fmt.Errorf("%w: %q cannot be a name", tallystick.ErrInvalid, name),
			fmt.Sprintf("A name has 1 to %d printable characters and no space at its ends.", maxName))
	}
	return nil
}

// checkRole refuses what is not a role, and one below least.
func checkRole(role, least gate.Role) error {
	if role < least || role > gate.Admin {
		return fmt.Errorf("%w: %s is not a role to give", tallystick.ErrInvalid, role)
	}
	return nil
}

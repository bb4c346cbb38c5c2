// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// tokenPrefix lets people and secret scanners tell what they are looking at.
const tokenPrefix = "tallyagent_"

const (
	secretBytes = 32
	maxToken    = 2000 // bytes
)

// A token is what an agent is given to enrol with: where the server is, which key it is
// known by, and a secret that is good once.
type token struct {
	Name    string `json:"n"`
	Address string `json:"a"`
	Pin     string `json:"p"` // SHA-256 of the SubjectPublicKeyInfo of the CA of agents, hex
	Secret  string `json:"s"`
}

// newSecret returns a secret and what stands for it in the store. It is as good as a
// random key, so a fast hash without salt is enough.
func newSecret() (secret, hash string) {
	random := make([]byte, secretBytes)
	_, _ = rand.Read(random) // never fails (crypto/rand.Read)
	secret = base64.RawURLEncoding.EncodeToString(random)
	return secret, hashOf(secret)
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// String writes a token.
func (t token) String() string {
	text, err := json.Marshal(t)
	if err != nil { // texts can always be written
		return ""
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(text)
}

// nameForm is what an agent can be called.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

var pinForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// parseToken reads a token. Its errors quote nothing of it.
func parseToken(text string) (token, error) {
	var t token
	wrong := problem.With(fmt.Errorf("%w: that is not the token of an agent", tallystick.ErrInvalid),
		`"tally agent add" on the server writes one; copy all of it`)
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok || len(rest) > maxToken {
		return t, wrong
	}
	plain, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || json.Unmarshal(plain, &t) != nil {
		return token{}, wrong
	}
	if _, _, err := net.SplitHostPort(t.Address); err != nil || !nameForm.MatchString(t.Name) || !pinForm.MatchString(t.Pin) || t.Secret == "" {
		return token{}, wrong
	}
	return t, nil
}

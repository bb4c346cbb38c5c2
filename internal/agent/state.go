// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/problem"
)

// What the agent keeps of itself stands in a directory of its own: the names of other
// keys come from the server.
const (
	ownKey      = "agent/key"      // of its certificate
	ownNext     = "agent/next-key" // while it renews
	ownIdentity = "agent/identity"
)

// An identity is who an agent is, and whom it believes.
type identity struct {
	Name        string `json:"name"`
	Address     string `json:"address"`
	Pin         string `json:"pin"`
	Certificate []byte `json:"certificate"` // DER
	Token       string `json:"token"`       // SHA-256 of the secret that it enrolled with
}

// keyOfToken is what the key is kept under that a token is used for, by its hash.
func keyOfToken(hash string) string { return "agent/of/" + hash }

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// readIdentity returns who the agent is; ErrNotFound before it has enrolled.
func readIdentity(ctx context.Context, keys doors.Keys) (identity, error) {
	var id identity
	text, err := keys.Get(ctx, ownIdentity)
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, fmt.Errorf("%w: the file of who the agent is cannot be read", tallystick.ErrDamaged)
	}
	return id, nil
}

func (id identity) keep(ctx context.Context, keys doors.Keys) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return keys.Keep(ctx, ownIdentity, text)
}

// certificate returns what the agent shows to the server.
func (id identity) certificate(ctx context.Context, keys doors.Keys) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(id.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate of the agent cannot be read", tallystick.ErrDamaged)
	}
	for _, name := range []string{ownKey, ownNext, keyOfToken(id.Token)} { // a crash may have left the key where it was made
		key, err := keys.Signer(ctx, name)
		if errors.Is(err, tallystick.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && public.Equal(key.Public()) {
			return &tls.Certificate{Certificate: [][]byte{id.Certificate}, PrivateKey: key, Leaf: leaf}, nil
		}
	}
	return nil, problem.With(fmt.Errorf("%w: the key of the agent's certificate is gone", tallystick.ErrDamaged),
		`Let the agent enrol again: "tally agent add" on the server makes a token.`)
}

// request makes the certificate request of a key. Only its key counts.
func request(key crypto.Signer) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a certificate request: %w", err)
	}
	return csr, nil
}

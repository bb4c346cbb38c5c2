// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/tallystick/tallystick"
)

// Signer returns key with every signature written down, at the level
// "signature" and by the key's own name beside those of names. It signs as key
// does; a signature that fails is no use.
func (b *Book) Signer(key crypto.Signer, names ...string) (crypto.Signer, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("couldn't name the key: %w", err)
	}
	sum := sha256.Sum256(spki)
	return &signer{key, b, append([]string{"spki-sha256:" + hex.EncodeToString(sum[:])}, names...)}, nil
}

type signer struct {
	crypto.Signer
	book  *Book
	names []string
}

// Sign implements crypto.Signer.
func (s *signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	began := s.book.Begin()
	signature, err := s.Signer.Sign(rand, digest, opts)
	if err != nil {
		began.End(nil)
		return nil, err
	}
	began.End(&tallystick.Use{Level: tallystick.LevelSignature, Credential: s.names, Outcome: tallystick.OutcomeSuccess})
	return signature, nil
}

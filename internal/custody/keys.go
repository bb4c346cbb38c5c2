// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/tallystick/tallystick"
)

// KeyTypes are the sorts of keys that are made here, the usual one first.
func KeyTypes() []KeyType { return []KeyType{P256, P384, Ed25519, RSA2048, RSA3072, RSA4096} }

// Generate makes a key pair in memory, which nobody keeps. A sort that is not one of
// KeyTypes is ErrInvalid.
func Generate(kind KeyType) (crypto.Signer, error) {
	if curve := curveOf(kind); curve != nil {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if bits := rsaBits(kind); bits != 0 {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	if kind == Ed25519 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("%w: %q is not a sort of key that is made here: it is one of %v", tallystick.ErrInvalid, kind, KeyTypes())
}

// KeyWords are KeyTypes as text.
func KeyWords() []string {
	var words []string
	for _, kind := range KeyTypes() {
		words = append(words, string(kind))
	}
	return words
}

// rsaBits returns the size of a sort of RSA keys, in bits; 0 of other sorts.
func rsaBits(kind KeyType) int {
	return map[KeyType]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096}[kind]
}

// curveOf returns the curve of a sort of ECDSA keys, nil of other sorts.
func curveOf(kind KeyType) elliptic.Curve {
	return map[KeyType]elliptic.Curve{P256: elliptic.P256(), P384: elliptic.P384()}[kind]
}

// The RSA keys that are taken in, in bits: a shorter one is weak, and a longer one
// only keeps the processor busy.
const (
	minRSA = 2048
	maxRSA = 8192
)

// encodeKey writes a key of software as PKCS #8 (RFC 5958).
func encodeKey(signer crypto.Signer) (der, public []byte, err error) {
	switch k := signer.(type) {
	case *ecdsa.PrivateKey:
	case ed25519.PrivateKey:
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, nil, fmt.Errorf("%w: an RSA key of %d bits is not taken in: it has %d to %d", tallystick.ErrInvalid, bits, minRSA, maxRSA)
		}
	default:
		return nil, nil, fmt.Errorf("%w: a key of type %T cannot be taken in: it is ECDSA, Ed25519 or RSA, in software", tallystick.ErrInvalid, signer)
	}
	if public, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
		return nil, nil, fmt.Errorf("couldn't encode a public key: %w", err)
	}
	if der, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		return nil, nil, fmt.Errorf("%w: a private key does not encode", tallystick.ErrInvalid) // what the error says may be of the key
	}
	return der, public, nil
}

// decodeKey undoes encodeKey. A key of another public key is ErrDamaged.
func decodeKey(der, public []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not hold a private key", tallystick.ErrDamaged)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: it holds a key that does not sign", tallystick.ErrDamaged)
	}
	return signer, samePublic(signer, public)
}

// samePublic is ErrDamaged unless a signer has the public key.
func samePublic(signer crypto.Signer, public []byte) error {
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil || !bytes.Equal(der, public) {
		return fmt.Errorf("%w: it holds another key than its row says", tallystick.ErrDamaged)
	}
	return nil
}

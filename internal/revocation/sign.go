// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hash functions of the table
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
)

// A scheme is a way to sign.
type scheme struct {
	id   string // AlgorithmIdentifier, DER
	x509 x509.SignatureAlgorithm
	hash crypto.Hash // 0: the key hashes itself
}

// schemes are those that lists are signed with and may be read with. ECDSA and Ed25519 have no parameters
// (RFC 5758 section 3.2, RFC 8410 section 3), RSA has NULL (RFC 4055 section 5).
var schemes = [...]scheme{
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", x509.ECDSAWithSHA256, crypto.SHA256},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03", x509.ECDSAWithSHA384, crypto.SHA384},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04", x509.ECDSAWithSHA512, crypto.SHA512},
	{"\x30\x05\x06\x03\x2b\x65\x70", x509.PureEd25519, 0},
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00", x509.SHA256WithRSA, crypto.SHA256},
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00", x509.SHA384WithRSA, crypto.SHA384},
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00", x509.SHA512WithRSA, crypto.SHA512},
}

// schemeOf chooses how a key signs.
func schemeOf(key crypto.PublicKey) (scheme, error) {
	want := x509.UnknownSignatureAlgorithm
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			want = x509.ECDSAWithSHA256
		case elliptic.P384():
			want = x509.ECDSAWithSHA384
		case elliptic.P521():
			want = x509.ECDSAWithSHA512
		}
	case ed25519.PublicKey:
		want = x509.PureEd25519
	case *rsa.PublicKey:
		want = x509.SHA256WithRSA
	}
	for _, s := range schemes {
		if s.x509 == want {
			return s, nil
		}
	}
	return scheme{}, fmt.Errorf("%w: a key of type %T cannot sign lists", tallystick.ErrInvalid, key)
}

var errWrongSignature = errors.New("the key made a signature that is not its own")

// sign signs a message.
func (s scheme) sign(signer crypto.Signer, message []byte) ([]byte, error) {
	return signer.Sign(rand.Reader, s.digest(message), s.hash)
}

// digest returns what is given to the key.
func (s scheme) digest(message []byte) []byte {
	if s.hash == 0 {
		return message
	}
	return digest(s.hash, message)
}

// signSurely signs a message, and looks whether that succeeded: a device that is out of order must
// not have a list published that every server refuses.
func (s scheme) signSurely(signer crypto.Signer, message []byte) ([]byte, error) {
	digest := s.digest(message)
	signature, err := signer.Sign(rand.Reader, digest, s.hash)
	if err != nil {
		return nil, err
	}
	good := false
	switch key := signer.Public().(type) {
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(key, digest, signature)
	case ed25519.PublicKey:
		good = ed25519.Verify(key, digest, signature)
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(key, s.hash, digest, signature) == nil
	}
	if !good {
		return nil, errWrongSignature
	}
	return signature, nil
}

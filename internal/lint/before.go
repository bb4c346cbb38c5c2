// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Before returns a signer for x509.CreateCertificate that signs nothing before check
// has agreed to it. check is given the certificate as it will be, byte for byte, but
// for the signature: in its place is one that is shaped like those of the signer's
// key and proves nothing. So a certificate that is wrong is never signed, and
// looking at it costs no signature of another key.
//
// A self-issued certificate (a root) is shown to check with its real signature, since
// what it may look like depends on who signed it; if check refuses, the signature is
// thrown away.
//
// It signs whole certificates only: a digest alone cannot be looked at.
func Before(signer crypto.Signer, check func(der []byte) error) crypto.Signer {
	return &before{signer: signer, check: check}
}

type before struct {
	signer crypto.Signer
	check  func(der []byte) error
}

// errDigest is what Sign says.
var errDigest = errors.New("a digest alone cannot be looked at: sign the whole message")

func (b *before) Public() crypto.PublicKey { return b.signer.Public() }

func (b *before) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errDigest }

// SignMessage looks at a TBSCertificate, and signs it.
func (b *before) SignMessage(random io.Reader, tbs []byte, opts crypto.SignerOpts) ([]byte, error) {
	algorithm, selfIssued, err := split(tbs)
	if err != nil {
		return nil, fmt.Errorf("couldn't look at the certificate: %w", err)
	}
	sign := func() ([]byte, error) { return crypto.SignMessage(b.signer, random, tbs, opts) }
	if selfIssued {
		signature, err := sign()
		if err != nil {
			return nil, err
		}
		return signature, b.look(tbs, algorithm, signature)
	}
	if err := b.look(tbs, algorithm, placeholder(b.signer.Public())); err != nil {
		return nil, err
	}
	return sign()
}

// look shows the certificate to check.
func (b *before) look(tbs, algorithm, signature []byte) error {
	var out cryptobyte.Builder
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddBytes(tbs)
		out.AddBytes(algorithm)
		out.AddASN1BitString(signature)
	})
	der, err := out.Bytes()
	if err != nil {
		return fmt.Errorf("couldn't look at the certificate: %w", err)
	}
	return b.check(der)
}

// split returns the signature algorithm of a TBSCertificate (RFC 5280 section 4.1), and
// whether issuer and subject are the same.
func split(tbs []byte) (algorithm []byte, selfIssued bool, err error) {
	in := cryptobyte.String(tbs)
	var body, found, issuer, validity, subject cryptobyte.String
	if !in.ReadASN1(&body, asn1.SEQUENCE) || !in.Empty() ||
		!body.SkipOptionalASN1(asn1.Tag(0).ContextSpecific().Constructed()) || !body.SkipASN1(asn1.INTEGER) ||
		!body.ReadASN1Element(&found, asn1.SEQUENCE) || !body.ReadASN1(&issuer, asn1.SEQUENCE) ||
		!body.ReadASN1(&validity, asn1.SEQUENCE) || !body.ReadASN1(&subject, asn1.SEQUENCE) {
		return nil, false, errUnknown
	}
	return found, bytes.Equal(issuer, subject), nil
}

// placeholder returns what is as long as a signature of the key, and of its form.
func placeholder(key crypto.PublicKey) []byte {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		number := bytes.Repeat([]byte{1}, (key.Curve.Params().BitSize+7)/8)
		var out cryptobyte.Builder
		out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
			for range 2 {
				out.AddASN1(asn1.INTEGER, func(out *cryptobyte.Builder) { out.AddBytes(number) })
			}
		})
		return out.BytesOrPanic()
	case *rsa.PublicKey:
		return make([]byte, key.Size())
	case ed25519.PublicKey:
		return make([]byte, ed25519.SignatureSize)
	}
	return make([]byte, 64)
}

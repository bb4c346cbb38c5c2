// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A counter counts signatures.
type counter struct {
	crypto.Signer
	signed int
}

func (c *counter) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.signed++
	return c.Signer.Sign(random, digest, opts)
}

// tbsOf returns what of a certificate is signed.
func tbsOf(t *testing.T, der []byte) []byte {
	t.Helper()
	in := cryptobyte.String(der)
	var outer, tbs cryptobyte.String
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1Element(&tbs, asn1.SEQUENCE) {
		t.Fatal("not a certificate")
	}
	return tbs
}

// What is looked at is what is signed, byte for byte, and what is refused is not signed.
func TestBefore(t *testing.T) {
	l, key := newLinter(t), newECDSA(t, elliptic.P256())
	for sort, signer := range map[string]crypto.Signer{
		"p256": newECDSA(t, elliptic.P256()), "p384": newECDSA(t, elliptic.P384()), "p521": newECDSA(t, elliptic.P521()),
		"rsa": newRSA(t, 2048), "ed25519": newEd25519(t),
	} {
		ca, counting := newAuthority(t, signer), &counter{Signer: signer}
		var looked []byte
		ca.key = Before(counting, func(der []byte) error {
			looked = bytes.Clone(der)
			_, err := l.Lints(der)
			return err
		})
		der := ca.sign(t, leaf(), &key.PublicKey)
		if !bytes.Equal(tbsOf(t, looked), tbsOf(t, der)) {
			t.Errorf("%s: something else was signed", sort)
		}
		if diff := len(looked) - len(der); diff < -4 || diff > 4 {
			t.Errorf("%s: the placeholder is off by %d bytes", sort, diff)
		}
		made := must[*x509.Certificate](t)(x509.ParseCertificate(der))
		if err := made.CheckSignatureFrom(ca.certificate); err != nil {
			t.Errorf("%s: %v", sort, err)
		}
		if counting.signed != 1 {
			t.Errorf("%s: %d signatures", sort, counting.signed)
		}

		bad := leaf(func(c *x509.Certificate) { c.DNSNames = []string{"a..lab.test"} })
		if _, err := x509.CreateCertificate(rand.Reader, bad, ca.certificate, &key.PublicKey, ca.key); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", sort, err)
		}
		if counting.signed != 1 {
			t.Errorf("%s: a bad certificate was signed", sort)
		}
	}
}

// A root is looked at with its signature, and thrown away when it is refused.
func TestBeforeOfRoots(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	template := rootTemplate(key)
	l := newLinter(t)
	signer := Before(key, func(der []byte) error { return second(l.Lints(der)) })
	if _, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), signer); err != nil {
		t.Error(err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if _, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), signer); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A digest is not signed, nor what is no certificate.
func TestBeforeOfOtherThings(t *testing.T) {
	signer := Before(newECDSA(t, elliptic.P256()), func([]byte) error { return nil })
	if _, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
		t.Error("a digest was signed")
	}
	for _, message := range [][]byte{nil, []byte("hello"), {0x30, 0x00}, bytes.Repeat([]byte{0x30}, 100)} {
		if _, err := crypto.SignMessage(signer, rand.Reader, message, crypto.SHA256); err == nil {
			t.Errorf("%q was signed", message)
		}
	}
}

// FuzzBefore shows that no message panics.
func FuzzBefore(f *testing.F) {
	ca := newAuthority(f, newECDSA(f, elliptic.P256()))
	f.Add(ca.certificate.RawTBSCertificate)
	f.Fuzz(func(t *testing.T, tbs []byte) {
		if _, _, err := split(tbs); err != nil && !errors.Is(err, errUnknown) {
			t.Error(err)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"github.com/tallystick/tallystick"
)

// maxCSR bounds a certificate request in bytes: one with a hundred names and a key
// of 4096 bits has less than 16 KiB.
const maxCSR = 32 << 10

// ParseCSR reads a PKCS #10 request as PEM or DER. It does not check its signature.
func ParseCSR(data []byte) (*x509.CertificateRequest, error) {
	if len(data) > maxCSR {
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are read", ErrBadCSR, len(data), maxCSR)
	}
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("%w: it is PEM of type %q", ErrBadCSR, block.Type)
		}
		data = block.Bytes
	}
	csr, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCSR, err)
	}
	return csr, nil
}

// A subjectKey is the key that a request is about.
type subjectKey struct {
	public crypto.PublicKey
	spki   []byte
	id     [sha256.Size]byte
}

// KeyID returns the name of the key.
func (k subjectKey) KeyID() tallystick.KeyID { return tallystick.KeyID(hex.EncodeToString(k.id[:])) }

// keyBytes returns the hash that a key is named by.
func keyBytes(key tallystick.KeyID) ([]byte, error) {
	b, err := hex.DecodeString(string(key))
	if err != nil || len(b) != sha256.Size {
		return nil, fmt.Errorf("%w: %.80q is no key: write its SHA-256 in hexadecimal", tallystick.ErrInvalid, string(key))
	}
	return b, nil
}

// keyOf checks the key of a request: first that it is fit, because checking a
// signature with a key of absurd size takes absurdly long, then that whoever asks has it.
func (c *CA) keyOf(r Request) (subjectKey, *x509.CertificateRequest, error) {
	var csr *x509.CertificateRequest
	public := r.PublicKey
	if len(r.CSR) > 0 {
		var err error
		if csr, err = ParseCSR(r.CSR); err != nil {
			return subjectKey{}, nil, err
		}
		public = csr.PublicKey
	}
	if public == nil {
		return subjectKey{}, nil, fmt.Errorf("%w: it has no key that can be read", ErrBadCSR)
	}
	if err := c.CheckKey(public); err != nil {
		return subjectKey{}, nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	if csr != nil {
		if err := csr.CheckSignature(); err != nil {
			return subjectKey{}, nil, fmt.Errorf("%w: its signature is not by its key: %w", ErrBadCSR, err)
		}
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return subjectKey{}, nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	// A key is known by the hash of its one encoding. Another one of the same key, such
	// as with something behind its end, would pass by everything that is known of it.
	if csr != nil && !bytes.Equal(spki, csr.RawSubjectPublicKeyInfo) {
		return subjectKey{}, nil, fmt.Errorf("%w: its key is not encoded as DER has it (RFC 5280 section 4.1.2.7)", ErrBadCSR)
	}
	return subjectKey{public: public, spki: spki, id: sha256.Sum256(spki)}, csr, nil
}

// keyIdentifier makes a SubjectKeyIdentifier: the first 160 bits of the SHA-256 of
// the key's bits (RFC 7093 section 2, method 1).
func keyIdentifier(spki []byte) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil // not for what crypto/x509 has encoded or parsed
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20]
}

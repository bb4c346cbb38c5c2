// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// A Fingerprint names a credential: 64 lower-case hexadecimal digits of a
// SHA-256 over its public bytes (Credential.Raw).
type Fingerprint string

// A KeyID names a key pair: 64 lower-case hexadecimal digits of the SHA-256 of
// its DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), whatever container
// the key was found in. What gets stolen is the key, so a TLS certificate and
// an SSH line that hold the same public key share one KeyID.
type KeyID string

// Short returns the first 12 digits, for people; it does not identify.
func (f Fingerprint) Short() string { return shorten(string(f)) }

// Short returns the first 12 digits, for people; it does not identify.
func (k KeyID) Short() string { return shorten(string(k)) }

func shorten(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}

// FingerprintOf returns the fingerprint of public bytes.
func FingerprintOf(raw []byte) Fingerprint { return Fingerprint(hexSHA256(raw)) }

// KeyIDOf returns the KeyID of a DER SubjectPublicKeyInfo.
func KeyIDOf(spki []byte) KeyID { return KeyID(hexSHA256(spki)) }

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A Kind says what sort of credential a Credential is.
type Kind string

const (
	// KindCertificate is an X.509 certificate (RFC 5280); Raw is its DER.
	KindCertificate Kind = "certificate"
	// KindKey is a bare key pair, seen by its public or its private half; Raw
	// is its DER SubjectPublicKeyInfo.
	KindKey Kind = "key"
	// KindSSHCertificate is an OpenSSH certificate (PROTOCOL.certkeys); Raw is
	// its wire form.
	KindSSHCertificate Kind = "ssh-certificate"
	// KindSealed is an encrypted private key or keystore that nobody could
	// open: its key is unknown, and its fingerprint is that of the container.
	// Raw stays empty, because a container is not public.
	KindSealed Kind = "sealed"
	// KindNamed is a credential that is known by a name alone: a log or a holder
	// names it, or a directory that keeps its bytes to itself, as of a client
	// secret. Raw is its first name, in the normal form (see NormalName).
	KindNamed Kind = "named"
)

// A Key is the public half of a key pair.
type Key struct {
	ID KeyID `json:"id,omitempty"` // empty when the key could not be read
	// Algorithm is a lower-case family and size: "rsa-2048", "dsa-1024",
	// "ecdsa-p256", "ed25519", "ml-dsa-65", or "unknown".
	Algorithm string `json:"algorithm,omitempty"`
	Bits      int    `json:"bits,omitempty"` // size of the modulus or group order, in bits
	SPKI      []byte `json:"spki,omitempty"` // DER SubjectPublicKeyInfo
}

// A Credential is something that lets a machine authenticate or sign. It
// carries public facts only. Which fields are set depends on Kind.
type Credential struct {
	ID   Fingerprint `json:"id"`
	Kind Kind        `json:"kind"`
	Key  Key         `json:"key"`

	Subject string `json:"subject,omitempty"` // RFC 4514 style; key id of an SSH certificate; comment of a bare key
	Issuer  string `json:"issuer,omitempty"`
	Serial  string `json:"serial,omitempty"` // lower-case hexadecimal, "-" before a negative one
	// Names holds what the credential speaks for: DNS names, IP addresses,
	// e-mail addresses and URIs of the SAN, or SSH principals.
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Signature string    `json:"signature,omitempty"` // "ecdsa-sha256", "rsa-sha1", "rsa-pss-sha256", "ed25519", ...

	IsCA       bool     `json:"is_ca,omitempty"`
	SelfIssued bool     `json:"self_issued,omitempty"` // subject and issuer are the same name
	Usages     []string `json:"usages,omitempty"`      // "server", "client", "code", "email", "ocsp", "time", "any"; SSH: "user", "host"
	// SubjectKeyID and AuthorityKeyID are the RFC 5280 key identifiers in lower-case hexadecimal.
	SubjectKeyID   string `json:"subject_key_id,omitempty"`
	AuthorityKeyID string `json:"authority_key_id,omitempty"`
	Logged         bool   `json:"logged,omitempty"` // carries Certificate Transparency timestamps (RFC 6962 section 3.3)

	Raw []byte `json:"raw,omitempty"`
	// ReadError is why a strict parser refused the credential; the fields
	// are then what a tolerant one could make out.
	ReadError string `json:"read_error,omitempty"`
}

// Lifetime returns how long the credential is or was valid in all; zero when
// it carries no dates or senseless ones.
func (c *Credential) Lifetime() time.Duration {
	if c.NotBefore.IsZero() || c.NotAfter.IsZero() || c.NotAfter.Before(c.NotBefore) {
		return 0
	}
	return c.NotAfter.Sub(c.NotBefore)
}

// An Annotation is what people know about a credential and bytes do not say.
type Annotation struct {
	Owner       string   `json:"owner,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	Notes       string   `json:"notes,omitempty"`
}

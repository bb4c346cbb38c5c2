// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
)

// A Public is the public half of one credential, in the form that doors know it by.
// One of Chain, SSH and Account is set.
type Public struct {
	// Chain is an X.509 certificate with those above it, DER, without the root.
	Chain [][]byte `json:"chain,omitempty"`
	// SSH is a public key or an OpenSSH certificate in its wire form (RFC 4253 section 6.6).
	SSH []byte `json:"ssh,omitempty"`
	// Account is a credential that has no public half, as a use record names it:
	// "account:ldap/uid=svc1,...".
	Account string `json:"account,omitempty"`
}

// A Material is a credential with its private half, which is written nowhere but
// where the door reads it.
type Material struct {
	Public
	Key crypto.Signer `json:"-"`
}

// String names the credential, so that no key is ever printed by accident.
func (m Material) String() string { return fmt.Sprint(m.Names()) }

// GoString does the same for %#v.
func (m Material) GoString() string { return m.String() }

// Names returns the names of the credential in their normal form
// (tallystick.NormalName), sorted: "cert-sha256:", "spki-sha256:", "x5t:" and
// SerialName of a certificate; "ssh:" and "spki-sha256:" of an SSH key, which are those
// of the key that it certifies where it is a certificate; or the account. It is empty
// for the zero value and for bytes that cannot be read.
func (p Public) Names() []string {
	var names []string
	switch {
	case len(p.Chain) > 0:
		names = certificateNames(p.Chain[0])
	case len(p.SSH) > 0:
		names = sshNames(p.SSH)
	case p.Account != "":
		names = []string{tallystick.NormalName(p.Account)}
	}
	slices.Sort(names)
	return names
}

// Leaf reads the certificate of a credential. One that has none, or none that can be read,
// is ErrInvalid.
func (p Public) Leaf() (*x509.Certificate, error) {
	if len(p.Chain) == 0 {
		return nil, fmt.Errorf("%w: this takes a certificate, and the credential is none", tallystick.ErrInvalid)
	}
	leaf, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't read the certificate: %w", tallystick.ErrInvalid, err)
	}
	return leaf, nil
}

// KeyAlgorithm names the kind of the key: "RSA", "ECDSA" or "Ed25519" of a certificate, the
// type of an SSH key or SSH certificate (RFC 4253 section 6.6), and "" of anything else.
func (p Public) KeyAlgorithm() string {
	if leaf, err := p.Leaf(); err == nil {
		return leaf.PublicKeyAlgorithm.String()
	}
	if key, err := ssh.ParsePublicKey(p.SSH); err == nil {
		return key.Type()
	}
	return ""
}

// Is says whether two values name one credential: the same certificate, key or account.
// Certificates of one key are two credentials.
func (p Public) Is(q Public) bool {
	switch {
	case len(p.Chain) > 0 && len(q.Chain) > 0:
		return slices.Equal(p.Chain[0], q.Chain[0])
	case len(p.SSH) > 0:
		return slices.Equal(p.SSH, q.SSH)
	case p.Account != "":
		return tallystick.NormalName(p.Account) == tallystick.NormalName(q.Account)
	}
	return false
}

// SerialName names a certificate as revocation lists do: by the subject of its issuer
// (DER) and its serial number.
func SerialName(issuer []byte, serial *big.Int) string {
	sum := sha256.Sum256(issuer)
	return fmt.Sprintf("serial:%s/%x", hex.EncodeToString(sum[:8]), serial)
}

func certificateNames(der []byte) []string {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	short := sha1.Sum(der) // x5t of RFC 7515 section 4.1.7, which nginx and others know certificates by
	return []string{
		"cert-sha256:" + string(tallystick.FingerprintOf(der)), "spki-sha256:" + string(tallystick.KeyIDOf(c.RawSubjectPublicKeyInfo)),
		"x5t:" + hex.EncodeToString(short[:]), SerialName(c.RawIssuer, c.SerialNumber),
	}
}

func sshNames(wire []byte) []string {
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return nil
	}
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	names := []string{"ssh:" + string(tallystick.FingerprintOf(key.Marshal()))}
	if held, ok := key.(ssh.CryptoPublicKey); ok {
		if spki, err := x509.MarshalPKIXPublicKey(held.CryptoPublicKey()); err == nil {
			names = append(names, "spki-sha256:"+string(tallystick.KeyIDOf(spki)))
		}
	}
	return names
}

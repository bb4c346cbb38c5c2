// SPDX-License-Identifier: Apache-2.0

// Package installing is what the drivers of doors share: it checks a credential before
// it is written, writes all files of it or none, runs the commands of the door, and
// looks whether every listener shows what it should.
package installing

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// maxCertificates is how many certificates of one file are looked at.
const maxCertificates = 100

// publicKey is what every public key of the standard library can do.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// Check says whether a credential can be installed: its key belongs to it, each
// certificate of its chain signed the one before, and none has ended or not begun at
// now. What it says otherwise is ErrInvalid.
func Check(m driver.Material, now time.Time) error {
	if len(m.SSH) > 0 {
		return checkSSH(m, now)
	}
	chain, err := certificates(m.Chain)
	if err != nil {
		return err
	}
	if len(chain) == 0 {
		return invalid("there is no certificate to install")
	}
	if err := fits(m.Key, chain[0].PublicKey); err != nil {
		return err
	}
	for i, c := range chain {
		if i > 0 && chain[i-1].CheckSignatureFrom(c) != nil {
			return invalid("certificate %d of the chain, %s, did not sign the one before it", i+1, named(c))
		}
		if err := runs(c.NotBefore, c.NotAfter, now); err != nil {
			return invalid("the certificate %s %v", named(c), err)
		}
	}
	return nil
}

// CheckCertificate is Check for doors whose credentials are certificates (X.509) alone.
func CheckCertificate(m driver.Material, now time.Time) error {
	if len(m.Chain) == 0 {
		return invalid("there is no certificate to install")
	}
	return Check(driver.Material{Public: driver.Public{Chain: m.Chain}, Key: m.Key}, now)
}

func checkSSH(m driver.Material, now time.Time) error {
	public, err := ssh.ParsePublicKey(m.SSH)
	if err != nil {
		return invalid("couldn't read the SSH key: %v", err)
	}
	if certificate, ok := public.(*ssh.Certificate); ok {
		public = certificate.Key
		ends := time.Unix(int64(min(certificate.ValidBefore, 1<<40)), 0) // ssh.CertTimeInfinity is 2^64-1
		if err := runs(time.Unix(int64(min(certificate.ValidAfter, 1<<40)), 0), ends, now); err != nil {
			return invalid("the SSH certificate %v", err)
		}
	}
	held, ok := public.(ssh.CryptoPublicKey)
	if !ok {
		return invalid("a key of type %s cannot be compared with its private half", public.Type())
	}
	return fits(m.Key, held.CryptoPublicKey())
}

// fits says whether a private key is the half of a public one.
func fits(key crypto.Signer, public crypto.PublicKey) error {
	if key == nil {
		return invalid("the credential comes without its private key")
	}
	if own, ok := key.Public().(publicKey); !ok || !own.Equal(public) {
		return invalid("the private key does not belong to the credential")
	}
	return nil
}

func runs(from, to, now time.Time) error {
	if now.After(to) {
		return fmt.Errorf("ended on %s", to.UTC().Format(time.RFC3339))
	}
	if now.Before(from) {
		return fmt.Errorf("begins on %s, which is later than now: is a clock wrong?", from.UTC().Format(time.RFC3339))
	}
	return nil
}

// Covers says whether next is for every name that old is for: every alternative name of
// any kind (RFC 5280 section 4.2.1.6), where a wildcard stands for those that it matches.
// Where old has none, its common name counts. What it says otherwise is ErrInvalid.
func Covers(next, old *x509.Certificate) error {
	others := alternatives(old)
	if len(old.DNSNames)+len(old.IPAddresses)+len(others) == 0 {
		if name := old.Subject.CommonName; name != "" && next.Subject.CommonName != name && next.VerifyHostname(name) != nil {
			return invalid("the new certificate is not for %s, as the old one is", network.Quote(name))
		}
		return nil
	}
	for _, name := range slices.Concat(old.DNSNames, addresses(old.IPAddresses)) {
		if next.VerifyHostname(name) != nil {
			return invalid("the new certificate is not for %s, as the old one is", network.Quote(name))
		}
	}
	have := alternatives(next)
	for name := range others {
		if !have[name] {
			return invalid("the new certificate lacks an alternative name of the old one: %s", network.Quote(name[1:]))
		}
	}
	return nil
}

func addresses(ips []net.IP) []string {
	var texts []string
	for _, ip := range ips {
		texts = append(texts, ip.String())
	}
	return texts
}

// alternatives returns the alternative names of a certificate that are neither DNS names
// nor addresses, each as the byte of its tag and what it contains.
func alternatives(c *x509.Certificate) map[string]bool {
	const dns, ip = 0x82, 0x87 // [2] and [7] of GeneralName
	var names map[string]bool
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		input := cryptobyte.String(extension.Value)
		var list cryptobyte.String
		if !input.ReadASN1(&list, 0x30) {
			continue
		}
		for !list.Empty() {
			var name cryptobyte.String
			var tag [1]byte
			tag[0] = list[0]
			if !list.ReadAnyASN1(&name, nil) {
				break
			}
			if tag[0] != dns && tag[0] != ip {
				if names == nil {
					names = map[string]bool{}
				}
				names[string(tag[:])+string(name)] = true
			}
		}
	}
	return names
}

// A Part is one part of what PEM writes.
type Part int

const (
	Leaf  Part = iota // the certificate
	Chain             // the certificate, and those above it
	Above             // those above it
	Key               // the private key (PKCS #8)
)

// PEM writes parts of a credential, in the order of the arguments.
func PEM(m driver.Material, parts ...Part) ([]byte, error) {
	if len(m.Chain) == 0 {
		return nil, invalid("there is no certificate to write")
	}
	var text bytes.Buffer
	write := func(kind string, ders ...[]byte) {
		for _, der := range ders {
			pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}) // to memory: it cannot fail
		}
	}
	for _, part := range parts {
		switch part {
		case Leaf:
			write("CERTIFICATE", m.Chain[0])
		case Chain:
			write("CERTIFICATE", m.Chain...)
		case Above:
			write("CERTIFICATE", m.Chain[1:]...)
		case Key:
			der, err := x509.MarshalPKCS8PrivateKey(m.Key)
			if err != nil {
				return nil, invalid("a private key that cannot be taken out of where it is cannot be written to a file")
			}
			write("PRIVATE KEY", der)
		}
	}
	return text.Bytes(), nil
}

// ReadPEM reads a credential from text: its first certificate, those above it wherever
// they stand, without the root, and the private key if there is one that needs no
// passphrase. Whether the key belongs to the certificate is for Check to say. Errors are
// ErrInvalid and quote nothing of the text.
func ReadPEM(text []byte) (driver.Material, error) {
	var m driver.Material
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" || block.Type == "X509 CERTIFICATE":
			if len(all) == maxCertificates {
				return driver.Material{}, invalid("there are more than %d certificates in it", maxCertificates)
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil && len(all) == 0 {
				return driver.Material{}, invalid("couldn't read its certificate: %v", err)
			}
			if err == nil {
				all = append(all, c)
			}
		case m.Key == nil && strings.HasSuffix(block.Type, "PRIVATE KEY") && block.Type != "ENCRYPTED PRIVATE KEY" && block.Headers["DEK-Info"] == "":
			key, err := readKey(block.Bytes)
			if err != nil {
				return driver.Material{}, err
			}
			m.Key = key
		}
	}
	if len(all) == 0 {
		return driver.Material{}, invalid("there is no certificate in it")
	}
	m.Chain = Ladder(all[0], all[1:])
	return m, nil
}

// Ladder returns the certificate with those of others that lead up from it, DER, each of
// which signed the one before, without the root.
func Ladder(leaf *x509.Certificate, others []*x509.Certificate) [][]byte {
	chain := [][]byte{leaf.Raw}
	for below := leaf; !bytes.Equal(below.RawIssuer, below.RawSubject); {
		i := slices.IndexFunc(others, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, below.RawIssuer) && below.CheckSignatureFrom(c) == nil
		})
		if i < 0 || bytes.Equal(others[i].RawIssuer, others[i].RawSubject) || slices.ContainsFunc(chain, func(der []byte) bool { return bytes.Equal(der, others[i].Raw) }) {
			break
		}
		below = others[i]
		chain = append(chain, below.Raw)
	}
	return chain
}

// ReadKey reads a private key, PEM: PKCS #8, PKCS #1, SEC 1 or OpenSSH, without a
// passphrase. Errors are ErrInvalid and quote nothing of the text.
func ReadKey(text []byte) (crypto.Signer, error) {
	key, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		return nil, invalid("couldn't read the private key")
	}
	if pointer, ok := key.(*ed25519.PrivateKey); ok {
		key = *pointer
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, invalid("couldn't use the private key")
	}
	return signer, nil
}

func readKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, invalid("couldn't read its private key")
}

func certificates(ders [][]byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, invalid("couldn't read certificate %d of the chain: %v", i+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func named(c *x509.Certificate) string { return network.Quote(c.Subject.String()) }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

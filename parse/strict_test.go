// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// A strictFacts is what crypto/x509 and the package's own reader must agree on.
type strictFacts struct {
	Raw, SPKI           []byte
	Serial, Algorithm   string
	NotBefore, NotAfter string
	SelfIssued          bool
}

// extensionFacts are compared for version 3 only: crypto/x509 passes over the
// extensions that older versions should not have, other software believes them.
type extensionFacts struct {
	SubjectKeyID, AuthorityKeyID string
	IsCA                         bool
	Names                        int
}

const secondsLayout = "2006-01-02 15:04:05"

// sameAsStrict compares the fields of the package's own reader with those of
// crypto/x509, for a certificate that the latter accepts.
func sameAsStrict(t *testing.T, cert *x509.Certificate, c tallystick.Credential) {
	t.Helper()
	diff := cmp.Diff(strictFacts{
		cert.Raw, cert.RawSubjectPublicKeyInfo,
		fmt.Sprintf("%x", cert.SerialNumber), algorithmOf(cert.PublicKey, c.Key.Algorithm),
		cert.NotBefore.UTC().Format(secondsLayout), cert.NotAfter.UTC().Format(secondsLayout),
		bytes.Equal(cert.RawSubject, cert.RawIssuer),
	}, strictFacts{
		c.Raw, c.Key.SPKI,
		c.Serial, c.Key.Algorithm,
		c.NotBefore.Format(secondsLayout), c.NotAfter.Format(secondsLayout),
		c.SelfIssued,
	})
	if cert.Version == 3 {
		diff += cmp.Diff(extensionFacts{
			hex.EncodeToString(cert.SubjectKeyId), hex.EncodeToString(cert.AuthorityKeyId), cert.IsCA,
			len(cert.DNSNames) + len(cert.IPAddresses) + len(cert.EmailAddresses) + len(cert.URIs),
		}, extensionFacts{c.SubjectKeyID, c.AuthorityKeyID, c.IsCA, len(c.Names)})
		for _, name := range slices.Concat(cert.DNSNames, cert.EmailAddresses) {
			if !strings.ContainsFunc(name, unicode.IsControl) && !slices.Contains(c.Names, name) {
				diff += "lost name " + name
			}
		}
		for _, ip := range cert.IPAddresses {
			if address, _ := netip.AddrFromSlice(ip); !slices.Contains(c.Names, address.String()) {
				diff += "lost address " + address.String()
			}
		}
	}
	if diff != "" {
		t.Errorf("%s: crypto/x509 and the tolerant reader differ:\n%s", c.ID, diff)
	}
}

// algorithmOf words the key as parse.Key does, from the standard library's value.
func algorithmOf(key any, otherwise string) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", k.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "ed25519"
	}
	return otherwise
}

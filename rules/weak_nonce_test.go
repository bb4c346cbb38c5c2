// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// A careless signer uses one nonce for everything (FIPS 186-5 section 6.4.1).
type careless struct{ *ecdsa.PrivateKey }

func (c careless) Sign(_ io.Reader, hash []byte, _ crypto.SignerOpts) ([]byte, error) {
	nonce := make([]byte, 32)
	nonce[31] = 7
	point, err := ecdh.P256().NewPrivateKey(nonce)
	if err != nil {
		return nil, err
	}
	d, err := c.PrivateKey.Bytes()
	if err != nil {
		return nil, err
	}
	order := elliptic.P256().Params().N
	r := new(big.Int).SetBytes(point.PublicKey().Bytes()[1:33])
	s := new(big.Int).SetBytes(d)
	s.Mul(s, r).Add(s, new(big.Int).SetBytes(hash))
	s.Mul(s, new(big.Int).ModInverse(big.NewInt(7), order)).Mod(s, order)
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// carelessIssuer is a CA that will sign with one nonce from now on; its own
// certificate was signed with care.
func carelessIssuer(t testing.TB, name string) *identity {
	t.Helper()
	ca := issue(t, nil, name, authority)
	ca.key = careless{ca.key.(*ecdsa.PrivateKey)}
	return ca
}

// negated returns the same certificate with s replaced by -s, which is a valid
// signature too: anybody can make it, and it tells nothing.
func negated(t testing.TB, c *tallystick.Credential) *tallystick.Credential {
	t.Helper()
	certificate, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	var numbers struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(certificate.Signature, &numbers); err != nil {
		t.Fatal(err)
	}
	numbers.S.Sub(elliptic.P256().Params().N, numbers.S)
	signature, err := asn1.Marshal(numbers)
	if err != nil {
		t.Fatal(err)
	}
	return resigned(t, c, signature)
}

// resigned returns a certificate with another signature.
func resigned(t testing.TB, c *tallystick.Credential, signature []byte) *tallystick.Credential {
	t.Helper()
	var outer struct {
		Body, Algorithm asn1.RawValue
		Signature       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.Raw, &outer); err != nil {
		t.Fatal(err)
	}
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, der)
}

func nonceEstate(t testing.TB, shared bool) rule.Estate {
	t.Helper()
	ca := carelessIssuer(t, "Careless")
	first, second := issue(t, ca, "first"), issue(t, ca, "second")
	if !shared {
		second.Credential = negated(t, first.Credential)
	}
	return fakeEstate{certificates: []*tallystick.Credential{ca.Credential, first.Credential, second.Credential}}
}

// TestSharedNonceIsChecked shows what forged and unverifiable signatures do.
func TestSharedNonceIsChecked(t *testing.T) {
	ca := carelessIssuer(t, "Careless")
	first, second := issue(t, ca, "first"), issue(t, ca, "second")
	certificate, err := x509.ParseCertificate(first.Raw)
	if err != nil {
		t.Fatal(err)
	}
	forged := resigned(t, second.Credential, certificate.Signature)
	other := issue(t, carelessIssuer(t, "Careless too"), "first")
	for _, row := range []struct {
		name         string
		certificates []*tallystick.Credential
		want         map[tallystick.Fingerprint]tallystick.Severity
	}{
		{"all known", []*tallystick.Credential{ca.Credential, first.Credential, second.Credential}, map[tallystick.Fingerprint]tallystick.Severity{
			ca.ID: tallystick.SeverityCritical, first.ID: tallystick.SeverityCritical, second.ID: tallystick.SeverityCritical,
		}},
		{"issuer unknown", []*tallystick.Credential{first.Credential, second.Credential}, map[tallystick.Fingerprint]tallystick.Severity{
			first.ID: tallystick.SeverityMedium, second.ID: tallystick.SeverityMedium,
		}},
		{"one forged", []*tallystick.Credential{ca.Credential, first.Credential, forged}, nil},
		{"another issuer", []*tallystick.Credential{first.Credential, other.Credential}, nil},
	} {
		var got map[tallystick.Fingerprint]tallystick.Severity
		err := surveyNonces(t.Context(), fakeEstate{certificates: row.certificates}, func(hit rule.Hit) error {
			if got == nil {
				got = make(map[tallystick.Fingerprint]tallystick.Severity)
			}
			got[hit.Credential] = hit.Severity
			if !strings.Contains(hit.Evidence, "Careless") {
				t.Errorf("%s: evidence %q does not name the issuer", row.name, hit.Evidence)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
}

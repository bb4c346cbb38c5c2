// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// An authority signs certificates in tests.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, rand.Reader))
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	return must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits))
}

// newAuthority makes a root.
func newAuthority(t testing.TB, key crypto.Signer) *authority {
	t.Helper()
	c := rootTemplate(key)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
	return &authority{must[*x509.Certificate](t)(x509.ParseCertificate(der)), key}
}

func rootTemplate(key crypto.Signer) *x509.Certificate {
	now := time.Now().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Lab Root CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: keyIdentifier(key.Public()),
	}
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[0] = 0x01
	return new(big.Int).SetBytes(b)
}

func keyIdentifier(public crypto.PublicKey) []byte {
	der, _ := x509.MarshalPKIXPublicKey(public)
	sum := sha256.Sum256(der)
	return sum[:20]
}

// leaf is a template of a server's certificate.
func leaf(change ...func(*x509.Certificate)) *x509.Certificate {
	now := time.Now().Truncate(time.Second)
	c := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{}, DNSNames: []string{"a.lab.test", "b.lab.test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24*time.Hour - time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		CRLDistributionPoints: []string{"http://pki.lab.test/pki/lab.crl"}, OCSPServer: []string{"http://pki.lab.test/pki/lab/ocsp"},
		IssuingCertificateURL: []string{"http://pki.lab.test/pki/lab.crt"},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// sign makes a certificate.
func (a *authority) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) []byte {
	t.Helper()
	if template.SubjectKeyId == nil {
		template.SubjectKeyId = keyIdentifier(public)
	}
	return must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key))
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// kinds are certificates of all sorts that are issued.
func kinds() map[string]func(*x509.Certificate) {
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	return map[string]func(*x509.Certificate){
		"server": func(*x509.Certificate) {},
		"client": func(c *x509.Certificate) {
			c.DNSNames, c.Subject, c.ExtKeyUsage = nil, pkix.Name{CommonName: "svc"}, []x509.ExtKeyUsage{client}
			c.EmailAddresses = []string{"svc@lab.test"}
		},
		"mutual": func(c *x509.Certificate) {
			c.Subject, c.ExtKeyUsage = pkix.Name{CommonName: "a.lab.test"}, []x509.ExtKeyUsage{server, client}
		},
		"smtp": func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses, c.ExtKeyUsage = []string{"mx.lab.test", "*.lab.test"}, []net.IP{net.IPv4(10, 0, 0, 1).To4(), net.ParseIP("fd00::1")}, []x509.ExtKeyUsage{server, client}
		},
		"postgresql": func(c *x509.Certificate) {
			c.DNSNames, c.Subject, c.ExtKeyUsage = nil, pkix.Name{CommonName: "app_role"}, []x509.ExtKeyUsage{client}
		},
		"spiffe": func(c *x509.Certificate) {
			c.DNSNames, c.URIs, c.ExtKeyUsage = nil, []*url.URL{mustURL("spiffe://lab/ns/default/sa/web_1")}, []x509.ExtKeyUsage{server, client}
		},
		"pkinit": func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []x509.ExtKeyUsage{client}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 2, 3, 4}}
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: kerberosName()}}
		},
		"internal names": func(c *x509.Certificate) {
			c.DNSNames = []string{"db", "web-1.corp", "a.lab.test", "xn--bcher-kva.lab.test"}
		},
		"no points": func(c *x509.Certificate) {
			c.CRLDistributionPoints, c.OCSPServer, c.IssuingCertificateURL = nil, nil, nil
		},
		"long": func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(399 * 24 * time.Hour) },
	}
}

// kerberosName is a SubjectAltName with an otherName (RFC 4556 section 3.2.2).
func kerberosName() []byte {
	general := func(s string) asn1.RawValue { return asn1.RawValue{Tag: 27, Bytes: []byte(s)} }
	type principal struct {
		Type  int             `asn1:"explicit,tag:0"`
		Names []asn1.RawValue `asn1:"explicit,tag:1"`
	}
	realm, _ := asn1.Marshal(general("LAB.TEST"))
	// RawValue ignores explicit, so the realm is wrapped by hand.
	inner, err := asn1.Marshal(struct {
		Realm asn1.RawValue
		Name  principal `asn1:"explicit,tag:1"`
	}{asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: realm}, principal{1, []asn1.RawValue{general("svc")}}})
	if err != nil {
		panic(err)
	}
	id, _ := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 2})
	value, _ := asn1.Marshal(asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: inner})
	other, _ := asn1.Marshal(asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: append(id, value...)})
	san, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: other})
	if err != nil {
		panic(err)
	}
	return san
}

// SPDX-License-Identifier: Apache-2.0

package issuing_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver/issuing"
	"github.com/tallystick/tallystick/internal/lab"
)

// made is a request with its certificate.
func made(t *testing.T, pki *lab.PKI, asked x509.CertificateRequest, got x509.Certificate) (*x509.CertificateRequest, []byte) {
	t.Helper()
	key := lab.NewKey(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &asked, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := issuing.Request(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr, pki.Sign(t, &got, key.Public()).Raw
}

func names(dns ...string) (x509.CertificateRequest, x509.Certificate) {
	return x509.CertificateRequest{DNSNames: dns}, x509.Certificate{DNSNames: dns}
}

// Every order of a good answer gives the same chain, without the root, and without
// what does not belong to it.
func TestOrder(t *testing.T) {
	pki, other := lab.NewPKI(t), lab.NewPKI(t)
	asked, got := names("www.lab.test")
	csr, leaf := made(t, pki, asked, got)
	answer := [][]byte{leaf, pki.Sub.Raw, pki.Root.Raw, other.Sub.Raw, leaf}
	for range 50 {
		first := answer[0]
		answer = append(slices.Clone(answer[1:]), first)
		if first[len(first)-1]%2 == 0 {
			answer[0], answer[2] = answer[2], answer[0]
		}
		chain, err := issuing.Order(csr, answer)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([][]byte{leaf, pki.Sub.Raw}, chain); d != "" {
			t.Fatal(d)
		}
	}
	if chain, err := issuing.Order(csr, [][]byte{leaf}); err != nil || len(chain) != 1 {
		t.Errorf("alone: %d certificates, %v", len(chain), err)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	pki, other := lab.NewPKI(t), lab.NewPKI(t)
	asked, got := names("www.lab.test")
	csr, leaf := made(t, pki, asked, got)
	_, another := made(t, pki, asked, got)
	forged := slices.Clone(leaf)
	forged[len(forged)-1] ^= 1
	for what, answer := range map[string][][]byte{
		"nothing": nil, "another key": {another, pki.Sub.Raw}, "no certificate": {leaf, []byte("x")},
		"only strangers beside it": {leaf, other.Sub.Raw, other.Root.Raw}, "a broken signature": {forged, pki.Sub.Raw},
		"a leaf as the issuer": {leaf, another}, "the root alone": {leaf, pki.Root.Raw}, "too many": slices.Repeat([][]byte{leaf}, 21),
	} {
		if chain, err := issuing.Order(csr, answer); err == nil {
			t.Errorf("%s: %d certificates were taken", what, len(chain))
		}
	}
}

func TestNamesAreCovered(t *testing.T) {
	pki, ip := lab.NewPKI(t), net.IPv4(127, 0, 0, 1)
	for what, c := range map[string]struct {
		asked x509.CertificateRequest
		got   x509.Certificate
		ok    bool
	}{
		"in other letters":      {x509.CertificateRequest{DNSNames: []string{"WWW.lab.test"}}, x509.Certificate{DNSNames: []string{"www.lab.test"}}, true},
		"one more":              {x509.CertificateRequest{DNSNames: []string{"www.lab.test"}}, x509.Certificate{DNSNames: []string{"lab.test", "www.lab.test"}}, true},
		"one less":              {x509.CertificateRequest{DNSNames: []string{"www.lab.test", "lab.test"}}, x509.Certificate{DNSNames: []string{"www.lab.test"}}, false},
		"a wildcard for it":     {x509.CertificateRequest{DNSNames: []string{"www.lab.test"}}, x509.Certificate{DNSNames: []string{"*.lab.test"}}, false},
		"without the address":   {x509.CertificateRequest{DNSNames: []string{"lab.test"}, IPAddresses: []net.IP{ip}}, x509.Certificate{DNSNames: []string{"lab.test"}}, false},
		"the address":           {x509.CertificateRequest{IPAddresses: []net.IP{ip}}, x509.Certificate{IPAddresses: []net.IP{ip.To4()}}, true},
		"the address as a name": {x509.CertificateRequest{IPAddresses: []net.IP{ip}}, x509.Certificate{DNSNames: []string{"lab.test"}}, false},
		"a common name":         {x509.CertificateRequest{Subject: pkix.Name{CommonName: "Alice"}}, x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}, true},
		"a common name, moved":  {x509.CertificateRequest{Subject: pkix.Name{CommonName: "lab.test"}}, x509.Certificate{DNSNames: []string{"lab.test"}}, true},
		"another common name":   {x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}}, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}}, false},
	} {
		csr, leaf := made(t, pki, c.asked, c.got)
		if _, err := issuing.Order(csr, [][]byte{leaf, pki.Sub.Raw}); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzAnswer reads what a CA answers.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", strings.Repeat("-----BEGIN CERTIFICATE-----\n", 30)} {
		f.Add([]byte(seed))
	}
	key, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.lab.test"}}, lab.NewKey(f))
	if err != nil {
		f.Fatal(err)
	}
	csr, err := issuing.Request(key)
	if err != nil {
		f.Fatal(err)
	}
	pki := lab.NewPKI(f)
	f.Add([]byte(lab.CertificatePEM(pki.Sub.Raw, pki.Root.Raw)))
	f.Fuzz(func(t *testing.T, text []byte) {
		answer, err := issuing.PEM(text)
		if err != nil {
			return
		}
		if chain, err := issuing.Order(csr, answer); err == nil {
			t.Errorf("a chain of %d for a key that nobody has", len(chain))
		}
	})
}

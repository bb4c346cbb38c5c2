// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"testing"
)

// FuzzRequest feeds the reader of requests what a stranger might send. Whatever is
// read is compared with a certificate, as a renewal does.
func FuzzRequest(f *testing.F) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"x.example.com"}}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	f.Add([]byte("MIIB\r\nAAAA"))
	own := &x509.Certificate{DNSNames: []string{"x.example.com"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		csr, err := parseRequest(body)
		if err != nil {
			return
		}
		names := requestedNames(csr)
		if covers(own, csr) && len(names.DNS)+len(names.IPs)+len(names.Emails)+len(names.URIs) > 0 && len(csr.DNSNames) == 0 {
			t.Errorf("%+v is within %v", names, own.DNSNames)
		}
		_ = sameNames(csr, own)
	})
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{"TWFu": "Man", "TW\r\nFu\n": "Man", "TWE=": "Ma"} {
		if got, err := decode([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"TWF", "TW-u", "TWF=", "TWFu=", "TW\x00Fu"} { // "TWF=" has bits behind its end
		if got, err := decode([]byte(text)); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/lab"
)

// Whoever makes a request, a certificate is had for what the task is about and for
// nothing else.
func TestWhatARequestMayAskFor(t *testing.T) {
	pki := lab.NewPKI(t)
	old := pki.Localhost(t)
	fresh := lab.NewKey(t)
	subject := pkix.Name{CommonName: "localhost"}
	ip := []net.IP{net.IPv4(127, 0, 0, 1)}
	san := func(tag int, text string) []pkix.Extension {
		value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
	}
	usage := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}
	for name, row := range map[string]struct {
		csr   x509.CertificateRequest
		key   crypto.Signer
		names []string
		want  error
	}{
		"the same names":          {x509.CertificateRequest{Subject: subject, DNSNames: []string{"LOCALHOST"}, IPAddresses: ip}, fresh, nil, nil},
		"fewer names":             {x509.CertificateRequest{Subject: subject}, fresh, nil, nil},
		"those that are asked":    {x509.CertificateRequest{Subject: subject, DNSNames: []string{"b.example.com"}}, fresh, []string{"b.example.com"}, nil},
		"another name":            {x509.CertificateRequest{Subject: subject, DNSNames: []string{"localhost", "boss.example.com"}}, fresh, nil, tallystick.ErrDenied},
		"the old name":            {x509.CertificateRequest{Subject: subject, DNSNames: []string{"localhost"}}, fresh, []string{"b.example.com"}, tallystick.ErrDenied},
		"a name of another sort":  {x509.CertificateRequest{Subject: subject, EmailAddresses: []string{"localhost"}}, fresh, nil, tallystick.ErrDenied},
		"a name that is not read": {x509.CertificateRequest{Subject: subject, ExtraExtensions: san(8, "\x2a\x03")}, fresh, nil, tallystick.ErrDenied},
		"another subject":         {x509.CertificateRequest{Subject: pkix.Name{CommonName: "boss"}}, fresh, nil, tallystick.ErrDenied},
		"a CA":                    {x509.CertificateRequest{Subject: subject, ExtraExtensions: usage}, fresh, nil, tallystick.ErrDenied},
		"the old key":             {x509.CertificateRequest{Subject: subject}, old.Key, nil, tallystick.ErrInvalid},
	} {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &row.csr, row.key)
		if err != nil {
			t.Fatal(err)
		}
		task := doors.Task{Act: tallystick.ActKey, Door: "web1/shop", Old: old.Public, Names: row.names}
		if err := doors.CheckRequest(task, doors.Result{CSR: csr}); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
		csr[len(csr)-1] ^= 1
		if err := doors.CheckRequest(task, doors.Result{CSR: csr}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s with a broken signature: %v", name, err)
		}
	}
	key := pki.Client(t, "x")
	for name, row := range map[string]struct {
		task   doors.Task
		result doors.Result
	}{
		"nothing": {doors.Task{}, doors.Result{}}, "no SSH key": {doors.Task{SSH: true}, doors.Result{SSH: []byte("x")}},
		"a request in place of an SSH key": {doors.Task{SSH: true, Old: key.Public}, doors.Result{CSR: []byte("x")}},
	} {
		if err := doors.CheckRequest(row.task, row.result); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckRequest(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, der []byte) {
		_ = doors.CheckRequest(doors.Task{Old: driver.Public{Chain: [][]byte{der}}}, doors.Result{CSR: der})
		_ = doors.CheckRequest(doors.Task{SSH: true}, doors.Result{SSH: der})
	})
}

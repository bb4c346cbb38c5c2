// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// selfSigned makes a P-256 certificate with openssl and returns its DER.
func selfSigned(t *testing.T, dir string, more ...string) []byte {
	t.Helper()
	args := []string{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "key.pem", "-outform", "DER", "-out", "cert.der", "-days", "30"}
	tool(t, dir, "openssl", append(args, more...)...)
	der, err := os.ReadFile(filepath.Join(dir, "cert.der"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// read is parse.Certificate of one that must not be lost.
func read(t *testing.T, der []byte) tallystick.Credential {
	t.Helper()
	c, err := parse.Certificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateFields(t *testing.T) {
	dir := t.TempDir()
	der := selfSigned(t, dir, "-set_serial", "0x1F", "-multivalue-rdn", "-utf8",
		"-subj", `/C=DE/O=Müller, "Söhne" \+ Co/CN=a.example+UID=7/emailAddress=x@a.example`,
		"-addext", "subjectAltName=DNS:a.example,DNS:*.b.example,IP:192.0.2.1,IP:2001:db8::1,email:x@a.example,URI:spiffe://a/b,otherName:1.2.3;UTF8:x",
		"-addext", "extendedKeyUsage=serverAuth,clientAuth,codeSigning,emailProtection,timeStamping,OCSPSigning,anyExtendedKeyUsage,1.2.3.4",
		"-addext", "1.3.6.1.4.1.11129.2.4.2=DER:0400")
	c := read(t, der)
	want := tallystick.Credential{
		ID: tallystick.FingerprintOf(der), Kind: tallystick.KindCertificate,
		Key:        tallystick.Key{ID: keyID(t, dir), Algorithm: "ecdsa-p256", Bits: 256},
		Subject:    `emailAddress=x@a.example,UID=7+CN=a.example,O=Müller\, \"Söhne\" \+ Co,C=DE`,
		Issuer:     `emailAddress=x@a.example,UID=7+CN=a.example,O=Müller\, \"Söhne\" \+ Co,C=DE`,
		Serial:     "1f",
		Names:      []string{"a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "x@a.example", "spiffe://a/b"},
		Usages:     []string{"server", "client", "code", "email", "time", "ocsp", "any", "1.2.3.4"},
		IsCA:       true,
		SelfIssued: true, Logged: true, Signature: "ecdsa-sha256", Raw: der,
	}
	ignored := cmpopts.IgnoreFields(tallystick.Credential{}, "NotBefore", "NotAfter", "SubjectKeyID", "AuthorityKeyID", "Key.SPKI")
	if d := cmp.Diff(want, c, ignored); d != "" {
		t.Error(d)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sameAsStrict(t, cert, c)
}

func TestSignatureWords(t *testing.T) {
	for flags, word := range map[string]string{
		"-newkey rsa:1024 -sha1":                                "rsa-sha1",
		"-newkey rsa:1024 -md5":                                 "rsa-md5",
		"-newkey rsa:1024 -sha512":                              "rsa-sha512",
		"-newkey rsa:1024 -sha384 -sigopt rsa_padding_mode:pss": "rsa-pss-sha384",
		"-newkey rsa:1024 -sha1 -sigopt rsa_padding_mode:pss":   "rsa-pss-sha1",
		"-newkey ed25519":                                       "ed25519",
	} {
		dir := t.TempDir()
		openssl(t, dir, "req -x509 "+flags+" -nodes -keyout key.pem -outform DER -out cert.der -subj /CN=a")
		der, err := os.ReadFile(filepath.Join(dir, "cert.der"))
		if err != nil {
			t.Fatal(err)
		}
		if c := read(t, der); c.Signature != word {
			t.Errorf("%s: %q", flags, c.Signature)
		}
	}
}

// replace changes bytes of a certificate, found by their hexadecimal form,
// without changing any length.
func replace(t *testing.T, der []byte, old, with string) []byte {
	t.Helper()
	text := hex.EncodeToString(der)
	if !strings.Contains(text, old) || len(old) != len(with) {
		t.Fatalf("%s is not in the certificate", old)
	}
	changed, err := hex.DecodeString(strings.Replace(text, old, with, 1))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// What crypto/x509 refuses is read all the same, with the reason.
func TestOddCertificates(t *testing.T) {
	der := selfSigned(t, t.TempDir(), "-set_serial", "0x1F", "-subj", "/CN=a")
	good := read(t, der)
	end := good.NotAfter.Format("060102150405Z")
	for _, row := range []struct {
		name    string
		der     []byte
		changed func(c *tallystick.Credential) // against the good one
	}{
		{"negative serial", replace(t, der, "02011f", "020181"),
			func(c *tallystick.Credential) { c.Serial = "-7f" }},
		{"unknown curve", replace(t, der, "06082a8648ce3d030107", "06082a8648ce3d030139"),
			func(c *tallystick.Credential) { c.Key.Algorithm, c.Key.Bits = "ecdsa-unknown", 0 }},
		{"trailing bytes", append(bytes.Clone(der), 0, 1, 2),
			func(c *tallystick.Credential) {}},
		{"month 99", replace(t, der, hex.EncodeToString([]byte(end)), hex.EncodeToString([]byte(end[:2]+"99"+end[4:]))),
			func(c *tallystick.Credential) { c.NotAfter = time.Time{} }},
	} {
		want, got := good, read(t, row.der)
		row.changed(&want)
		if got.ReadError == "" {
			t.Errorf("%s: crypto/x509 accepts it", row.name)
		}
		ignored := cmpopts.IgnoreFields(tallystick.Credential{}, "ID", "Raw", "ReadError", "Key.ID", "Key.SPKI")
		if d := cmp.Diff(want, got, ignored); d != "" {
			t.Errorf("%s: %s", row.name, d)
		}
	}
}

// Other things of ASN.1, and nothing at all, are no certificates.
func TestNoCertificate(t *testing.T) {
	for name, der := range map[string]string{
		"nothing": "", "an integer": "020101", "an empty sequence": "3000", "a key": "3003020100", "text": "68656c6c6f",
	} {
		b, err := hex.DecodeString(der)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := parse.Certificate(b); err == nil {
			t.Errorf("%s is read as %+v", name, c)
		}
	}
}

// The certificates of this machine are read by both readers alike.
func TestMachineCertificates(t *testing.T) {
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatalf("%v: install ca-certificates", err)
	}
	for _, der := range certificateBlocks(data) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		sameAsStrict(t, cert, read(t, der))
	}
}

func BenchmarkCertificate(b *testing.B) {
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		b.Fatal(err)
	}
	ders := certificateBlocks(data)
	for i := 0; b.Loop(); i++ {
		if _, err := parse.Certificate(ders[i%len(ders)]); err != nil {
			b.Fatal(err)
		}
	}
}

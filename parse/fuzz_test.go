// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// Where crypto/x509 reads a certificate, the tolerant reader reads the same.
func FuzzCertificate(f *testing.F) {
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := parse.Certificate(der)
		cert, strictErr := x509.ParseCertificate(der)
		if err != nil {
			if surplus := strings.Contains(err.Error(), "more than a certificate") || strings.Contains(err.Error(), "private key"); strictErr == nil && !surplus {
				t.Fatalf("a good certificate is lost: %v", err)
			}
			return
		}
		sound(t, parse.Item{Credential: c, Role: tallystick.RolePresents, Format: "der"})
		if strictErr == nil {
			sameAsStrict(t, cert, c)
		} else if c.ReadError == "" {
			t.Fatalf("crypto/x509 says %v, the credential does not", strictErr)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Fuzz(func(t *testing.T, spki []byte) {
		key, _ := parse.Key(spki)
		if key.ID != tallystick.KeyIDOf(spki) {
			t.Fatal("the identity is not that of the bytes")
		}
		n, e, ok := parse.RSAKey(spki)
		if ok && (n == nil || e == nil) {
			t.Fatal("an RSA key without numbers")
		}
		strict, err := x509.ParsePKIXPublicKey(spki)
		if public, isRSA := strict.(*rsa.PublicKey); err == nil && isRSA && (!ok || n.Cmp(public.N) != 0 || !e.IsInt64() || e.Int64() != int64(public.E)) {
			t.Fatal("crypto/x509 reads another RSA key")
		}
	})
}

func FuzzPEM(f *testing.F)    { fuzzBytes(f, "file.pem") }
func FuzzPKCS7(f *testing.F)  { fuzzBytes(f, "file.p7b") }
func FuzzPKCS12(f *testing.F) { fuzzBytes(f, "file.p12") }
func FuzzJava(f *testing.F)   { fuzzBytes(f, "file.jks") }
func FuzzSSH(f *testing.F)    { fuzzBytes(f, "authorized_keys") }
func FuzzHosts(f *testing.F)  { fuzzBytes(f, "known_hosts") }

// fuzzBytes reads data as a file of that name: it must not panic, and what it
// finds must be sound.
func fuzzBytes(f *testing.F, name string) {
	f.Fuzz(func(t *testing.T, data []byte) {
		parse.Sniff(data[:min(len(data), parse.SniffLength)], name)
		result := parse.Bytes(name, data, nil)
		for _, item := range result.Items {
			sound(t, item)
		}
		for _, problem := range result.Problems {
			if problem.Word == "" || problem.Detail == "" {
				t.Fatalf("a problem says what and where: %+v", problem)
			}
		}
		if len(result.Problems) > 50 {
			t.Fatalf("%d problems", len(result.Problems))
		}
	})
}

// sound checks what every Item promises.
func sound(t *testing.T, item parse.Item) {
	t.Helper()
	c := item.Credential
	if c.ID == "" || c.Kind == "" || item.Role == "" || item.Format == "" {
		t.Fatalf("incomplete: %+v", item)
	}
	if sealed := c.Kind == tallystick.KindSealed; sealed == (len(c.Raw) > 0) || !sealed && tallystick.FingerprintOf(c.Raw) != c.ID {
		t.Fatalf("the fingerprint is not that of the public bytes: %+v", item)
	}
	if len(c.Key.SPKI) > 0 && tallystick.KeyIDOf(c.Key.SPKI) != c.Key.ID {
		t.Fatalf("the key's identity is not that of its bytes: %+v", item)
	}
	if _, err := json.Marshal(item); err != nil {
		t.Fatalf("it cannot be written as JSON: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"crypto/elliptic"
	"crypto/x509"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"
)

func benchmarkCertificate(b *testing.B) (*authority, []byte) {
	ca, key := newAuthority(b, newECDSA(b, elliptic.P256())), newECDSA(b, elliptic.P256())
	return ca, ca.sign(b, leaf(), &key.PublicKey)
}

// One certificate through all lints.
func BenchmarkLints(b *testing.B) {
	l := newLinter(b)
	_, der := benchmarkCertificate(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Lints(der); err != nil {
			b.Fatal(err)
		}
	}
}

// Of that, reading it as zlint wants it.
func BenchmarkParse(b *testing.B) {
	_, der := benchmarkCertificate(b)
	for b.Loop() {
		if _, err := zx509.ParseCertificate(der); err != nil {
			b.Fatal(err)
		}
	}
}

// The same lints as zlint itself would run them.
func BenchmarkPlain(b *testing.B) {
	l := newLinter(b)
	_, der := benchmarkCertificate(b)
	config := zlint.NewEmptyConfig()
	for b.Loop() {
		c, err := zx509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		for i := range l.lints {
			l.lints[i].Execute(c, config)
		}
	}
}

// All lints that there are.
func BenchmarkEverything(b *testing.B) {
	_, der := benchmarkCertificate(b)
	config := zlint.NewEmptyConfig()
	lints := zlint.GlobalRegistry().CertificateLints().Lints()
	for b.Loop() {
		c, err := zx509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		for _, one := range lints {
			one.Execute(c, config)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	ca, der := benchmarkCertificate(b)
	want := Expect{Issuer: ca.certificate, Usage: x509.KeyUsageDigitalSignature, Purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for b.Loop() {
		if _, err := Check(der, want); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckKey(b *testing.B) {
	p256, ed, short, long := newECDSA(b, elliptic.P256()), newEd25519(b), newRSA(b, 2048), newRSA(b, 4096)
	for name, key := range map[string]any{"p256": &p256.PublicKey, "ed25519": ed.Public(), "rsa2048": &short.PublicKey, "rsa4096": &long.PublicKey} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := CheckKey(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// A PKI is a root and an intermediate with their keys, made for one test.
type PKI struct {
	Dir               string
	Root, Sub         *x509.Certificate
	RootKey, SubKey   *ecdsa.PrivateKey
	RootFile, SubFile string // certificates, PEM
	SubKeyFile        string // PEM
}

// NewPKI makes one in a directory of its own.
func NewPKI(t TB) *PKI {
	t.Helper()
	p := &PKI{Dir: t.TempDir(), RootKey: NewKey(t)}
	p.Root = certify(t, authority("Lab Root"), nil, p.RootKey, &p.RootKey.PublicKey)
	p.RootFile = write(t, p.Dir, "root.pem", CertificatePEM(p.Root.Raw))
	p.certifySub(t, "Lab Intermediate")
	return p
}

// Another makes another intermediate of the same root, with its files in a directory of its own.
func (p *PKI) Another(t TB) *PKI {
	t.Helper()
	another := &PKI{Dir: t.TempDir(), Root: p.Root, RootKey: p.RootKey, RootFile: p.RootFile}
	another.certifySub(t, "Another Lab Intermediate")
	return another
}

func (p *PKI) certifySub(t TB, name string) {
	t.Helper()
	p.SubKey = NewKey(t)
	p.Sub = certify(t, authority(name), p.Root, p.RootKey, &p.SubKey.PublicKey)
	p.SubFile = write(t, p.Dir, "intermediate.pem", CertificatePEM(p.Sub.Raw))
	p.SubKeyFile = write(t, p.Dir, "intermediate.key", KeyPEM(t, p.SubKey))
}

// Server makes a certificate of the intermediate for localhost and 127.0.0.1. It
// returns the files of the chain and of the key.
func (p *PKI) Server(t TB) (chain, key string) {
	t.Helper()
	k := NewKey(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf := certify(t, template, p.Sub, p.SubKey, &k.PublicKey)
	chain = write(t, p.Dir, "server.pem", CertificatePEM(leaf.Raw)+CertificatePEM(p.Sub.Raw))
	return chain, write(t, p.Dir, "server.key", KeyPEM(t, k))
}

// Sign makes a certificate of the intermediate from a template, whose serial
// number and validity it fills in where they are missing.
func (p *PKI) Sign(t TB, template *x509.Certificate, public any) *x509.Certificate {
	t.Helper()
	return certify(t, template, p.Sub, p.SubKey, public)
}

// certify signs a template; without a parent it is its own.
func certify(t TB, template, parent *x509.Certificate, signer crypto.Signer, public any) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	var err error
	if template.SerialNumber == nil {
		if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
			t.Fatal(err)
		}
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 30)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// NewKey makes a key on P-256.
func NewKey(t TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// NewRSAKey makes one of RSA. Many programs refuse fewer than 2048 bits.
func NewRSAKey(t TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// CertificatePEM writes certificates as PEM.
func CertificatePEM(ders ...[]byte) string {
	var text strings.Builder
	for _, der := range ders {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return text.String()
}

// KeyPEM writes a private key as PEM (PKCS #8).
func KeyPEM(t TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// File puts text into a new file of the test's own and returns its path.
func File(t TB, name, text string) string {
	t.Helper()
	return write(t, t.TempDir(), filepath.Base(name), text)
}

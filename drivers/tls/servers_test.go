// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto"
	"crypto/rand"
	gotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/internal/lab"
)

// A pki is a root, an intermediate and a leaf for localhost and 127.0.0.1, in
// a directory and in memory.
type pki struct {
	dir                      string
	key, leaf, intermediate  string // paths
	root                     string
	certificate              gotls.Certificate // leaf and intermediate
	keyText                  string            // of the leaf's private key, which must stay unseen
	leafDER, intermediateDER []byte
}

func newPKI(t *testing.T) pki {
	t.Helper()
	p := pki{dir: t.TempDir()}
	rootKey, intermediateKey, leafKey := lab.NewKey(t), lab.NewKey(t), lab.NewRSAKey(t, 2048)
	root := template("Test Root", true)
	rootDER := sign(t, root, root, rootKey.Public(), rootKey)
	intermediate := template("Test Intermediate", true)
	p.intermediateDER = sign(t, intermediate, root, intermediateKey.Public(), rootKey)
	leaf := template("Test Leaf", false)
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	p.leafDER = sign(t, leaf, intermediate, leafKey.Public(), intermediateKey)
	p.certificate = gotls.Certificate{Certificate: [][]byte{p.leafDER, p.intermediateDER}, PrivateKey: leafKey}

	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	p.key, p.keyText = writePEM(t, p.dir, "key.pem", "PRIVATE KEY", keyDER)
	p.leaf, _ = writePEM(t, p.dir, "leaf.pem", "CERTIFICATE", p.leafDER)
	p.intermediate, _ = writePEM(t, p.dir, "intermediate.pem", "CERTIFICATE", p.intermediateDER)
	p.root, _ = writePEM(t, p.dir, "root.pem", "CERTIFICATE", rootDER)
	return p
}

func template(name string, isCA bool) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(0, 0, -10), NotAfter: now.AddDate(0, 0, 80),
		BasicConstraintsValid: true, IsCA: isCA,
	}
	if isCA {
		c.KeyUsage = x509.KeyUsageCertSign
	}
	return c
}

func sign(t *testing.T, c, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) (path, text string) {
	t.Helper()
	path, text = filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, text
}

// opensslServer starts openssl s_server and returns where it listens.
func opensslServer(t *testing.T, arguments ...string) string {
	t.Helper()
	address := lab.Loopback(lab.FreePort(t))
	lab.Start(t, t.TempDir(), nil, append([]string{lab.Program(t, "openssl"), "s_server", "-accept", address, "-www"}, arguments...), address)
	return address
}

// nobody is an address of loopback where nothing listens, nor will while other
// tests take free ports.
const nobody = "127.99.0.1:1"

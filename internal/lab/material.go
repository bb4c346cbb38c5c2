// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// OpenDir makes a directory of the test's own whose path is short enough for UNIX
// sockets, and into which the users that servers change to may go.
func OpenDir(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// OwnedDir makes a directory that belongs to a user, as far as the test may give things away.
func OwnedDir(t TB, path, owner string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return path
	}
	who, err := user.Lookup(owner)
	if err != nil {
		t.Fatalf("run scripts/test-tools, which brings the server with its user: %v", err)
	}
	uid, _ := strconv.Atoi(who.Uid) // both are numbers here
	gid, _ := strconv.Atoi(who.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	return path
}

// Localhost makes a server's certificate for localhost and 127.0.0.1 with its key.
func (p *PKI) Localhost(t TB) driver.Material {
	t.Helper()
	return p.LocalhostOf(t, NewKey(t))
}

// LocalhostOf makes the same of a key that is there.
func (p *PKI) LocalhostOf(t TB, key crypto.Signer) driver.Material {
	t.Helper()
	leaf := p.Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, p.Sub.Raw}}, Key: key}
}

// Client makes a client's certificate with its key.
func (p *PKI) Client(t TB, commonName string) driver.Material {
	t.Helper()
	return p.Material(t, &x509.Certificate{
		Subject:  pkix.Name{CommonName: commonName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// WithRoot is a credential with its root in the chain, as a caller has it who hands over all CAs.
func (p *PKI) WithRoot(m driver.Material) driver.Material {
	m.Chain = append(slices.Clone(m.Chain), p.Root.Raw)
	return m
}

// ClientConfig is of a client that trusts the root alone, and shows a credential, unless that
// has no key, whatever authorities the server names.
func (p *PKI) ClientConfig(m driver.Material) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(p.Root)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if m.Key != nil {
		pair := &tls.Certificate{Certificate: m.Chain, PrivateKey: m.Key}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return config
}

// Material makes a certificate of the intermediate, with it above and a new key.
func (p *PKI) Material(t TB, template *x509.Certificate) driver.Material {
	t.Helper()
	key := NewKey(t)
	leaf := p.Sign(t, template, &key.PublicKey)
	return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, p.Sub.Raw}}, Key: key}
}

// CRLs makes a list of each CA, DER, the intermediate's first: it has the revoked.
// Their numbers are those of the clock, so that a later list is a newer one.
func (p *PKI) CRLs(t TB, revoked ...driver.Public) [][]byte {
	t.Helper()
	now := time.Now()
	list := &x509.RevocationList{Number: big.NewInt(now.UnixNano()), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.AddDate(0, 0, 7)}
	above, err := x509.CreateRevocationList(rand.Reader, list, p.Root, p.RootKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range revoked {
		leaf, err := x509.ParseCertificate(one.Chain[0])
		if err != nil {
			t.Fatal(err)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: leaf.SerialNumber, RevocationTime: list.ThisUpdate})
	}
	below, err := x509.CreateRevocationList(rand.Reader, list, p.Sub, p.SubKey)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{below, above}
}

// MaterialPEM writes certificates and key of a credential as PEM, for servers that
// read both from one file or each from its own.
func MaterialPEM(t TB, m driver.Material) (chain, key string) {
	t.Helper()
	return CertificatePEM(m.Chain...), KeyPEM(t, m.Key)
}

// BundlePEM writes both into one, the certificates first.
func BundlePEM(t TB, m driver.Material) string {
	t.Helper()
	chain, key := MaterialPEM(t, m)
	return chain + key
}

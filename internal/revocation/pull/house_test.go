// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An authority is a CA with its key.
type authority struct {
	id   int64
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A house is a root with a CA below it, whose lists are published.
type house struct {
	*testing.T
	dir       string
	root, lab *authority
	db        *store.DB
	publisher *revocation.Publisher
	base      string
	now       time.Time
	serial    byte
}

func newHouse(t *testing.T) *house {
	h := &house{T: t, now: time.Now()}
	// Servers run as another user, who must be able to come in.
	var err error
	h.dir, err = os.MkdirTemp("", "tally-pull-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(h.dir)) })
	must(t, os.Chmod(h.dir, 0o755))
	h.root = h.newAuthority(1, "root", nil)
	h.lab = h.newAuthority(2, "lab", h.root)
	h.db = storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	h.publisher = revocation.New(revocation.Config{
		DB: h.db, Now: func() time.Time { return h.now }, URL: "http://pki.example",
		Authorities: func(context.Context) ([]revocation.Authority, error) {
			return []revocation.Authority{{ID: 1, Name: "root", Certificate: h.root.cert}, {ID: 2, Name: "lab", Certificate: h.lab.cert}}, nil
		},
		Signer: func(_ context.Context, name string) (crypto.Signer, error) {
			if name == "root" {
				return h.root.key, nil
			}
			return h.lab.key, nil
		},
	})
	server := httptest.NewServer(h.publisher.Handler())
	t.Cleanup(server.Close)
	h.base = server.URL
	h.write("ca.pem", "CERTIFICATE", h.lab.cert.Raw, h.root.cert.Raw)
	must(t, h.publisher.Flush(t.Context()))
	return h
}

func (h *house) newAuthority(id int64, name string, parent *authority) *authority {
	a := &authority{id: id, name: name}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(h, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(id), Subject: pkix.Name{CommonName: "Tally  " + name, Organization: []string{"Lab É"}},
		NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = &authority{cert: template, key: a.key}
	}
	a.cert = h.sign(template, parent, a.key)
	return a
}

func (h *house) sign(template *x509.Certificate, by *authority, key *ecdsa.PrivateKey) *x509.Certificate {
	h.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	must(h, err)
	c, err := x509.ParseCertificate(der)
	must(h, err)
	return c
}

// issue makes a certificate of the lower CA for a client or server, and writes it.
func (h *house) issue(name string) tls.Certificate {
	h.Helper()
	h.serial++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(h, err)
	serial := append([]byte{0x81, h.serial}, make([]byte, 14)...)
	c := h.sign(&x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, h.lab, key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(h, err)
	h.write(name+".pem", "CERTIFICATE", c.Raw, h.lab.cert.Raw)
	h.write(name+".key", "PRIVATE KEY", pkcs8)
	return tls.Certificate{Certificate: [][]byte{c.Raw, h.lab.cert.Raw}, PrivateKey: key, Leaf: c}
}

func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

func (h *house) write(name, kind string, ders ...[]byte) {
	h.Helper()
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	must(h, os.WriteFile(h.path(name), text, 0o600))
}

// revoke revokes a certificate, and publishes that.
func (h *house) revoke(c tls.Certificate) {
	h.Helper()
	_, err := h.db.Revoke(h.Context(), []store.Revocation{{Authority: 2, Serial: c.Leaf.SerialNumber.Bytes(), Shard: store.CompleteList,
		At: h.now, Reason: 1, NotAfter: c.Leaf.NotAfter, By: "alice"}})
	must(h, err)
	must(h, h.publisher.Flush(h.Context()))
}

// config brings the lists of both CAs into a file.
func (h *house) config(changed func(context.Context) error) Config {
	return Config{URLs: []string{h.base + "/pki/lab.crl", h.base + "/pki/root.crl"}, CAs: []*x509.Certificate{h.lab.cert, h.root.cert},
		Out: h.path("crl.pem"), Now: func() time.Time { return h.now }, Changed: changed}
}

func (h *house) pull(c Config) Result {
	h.Helper()
	r, err := New(c).Pull(h.Context())
	must(h, err)
	return r
}

// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/est"
	"github.com/tallystick/tallystick/internal/gate"
)

// An authority signs with a root of its own and remembers what it signed: as
// much of a CA as EST sees of one.
type authority struct {
	key  crypto.Signer
	root *x509.Certificate

	mu       sync.Mutex
	requests []ca.Request
	who      []gate.Actor
	issued   map[ca.Serial]ca.Certificate
	err      error // what Issue answers, if not nil
	expired  bool  // makes certificates that were valid yesterday
	purposes []x509.ExtKeyUsage
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Lab root"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key: key, root: root, issued: map[ca.Serial]ca.Certificate{}, purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
}

// KeyRefused refuses none.
func (a *authority) KeyRefused(context.Context, tallystick.KeyID) error { return nil }

func (a *authority) Issue(_ context.Context, who gate.Actor, request ca.Request) (ca.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests, a.who = append(a.requests, request), append(a.who, who)
	if a.err != nil {
		return ca.Certificate{}, a.err
	}
	csr, err := x509.ParseCertificateRequest(request.CSR)
	if err != nil {
		return ca.Certificate{}, err
	}
	if err := csr.CheckSignature(); err != nil {
		return ca.Certificate{}, fmt.Errorf("%w: %w", ca.ErrBadCSR, err)
	}
	return a.sign(csr.PublicKey, csr.Subject, csr.DNSNames, csr.IPAddresses)
}

func (a *authority) sign(key crypto.PublicKey, subject pkix.Name, dns []string, ips []net.IP) (ca.Certificate, error) {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	serial[0] = 1
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: subject, DNSNames: dns, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: a.purposes,
	}
	if a.expired {
		template.NotBefore, template.NotAfter = time.Now().Add(-25*time.Hour), time.Now().Add(-24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key, a.key)
	if err != nil {
		return ca.Certificate{}, err
	}
	sum := sha256.Sum256(der)
	c := ca.Certificate{Serial: ca.Serial(hex.EncodeToString(serial)), Authority: "lab", Profile: "mtls", DER: der,
		SHA256: hex.EncodeToString(sum[:]), Names: ca.Names{CommonName: subject.CommonName, DNS: dns}}
	a.issued[c.Serial] = c
	return c, nil
}

func (a *authority) Find(_ context.Context, serial ca.Serial) (ca.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.issued[serial]
	if !ok {
		return c, tallystick.ErrNotFound
	}
	return c, nil
}

func (a *authority) Signing(ctx context.Context, name, _ string) (ca.Authority, error) {
	list, _ := a.Authorities(ctx)
	i := slices.IndexFunc(list, func(a ca.Authority) bool { return a.Name == name })
	if i < 0 {
		return ca.Authority{}, fmt.Errorf("%w: there is no CA %q", tallystick.ErrNotFound, name)
	}
	return list[i], nil
}

// Authorities are one with its successor, one of somebody else's, and one that
// follows a CA that was lost.
func (a *authority) Authorities(context.Context) ([]ca.Authority, error) {
	list := []ca.Authority{
		{Name: "lab", State: ca.Retired}, {Name: "lab-2", Follows: "lab", State: ca.Active}, {Name: "other", State: ca.Active},
		{Name: "lost", Follows: "lab", State: ca.Compromised}, {Name: "after", Follows: "lost", State: ca.Active},
	}
	for i := range list {
		list[i].Certificate = a.root.Raw
	}
	return list, nil
}

func (a *authority) Alternates(context.Context, string) ([][][]byte, error) { return nil, nil }

// tokens lets one secret in.
type tokens string

func (t tokens) Token(_ context.Context, secret, from string) (gate.Actor, error) {
	if secret != string(t) || from != "127.0.0.1" {
		return gate.Actor{}, tallystick.ErrUnsigned
	}
	return gate.Actor{Name: "bootstrap", Role: gate.Client, Via: "token 1"}, nil
}

// secret is the token of the tests.
const secret = "tally_secret"

// serve starts an EST server. dir holds root.pem for clients.
func serve(t *testing.T, a *authority, keys ...string) (url, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, err := a.sign(key.Public(), pkix.Name{CommonName: "localhost"}, []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(est.New(est.Config{CA: a, Access: tokens(secret), Default: "lab", Profile: "mtls", Keys: keys, Now: time.Now}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{{Certificate: [][]byte{own.DER}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	dir = t.TempDir()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	if err := os.WriteFile(filepath.Join(dir, "root.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL + est.Root, dir
}

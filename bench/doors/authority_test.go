// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// A pki is a root with two CAs beneath it: the one that is burnt, and the one that makes
// the certificates that come after it.
type pki struct {
	*lab.PKI // the burnt one
	next     *lab.PKI
	t        testing.TB

	mu      sync.Mutex
	made    map[string][][]byte // guarded by mu, as is all below; by order
	revoked []driver.Public
	burnt   map[tallystick.Fingerprint]bool
	lists   [][]byte // of the burnt one; nil when they are to be made again
	fresh   [][]byte // of the next
}

func newPKI(t testing.TB) *pki {
	old, key := lab.NewPKI(t), lab.NewKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Lab Intermediate 2"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}, old.Root, &key.PublicKey, old.RootKey)
	if err != nil {
		t.Fatal(err)
	}
	next := *old
	if next.Sub, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	next.SubKey = key
	return &pki{PKI: old, next: &next, t: t, made: map[string][][]byte{}, burnt: map[tallystick.Fingerprint]bool{}, fresh: next.CRLs(t)}
}

// Issue makes a certificate of the next CA, one for each order however often it is asked.
func (p *pki) Issue(_ context.Context, r driver.IssueRequest) (driver.Issued, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made[r.Order] == nil {
		csr, err := x509.ParseCertificateRequest(r.CSR)
		if err != nil {
			return driver.Issued{}, err
		}
		usage := x509.ExtKeyUsageServerAuth
		if r.Profile == "client" {
			usage = x509.ExtKeyUsageClientAuth
		}
		c := p.next.Sign(p.t, &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, csr.PublicKey)
		p.made[r.Order] = [][]byte{c.Raw, p.next.Sub.Raw}
	}
	return driver.Issued{Chain: p.made[r.Order]}, nil
}

// Revoke is driver.Revoker.
func (p *pki) Revoke(_ context.Context, r driver.RevokeRequest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := tallystick.FingerprintOf(r.Certificate); !p.burnt[f] {
		p.burnt[f], p.lists = true, nil
		p.revoked = append(p.revoked, driver.Public{Chain: [][]byte{r.Certificate}})
	}
	return nil
}

// published is what a recall reads of the CAs (recall.Revoker).
type published struct{ *pki }

// Revoke is not called: the issuer of the doors is asked.
func (p published) Revoke(context.Context, [][]byte, tallystick.Recall) error {
	return tallystick.ErrNotFound
}

// Lists returns those of the CA that signed it, and of the root.
func (p published) Lists(_ context.Context, of driver.Public) ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signedByNext(of) {
		return p.fresh, nil
	}
	if p.lists == nil {
		p.lists = p.CRLs(p.t, p.revoked...)
	}
	return p.lists, nil
}

// Authorities returns the CA that signed it, and the root.
func (p published) Authorities(_ context.Context, of driver.Public) ([][]byte, error) {
	sub := p.Sub
	if p.signedByNext(of) {
		sub = p.next.Sub
	}
	return [][]byte{sub.Raw, p.Root.Raw}, nil
}

// Burnt says what is revoked.
func (p published) Burnt(_ context.Context, of driver.Public) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(of.Chain) > 0 && p.burnt[tallystick.FingerprintOf(of.Chain[0])] {
		return "it is revoked", nil
	}
	return "", nil
}

func (p *pki) signedByNext(of driver.Public) bool {
	if len(of.Chain) == 0 {
		return false
	}
	c, err := x509.ParseCertificate(of.Chain[0])
	return err == nil && c.CheckSignatureFrom(p.next.Sub) == nil
}

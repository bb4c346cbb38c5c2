// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/x509"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// An Issuer is CAs as an issuer of the configuration: the last of them makes certificates,
// one for each order however often it is asked (driver.Issuer), and what any of them has
// made can be revoked (driver.Revoker).
type Issuer struct {
	t   TB
	cas []*PKI

	mu      sync.Mutex
	made    map[string][][]byte // guarded by mu, as is all below; chains by order
	revoked map[*PKI][]driver.Public
	lists   map[*PKI][][]byte // absent when they are to be made again
}

// NewIssuer returns one of these CAs; what none of them has signed counts as the first's.
func NewIssuer(t TB, cas ...*PKI) *Issuer {
	return &Issuer{t: t, cas: cas, made: map[string][][]byte{}, revoked: map[*PKI][]driver.Public{}, lists: map[*PKI][][]byte{}}
}

// Issue makes a certificate for servers, or with the profile "client" one for clients.
func (i *Issuer) Issue(_ context.Context, r driver.IssueRequest) (driver.Issued, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.made[r.Order] == nil {
		csr, err := x509.ParseCertificateRequest(r.CSR)
		if err != nil {
			return driver.Issued{}, err
		}
		usage := x509.ExtKeyUsageServerAuth
		if r.Profile == "client" {
			usage = x509.ExtKeyUsageClientAuth
		}
		ca := i.cas[len(i.cas)-1]
		c := ca.Sign(i.t, &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, csr.PublicKey)
		i.made[r.Order] = [][]byte{c.Raw, ca.Sub.Raw}
	}
	return driver.Issued{Chain: i.made[r.Order]}, nil
}

// Revoke puts a certificate on the list of its CA, unless it is there.
func (i *Issuer) Revoke(_ context.Context, r driver.RevokeRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := driver.Public{Chain: [][]byte{r.Certificate}}
	if ca := i.signer(p); !i.hasRevoked(ca, p) {
		i.revoked[ca] = append(i.revoked[ca], p)
		delete(i.lists, ca)
	}
	return nil
}

// signer returns the CA of a certificate.
func (i *Issuer) signer(p driver.Public) *PKI {
	if len(p.Chain) > 0 {
		if c, err := x509.ParseCertificate(p.Chain[0]); err == nil {
			for _, ca := range i.cas[1:] {
				if c.CheckSignatureFrom(ca.Sub) == nil {
					return ca
				}
			}
		}
	}
	return i.cas[0]
}

// hasRevoked is called with mu held.
func (i *Issuer) hasRevoked(ca *PKI, p driver.Public) bool {
	return slices.ContainsFunc(i.revoked[ca], p.Is)
}

// Published is what a recall reads of the CAs (recall.Revoker).
type Published struct{ *Issuer }

// Revoke revokes each of the certificates (DER).
func (p Published) Revoke(ctx context.Context, certificates [][]byte, _ tallystick.Recall) error {
	for _, der := range certificates {
		if err := p.Issuer.Revoke(ctx, driver.RevokeRequest{Certificate: der}); err != nil {
			return err
		}
	}
	return nil
}

// Lists returns those of the CA that signed it, and of the root.
func (p Published) Lists(_ context.Context, of driver.Public) ([][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ca := p.signer(of)
	if p.lists[ca] == nil {
		p.lists[ca] = ca.CRLs(p.t, p.revoked[ca]...)
	}
	return p.lists[ca], nil
}

// Authorities returns the CA that signed it, and the root.
func (p Published) Authorities(_ context.Context, of driver.Public) ([][]byte, error) {
	ca := p.signer(of)
	return [][]byte{ca.Sub.Raw, ca.Root.Raw}, nil
}

// Burnt says what is revoked.
func (p Published) Burnt(_ context.Context, of driver.Public) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hasRevoked(p.signer(of), of) {
		return "it is revoked", nil
	}
	return "", nil
}

// SPDX-License-Identifier: Apache-2.0

package recalltest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A Desk is a CA of somebody else's. An order that it was told of is made once, however
// often it is asked for; one that nobody can name any more is made again, as by a real one.
type Desk struct {
	CA  *x509.Certificate
	key *ecdsa.PrivateKey

	last atomic.Int64 // serial number

	mu      sync.Mutex
	orders  map[string][]byte // guarded by mu; certificates by what the desk calls the order
	named   map[string]int    // guarded by mu; certificates by the name that we gave the order
	revoked map[string]bool   // guarded by mu; by fingerprint
	fault   func(order string, after bool) error
}

// NewDesk returns a CA with a new key.
func NewDesk() (*Desk, error) {
	d := &Desk{orders: map[string][]byte{}, named: map[string]int{}, revoked: map[string]bool{}}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "Desk"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, der, err := d.make(t, nil)
	if err != nil {
		return nil, err
	}
	d.key = key
	d.CA, err = x509.ParseCertificate(der)
	return d, err
}

// make signs a certificate for a public key, or for a new one.
func (d *Desk) make(t *x509.Certificate, public any) (*ecdsa.PrivateKey, []byte, error) {
	var key *ecdsa.PrivateKey
	if public == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, err
		}
		public = key.Public()
	}
	t.SerialNumber = big.NewInt(d.last.Add(1))
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour)
	parent, signer := d.CA, d.key
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, signer)
	return key, der, err
}

// Certify makes a certificate of a name for a public key, or with nil for a new one.
func (d *Desk) Certify(name string, public any) (driver.Public, error) {
	_, der, err := d.make(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, public)
	return driver.Public{Chain: [][]byte{der}}, err
}

// SetFault says when the desk fails from now on: before anything is made, or after.
func (d *Desk) SetFault(f func(order string, after bool) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// Issue makes the certificate of an order.
func (d *Desk) Issue(_ context.Context, r driver.IssueRequest) (driver.Issued, error) {
	d.mu.Lock()
	fault := d.fault
	d.mu.Unlock()
	if fault != nil {
		if err := fault(r.Order, false); err != nil {
			return driver.Issued{}, err
		}
	}
	if r.State == "" {
		r.State = rand.Text()
		if err := r.Keep(r.State); err != nil {
			return driver.Issued{}, err
		}
	}
	der, err := d.order(r)
	if err == nil && fault != nil {
		err = fault(r.Order, true)
	}
	return driver.Issued{Chain: [][]byte{der}}, err
}

func (d *Desk) order(r driver.IssueRequest) ([]byte, error) {
	d.mu.Lock()
	made := d.orders[r.State]
	d.mu.Unlock()
	if made != nil {
		return made, nil
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
	}
	_, der, err := d.make(&x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames}, csr.PublicKey)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if made := d.orders[r.State]; made != nil {
		return made, nil
	}
	d.orders[r.State] = der
	d.named[r.Order]++
	return der, nil
}

// Revoke revokes.
func (d *Desk) Revoke(_ context.Context, r driver.RevokeRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := string(tallystick.FingerprintOf(r.Certificate))
	for _, after := range []bool{false, true} {
		if d.fault != nil {
			if err := d.fault("revoke "+name, after); err != nil {
				return err
			}
		}
		d.revoked[name] = true
	}
	return nil
}

// Revoked says whether a certificate is revoked.
func (d *Desk) Revoked(p driver.Public) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revoked[fingerprint(p)]
}

// Twice returns the orders for which more than one certificate was made, and Made how
// many certificates were.
func (d *Desk) Twice() (twice []string, made int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, n := range d.named {
		made += n
		if n > 1 {
			twice = append(twice, name)
		}
	}
	return twice, made
}

// NewKey returns a new key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

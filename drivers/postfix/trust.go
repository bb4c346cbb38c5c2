// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
)

// Trust adds the fingerprint of the new certificate to every table of relay_clientcerts
// that has the other one, with the same right-hand side. Where every certificate of a CA
// gets in, there is nothing to add.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	if err := d.servesOnly("let a further client in"); err != nil {
		return driver.Changed{}, err
	}
	h := request.Host
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.Changed{}, err
	}
	all, _ := c.accesses()
	clients := tables(all, access.clientTables)
	edits, err := readAll(ctx, h, clients)
	if err != nil {
		return driver.Changed{}, err
	}
	listed := false
	for i := range edits {
		one, err := edits[i].trust(request)
		if err != nil {
			return driver.Changed{}, err
		}
		listed = listed || one
	}
	if !listed && !request.Withdraw {
		return driver.Changed{}, d.trustByAuthority(ctx, h, c, all, request)
	}
	denied, err := readAll(ctx, h, tables(all, access.deniedTables))
	if err != nil {
		return driver.Changed{}, err
	}
	return d.put(ctx, h, append(edits, denied...))
}

// trust edits a table, and says whether one of the two gets in by it.
func (e *edit) trust(request driver.TrustRequest) (listed bool, err error) {
	next, _, err := prints(e.digest, request.New)
	if err != nil {
		return false, err
	}
	if request.Withdraw {
		e.text = withdraw(e.text, next)
		e.wants(next)
		return true, nil
	}
	if _, there := lookup(e.text, next); there {
		e.wants(next)
		return true, nil
	}
	certificate, key, err := prints(e.digest, request.Like)
	if err != nil {
		return false, fmt.Errorf("%w: %w", tallystick.ErrNotFound, err)
	}
	like, there := lookup(e.text, certificate)
	if !there {
		like, there = lookup(e.text, key)
	}
	if there {
		e.text = add(e.text, next, like.value)
		e.wants(next)
	}
	return there, nil
}

// wants notes what a key leads to by the text.
func (e *edit) wants(key string) {
	found, _ := lookup(e.text, key)
	e.want[key] = found.value
}

// trustByAuthority looks whether both get in because of the CA that signed them.
func (d *door) trustByAuthority(ctx context.Context, h driver.Host, c *configuration, all []access, request driver.TrustRequest) error {
	anybody := false
	for _, a := range all {
		anybody = anybody || a.anybody
	}
	ders, err := d.authorities(ctx, h, c)
	if err != nil {
		return err
	}
	var trusted []*x509.Certificate
	for _, der := range ders {
		if ca, err := x509.ParseCertificate(der); err == nil {
			trusted = append(trusted, ca)
		}
	}
	if !anybody || blocking.Trusted(request.Like.Chain, trusted, request.Now()) != nil {
		return fmt.Errorf("%w: Postfix does not let in the certificate whose rights the new one should get", tallystick.ErrNotFound)
	}
	if err := blocking.Trusted(request.New.Chain, trusted, request.Now()); err != nil {
		return invalid("Postfix lets in certificates of the CAs in smtpd_tls_CAfile, and the new one is of none of them: %v", err)
	}
	return nil
}

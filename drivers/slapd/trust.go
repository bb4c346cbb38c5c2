// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// lets says whether the CAs let a certificate in at a time. GnuTLS ends a chain at whatever
// it finds among the CAs, and asks for no purpose.
func lets(chain [][]byte, cas []*x509.Certificate, at time.Time) error {
	if len(chain) == 0 {
		return invalid("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return invalid("couldn't read the certificate: %v", err)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, ca := range cas {
		options.Roots.AddCert(ca)
	}
	for _, der := range chain[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(c)
		}
	}
	_, err = leaf.Verify(options)
	return err
}

// Trust lets a credential in whose subject is that of the credential that it comes after,
// because slapd makes the entry that a client acts as from its subject. Where its CA is
// not one of slapd's, that is added.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	s, err := d.dial(ctx, request.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	defer s.Close()
	now, err := s.settings()
	if err != nil {
		return driver.Changed{}, err
	}
	if now.ca == "" || now.verify == "" || now.verify == "never" {
		return driver.Changed{}, fmt.Errorf("%w: slapd lets nobody in by certificate (%s, %s)", tallystick.ErrNotFound, attrCA, attrVerify)
	}
	text, err := request.Host.ReadFile(ctx, now.ca, blocking.MaxFile)
	if err != nil {
		return driver.Changed{}, err
	}
	if !request.Withdraw {
		if err := lets(request.Like.Chain, blocking.ReadCertificates(text), request.Now()); err != nil {
			return driver.Changed{}, fmt.Errorf("%w: slapd does not let in the certificate that the new one shall be like: %w", tallystick.ErrNotFound, err)
		}
		if err := sameSubject(request.New, request.Like); err != nil {
			return driver.Changed{}, err
		}
	}
	next := blocking.WithdrawAuthorities(text, request.New)
	if !request.Withdraw {
		next, err = blocking.AddAuthorities(text, request.New, request.Authorities, func(cas []*x509.Certificate) error {
			return lets(request.New.Chain, cas, request.Now())
		})
		if err != nil {
			return driver.Changed{}, err
		}
	}
	listeners, err := d.where(s)
	if err != nil {
		return driver.Changed{}, err
	}
	unread, err := now.unread(ctx, request.Host, now.ca)
	if err != nil {
		return driver.Changed{}, err
	}
	changed, err := d.do(ctx, request.Host, s, change{
		files: []installing.File{{Path: now.ca, Content: next, Mode: 0o644}},
		sets:  now.all(), back: now.all(), reread: unread, now: request.Now, listeners: listeners,
	})
	if err != nil || !changed {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{"cn=config"}, Detail: "wrote " + now.ca + " and set " + attrCA + " again"}, nil
}

func sameSubject(next, like driver.Public) error {
	a, err := next.Leaf()
	if err != nil {
		return err
	}
	b, err := like.Leaf()
	if err != nil {
		return err
	}
	if !bytes.Equal(a.RawSubject, b.RawSubject) && a.Subject.String() != b.Subject.String() {
		return invalid("slapd knows clients by their subject, and that of the new certificate is %q, not %q: issue it with the same one, or map it with %s", a.Subject, b.Subject, attrRules)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/anchors"
	"github.com/tallystick/tallystick/driver/installing"
)

// gnuTLS ends a chain at whatever it finds among the CAs.
var gnuTLS = anchors.Rules{Partial: true}

// Trust lets a credential in whose subject is that of the credential that it comes after,
// because slapd makes the entry that a client acts as from its subject. Where its CA is
// not one of slapd's, that is added when the option authorities has it.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	s, err := d.dial(ctx, request.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	defer s.close()
	now, err := s.settings()
	if err != nil {
		return driver.Changed{}, err
	}
	if now.ca == "" || now.verify == "" || now.verify == "never" {
		return driver.Changed{}, fmt.Errorf("%w: slapd lets nobody in by certificate (%s, %s)", tallystick.ErrNotFound, attrCA, attrVerify)
	}
	text, err := request.Host.ReadFile(ctx, now.ca, maxFile)
	if err != nil {
		return driver.Changed{}, err
	}
	if !request.Withdraw {
		if err := gnuTLS.Lets(request.Like, anchors.Parse(text), request.Now()); err != nil {
			return driver.Changed{}, err
		}
		if err := sameSubject(request.New, request.Like); err != nil {
			return driver.Changed{}, err
		}
	}
	next, err := anchors.Change{Rules: gnuTLS, Path: now.ca, Spare: d.Authorities, Now: request.Now()}.Trust(ctx, request.Host, text, request.New, request.Withdraw)
	if err != nil {
		return driver.Changed{}, err
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
		sets:  now.all(), back: now.all(), reread: unread, check: func() error { return nil }, now: request.Now, listeners: listeners,
	})
	if err != nil || !changed {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{"cn=config"}, Detail: "wrote " + now.ca + " and set " + attrCA + " again"}, nil
}

func sameSubject(next, like driver.Public) error {
	if len(next.Chain) == 0 {
		return invalid("slapd lets in certificates, and the new credential is none")
	}
	a, err := x509.ParseCertificate(next.Chain[0])
	if err != nil {
		return invalid("couldn't read the new certificate: %v", err)
	}
	b, err := x509.ParseCertificate(like.Chain[0])
	if err != nil {
		return invalid("couldn't read the old certificate: %v", err)
	}
	if !bytes.Equal(a.RawSubject, b.RawSubject) && a.Subject.String() != b.Subject.String() {
		return invalid("slapd knows clients by their subject, and that of the new certificate is %q, not %q: issue it with the same one, or map it with %s", a.Subject, b.Subject, attrRules)
	}
	return nil
}

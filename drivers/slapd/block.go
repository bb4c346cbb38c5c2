// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"bytes"
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// BlocksByList says that slapd has no other way than the list of a CA.
func (d *door) BlocksByList() bool { return true }

// Block brings slapd the revocation list that names the credential, and closes the
// connections of its subject that were there before. Nothing is there to lift: what is on
// a list stays on it.
func (d *door) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	old, err := request.Old.Leaf()
	if err != nil {
		return driver.Blocked{}, err
	}
	if request.Lift {
		return driver.Blocked{Changed: driver.Changed{Detail: "slapd refuses by revocation lists alone, and those stay"}}, nil
	}
	s, err := d.dial(ctx, request.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	defer s.Close()
	now, err := s.settings()
	if err != nil {
		return driver.Blocked{}, err
	}
	cas, err := authorities(ctx, request.Host, now)
	if err != nil {
		return driver.Blocked{}, err
	}
	if now.verify == "" || now.verify == "never" || !ever(request.Old, old, cas, request.Now()) {
		return driver.Blocked{Changed: driver.Changed{Detail: "slapd lets nobody in by a certificate of this CA"}}, nil
	}
	blocked, since, err := d.list(ctx, s, request, now, old, cas)
	if err != nil {
		return driver.Blocked{}, err
	}
	err = d.closeOpen(ctx, s, request.Host, now.rules, old, since, &blocked)
	return blocked, err
}

// list brings slapd the lists. It returns since when the certificate is refused at the
// latest; zero is since now.
func (d *door) list(ctx context.Context, s *session, request driver.BlockRequest, now settings, old *x509.Certificate, cas []*x509.Certificate) (driver.Blocked, time.Time, error) {
	file := now.list
	if file == "" {
		file = d.List
	}
	have, err := revocations(ctx, request.Host, file)
	if err != nil {
		return driver.Blocked{}, time.Time{}, err
	}
	lists, err := merged(have, request, cas)
	if err != nil {
		return driver.Blocked{}, time.Time{}, err
	}
	if !lists.Has(old) {
		return driver.Blocked{}, time.Time{}, invalid("slapd refuses one certificate by the revocation list of its CA and in no other way, and no list names this one: revoke it first")
	}
	next := now
	next.list = file
	unread := true
	if _, err := request.Host.Stat(ctx, file); err == nil {
		if unread, err = now.unread(ctx, request.Host, file); err != nil {
			return driver.Blocked{}, time.Time{}, err
		}
	}
	listeners, err := d.where(s)
	if err != nil {
		return driver.Blocked{}, time.Time{}, err
	}
	changed, err := d.do(ctx, request.Host, s, change{
		files: []installing.File{{Path: file, Content: lists.PEM(), Mode: 0o644}},
		sets:  next.all(), back: now.all(), reread: unread || now.list == "", now: request.Now, listeners: listeners,
		check: func(ctx context.Context) error { return handshakes(ctx, request, listeners) },
	})
	if err != nil {
		return driver.Blocked{}, time.Time{}, err
	}
	var since time.Time
	if !unread && now.list != "" && have.Has(old) {
		since = now.changed
	}
	if !changed {
		return driver.Blocked{}, since, nil
	}
	return driver.Blocked{Changed: driver.Changed{Changed: true, How: []string{"crl"}, Detail: "wrote " + file + " and set " + attrList + " again"}}, since, nil
}

// ever says whether the CAs let a certificate in at any time: who has one that has ended
// may still hold a connection open.
func ever(public driver.Public, c *x509.Certificate, cas []*x509.Certificate, now time.Time) bool {
	return slices.ContainsFunc([]time.Time{now, c.NotBefore, c.NotAfter}, func(at time.Time) bool { return lets(public.Chain, cas, at) == nil })
}

// merged puts the lists that slapd can make use of in their places: slapd may know a CA and
// not the one above it, whose list is of no use to it then.
func merged(have blocking.Lists, request driver.BlockRequest, cas []*x509.Certificate) (blocking.Lists, error) {
	known := slices.Clone(cas)
	for i := 1; i < len(request.Old.Chain); i++ {
		if c, err := x509.ParseCertificate(request.Old.Chain[i]); err == nil && lets(request.Old.Chain[i:], cas, request.Now()) == nil {
			known = append(known, c)
		}
	}
	ders := slices.DeleteFunc(slices.Clone(request.CRLs), func(der []byte) bool {
		list, err := x509.ParseRevocationList(der)
		return err == nil && !slices.ContainsFunc(known, func(ca *x509.Certificate) bool { return bytes.Equal(ca.RawSubject, list.RawIssuer) })
	})
	return have.Merge(ders, request.Old.Chain[:1], known, request.Now())
}

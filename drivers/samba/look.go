// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
)

// protocolKerberos is that of listeners which Probe tries.
const protocolKerberos = "kerberos"

// Look says how the door stands, in its role.
func (d *door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.View{}, err
	}
	var view driver.View
	if d.Role == roleServer {
		view, err = d.lookServer(ctx, request, now)
	} else {
		view, err = d.lookAccounts(ctx, request, now)
	}
	if err == nil {
		err = ctx.Err()
	}
	slices.Sort(view.Notes)
	return view, err
}

func (d *door) lookServer(ctx context.Context, request driver.LookRequest, now settings) (driver.View, error) {
	view := driver.View{Listeners: d.listeners, Notes: []string{"has no way to read its certificate again: it must be started again, and serves nobody meanwhile"}}
	if !now.tls {
		view.Notes = append(view.Notes, "speaks no TLS (tls enabled)")
	}
	view.Shown, _ = probing.Look(ctx, request.Host, d.listeners, request.Now)
	m, err := now.pair().Read(ctx, request.Host)
	switch {
	case err == nil:
		view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: now.cert, Key: m.Key != nil})
	case errors.Is(err, tallystick.ErrInvalid), errors.Is(err, fs.ErrNotExist):
		// What Samba makes for itself has a negative serial number, which Go does not read.
		view.Notes = append(view.Notes, err.Error())
	default:
		return driver.View{}, err
	}
	slices.SortStableFunc(view.Shown, func(a, b driver.Shown) int { return cmp.Compare(a.At, b.At) })
	return view, nil
}

func (d *door) lookAccounts(ctx context.Context, request driver.LookRequest, now settings) (driver.View, error) {
	p, err := d.pkinit(ctx, request.Host)
	if err != nil {
		return driver.View{}, err
	}
	s, err := d.dial(ctx, request.Host, now)
	if err != nil {
		return driver.View{}, err
	}
	defer s.Close()
	all, err := s.accounts("(|(" + attrCert + "=*)(" + attrMapping + "=*))")
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Notes: p.notes()}
	for _, ca := range p.anchors {
		view.Authorities = append(view.Authorities, ca.Raw)
	}
	slices.SortFunc(view.Authorities, slices.Compare)
	unknown := 0
	for _, a := range all {
		accepted, strange := a.accepts(p.anchors)
		unknown += strange
		view.Accepts = append(view.Accepts, accepted...)
		view.Denies = append(view.Denies, a.blocked()...)
		if a.disabled() {
			view.Notes = append(view.Notes, a.name+" is disabled")
		}
		if p.on && len(accepted) > 0 {
			view.Listeners = append(view.Listeners, driver.Listener{
				Address: d.KDC, Protocol: protocolKerberos, Details: map[string]string{"user": a.name, "realm": now.realm},
			})
		}
	}
	if unknown > 0 {
		view.Notes = append(view.Notes, fmt.Sprintf("has %d mappings that name no certificate by an issuer who is known here", unknown))
	}
	slices.Sort(view.Denies)
	view.Denies = slices.Compact(view.Denies)
	return view, nil
}

// notes say what the KDC does with certificates.
func (p pkinit) notes() []string {
	if !p.on {
		return []string{"lets nobody sign in by certificate (enable-pkinit): what accounts hold is for those who look there"}
	}
	notes := []string{"reads no revocation list, and asks for no mapping: a certificate of the anchors gets in as whom it names"}
	if p.unread != "" {
		notes = append(notes, p.unread)
	}
	return notes
}

// accepts lists the certificates of an account, and counts the mappings to others. A
// disabled account lets in nobody.
func (a account) accepts(issuers []*x509.Certificate) (accepted []driver.Accepted, unknown int) {
	if a.disabled() {
		return nil, 0
	}
	add := func(name string) { accepted = append(accepted, driver.Accepted{Name: name, As: a.name, At: a.dn}) }
	for _, der := range a.certificates {
		add("cert-sha256:" + fingerprint(der))
	}
	for _, value := range a.mappings {
		if strings.HasPrefix(value, markBlocked) || strings.HasPrefix(value, markTrusted) || a.mapsOwn(value) {
			continue
		}
		prefix, serial, ok := serialIn(value)
		i := slices.IndexFunc(issuers, func(ca *x509.Certificate) bool {
			return sameMapping(prefix, "X509:<I>"+nameText(ca.RawSubject)+"<SR>")
		})
		if !ok || i < 0 {
			unknown++
			continue
		}
		add(driver.SerialName(issuers[i].RawSubject, serial))
	}
	slices.SortFunc(accepted, func(x, y driver.Accepted) int { return cmp.Compare(x.Name, y.Name) })
	return accepted, unknown
}

// mapsOwn says whether a mapping is to a certificate that stands in the account as well.
func (a account) mapsOwn(value string) bool {
	return slices.ContainsFunc(a.certificates, func(der []byte) bool {
		k, err := knownOf(driver.Public{Chain: [][]byte{der}})
		return err == nil && k.isMapping(value)
	})
}

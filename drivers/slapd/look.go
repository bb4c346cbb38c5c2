// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// Look says where slapd listens and what it shows there, which CAs it lets clients in by,
// and what is on its revocation lists.
func (d *door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	s, err := d.dial(ctx, request.Host)
	if err != nil {
		return driver.View{}, err
	}
	defer s.Close()
	now, err := s.settings()
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{}
	if view.Listeners, err = d.where(s); err != nil {
		return driver.View{}, err
	}
	view.Shown, _ = probing.Look(ctx, request.Host, view.Listeners, request.Now)
	pair, err := now.pair()
	var m driver.Material
	if err == nil {
		m, err = pair.Read(ctx, request.Host)
	}
	if err == nil {
		view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: now.cert, Key: installing.Check(m, request.Now()) == nil})
	} else {
		view.Notes = append(view.Notes, err.Error())
	}
	slices.SortFunc(view.Shown, func(a, b driver.Shown) int { return cmp.Compare(a.At, b.At) })
	err = now.clients(ctx, request.Host, request.Now(), &view)
	return view, err
}

// clients tells which clients get in.
func (now settings) clients(ctx context.Context, h driver.Host, at time.Time, view *driver.View) error {
	if now.verify == "" || now.verify == "never" {
		view.Notes = append(view.Notes, "asks no client for a certificate (olcTLSVerifyClient)")
		return nil
	}
	cas, err := authorities(ctx, h, now)
	if err != nil {
		return err
	}
	lists, err := revocations(ctx, h, now.list)
	if err != nil {
		return err
	}
	lists.ShowTo(view, cas, at)
	for _, ca := range lists.Uncovered(cas) {
		view.Notes = append(view.Notes, fmt.Sprintf("has no revocation list of %q: whatever it has revoked gets in", ca.Subject.String()))
	}
	slices.Sort(view.Notes)
	return nil
}

// where returns the listeners: those of the options, or of cn=monitor.
func (d *door) where(s *session) ([]driver.Listener, error) {
	if len(d.listeners) > 0 {
		return d.listeners, nil
	}
	entries, err := s.search("cn=Listeners,cn=Monitor", ldap.ScopeSingleLevel, "(labeledURI=*)", "labeledURI", "monitorConnectionLocalAddress")
	if err != nil {
		return nil, answered("couldn't read cn=monitor: load back_monitor, or name the listeners in the option listeners", err)
	}
	var listeners []driver.Listener
	for _, e := range entries {
		protocol, _, _ := strings.Cut(e.GetAttributeValue("labeledURI"), "://")
		address, ok := strings.CutPrefix(e.GetAttributeValue("monitorConnectionLocalAddress"), "IP=")
		if !ok {
			continue // LDAPI, which knows no certificates
		}
		// Where slapd listens on all addresses it is found on the machine's own.
		address = strings.NewReplacer("0.0.0.0:", "127.0.0.1:", "[::]:", "[::1]:").Replace(address)
		l, err := d.listener(strings.ToLower(protocol) + "://" + address)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
	}
	slices.SortFunc(listeners, func(a, b driver.Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address))
	})
	return listeners, nil
}

// pair is where slapd reads what it shows from.
func (now settings) pair() (installing.Pair, error) {
	if now.cert == "" || now.key == "" {
		return installing.Pair{}, fmt.Errorf("%w: cn=config names no certificate (%s, %s): set up TLS first", tallystick.ErrInvalid, attrCert, attrKey)
	}
	return installing.Pair{Certificate: now.cert, Key: now.key}, nil
}

// authorities reads the CAs of clients.
func authorities(ctx context.Context, h driver.Host, now settings) ([]*x509.Certificate, error) {
	if now.ca == "" {
		return nil, nil
	}
	return blocking.AuthoritiesAt(ctx, h, now.ca)
}

// revocations reads the lists in a file; "" and a file that is not there are none.
func revocations(ctx context.Context, h driver.Host, file string) (blocking.Lists, error) {
	if file == "" {
		return nil, nil
	}
	text, err := h.ReadFile(ctx, file, blocking.MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return blocking.ReadLists(text)
}

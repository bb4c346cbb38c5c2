// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// Look reads the configuration and the files that it names, asks the admin socket what is
// in memory, and makes a handshake with every listener.
func (d *Door) Look(ctx context.Context, r driver.LookRequest) (driver.View, error) {
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Notes: s.notes}
	materials := map[string]driver.Material{}
	for _, name := range s.files() {
		m, err := read(ctx, r.Host, name)
		if err != nil {
			view.Notes = append(view.Notes, name+" cannot be read: "+err.Error())
			continue
		}
		materials[name] = m
		view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: name, Key: installing.Check(m, r.Now()) == nil})
	}
	for _, b := range s.binds {
		for _, name := range b.files {
			view.Listeners = append(view.Listeners, d.listeners(b, materials[name].Public)...)
		}
	}
	view.Tidy() // so that each listener is asked once
	probing.LookInto(ctx, r.Host, &view, r.Now)
	if err := d.lookAtClients(ctx, r.Host, s, &view); err != nil {
		return driver.View{}, err
	}
	if err := d.lookAtMemory(ctx, r.Host, s, materials, &view); err != nil {
		return driver.View{}, err
	}
	view.Tidy()
	return view, ctx.Err()
}

// lookAtClients adds whom it lets in and whom it refuses.
func (d *Door) lookAtClients(ctx context.Context, h driver.Host, s *site, view *driver.View) error {
	whole, err := blocking.Show(ctx, h, s.clientCAs(), s.crls(), view)
	if err != nil {
		return err
	}
	for name, lists := range whole {
		if d.options.Socket == "" {
			continue
		}
		if same, err := d.hasLists(ctx, h, name, lists); err == nil && !same {
			view.Notes = append(view.Notes, "HAProxy does not go by "+name+" as it is now: it wants a reload")
		}
	}
	if !s.verifies() {
		return nil
	}
	if len(s.crls()) == 0 {
		view.Notes = append(view.Notes, "reads no CRL")
	}
	if some, _ := s.denied(); !some {
		view.Notes = append(view.Notes, "has no list of denied certificates: docs/doors.md has the lines for haproxy.cfg")
		return nil
	}
	denied, err := d.deniedNow(ctx, h)
	for _, one := range denied {
		view.Denies = append(view.Denies, "cert-sha256:"+strings.ToLower(one))
	}
	return err
}

// deniedNow returns those that are on the list both in memory and in the file, which a
// restart reads.
func (d *Door) deniedNow(ctx context.Context, h driver.Host) ([]string, error) {
	text, err := h.ReadFile(ctx, d.options.Deny, blocking.MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := entries(string(text))
	if d.options.Socket == "" || len(all) == 0 {
		return all, nil
	}
	memory, err := d.denies(ctx, h)
	return slices.DeleteFunc(all, func(one string) bool { return !slices.Contains(memory, one) }), err
}

// lookAtMemory notes certificates that are not in memory as they are in their files.
func (d *Door) lookAtMemory(ctx context.Context, h driver.Host, s *site, materials map[string]driver.Material, view *driver.View) error {
	if d.options.Socket == "" {
		view.Notes = append(view.Notes, "has no admin socket: clients cannot be blocked here")
		return nil
	}
	for _, name := range s.files() {
		m := materials[name]
		if len(m.Chain) == 0 {
			continue
		}
		have, _, err := d.has(ctx, h, kindCertificate, name)
		if err != nil {
			view.Notes = append(view.Notes, err.Error())
			return nil
		}
		if !slices.Equal(have, sha1s(m.Chain[0])) {
			view.Notes = append(view.Notes, "HAProxy does not go by "+name+" as it is now")
		}
	}
	return nil
}

// listeners are the addresses of a bind, with the name at which a certificate is shown.
func (d *Door) listeners(b bind, p driver.Public) []driver.Listener {
	var all []driver.Listener
	for _, address := range b.addresses {
		l := driver.Listener{Address: address, Protocol: "tls", ServerName: nameOf(p)}
		if b.http {
			l.Protocol = "https"
			if d.options.Path != "/" {
				l.Details = map[string]string{"path": d.options.Path}
			}
		}
		all = append(all, l)
	}
	return all
}

func nameOf(p driver.Public) string {
	if len(p.Chain) == 0 {
		return ""
	}
	leaf, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return ""
	}
	for _, name := range leaf.DNSNames {
		if !strings.Contains(name, "*") {
			return strings.ToLower(name)
		}
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// Look reads the configuration and the files that it names, and makes a handshake with
// every listener.
func (d *Door) Look(ctx context.Context, r driver.LookRequest) (driver.View, error) {
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Listeners: s.listeners(), Notes: s.notes}
	view.Tidy() // so that each listener is asked once
	probing.LookInto(ctx, r.Host, &view, r.Now)
	for _, p := range s.pairs() {
		if m, err := p.Read(ctx, r.Host); err != nil {
			view.Notes = append(view.Notes, p.Certificate+" cannot be read: "+err.Error())
		} else {
			view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: p.Certificate, Key: installing.Check(m, r.Now()) == nil})
		}
	}
	if err := d.lookAtClients(ctx, r.Host, s, &view); err != nil {
		return driver.View{}, err
	}
	view.Tidy()
	return view, nil
}

// lookAtClients adds whom the servers let in and whom they refuse.
func (d *Door) lookAtClients(ctx context.Context, h driver.Host, s *site, view *driver.View) error {
	if _, err := blocking.Show(ctx, h, s.clientCAs(), s.crls(), view); err != nil {
		return err
	}
	if !s.verifies() {
		return nil
	}
	if len(s.crls()) == 0 {
		view.Notes = append(view.Notes, "reads no CRL")
	}
	if !slices.ContainsFunc(s.servers, func(one server) bool { return one.denies }) {
		view.Notes = append(view.Notes, "has no list of denied certificates: "+d.hint())
		return nil
	}
	denied, err := d.deniedNow(ctx, h)
	for _, fingerprint := range denied {
		view.Denies = append(view.Denies, "x5t:"+fingerprint)
	}
	return err
}

// deniedNow returns the SHA-1 of those on the driver's list, as far as nginx has read it.
func (d *Door) deniedNow(ctx context.Context, h driver.Host) ([]string, error) {
	text, err := h.ReadFile(ctx, d.options.Deny, blocking.MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if unread, err := installing.Unread(ctx, h, d.options.Deny); err != nil || unread {
		return nil, err
	}
	return entries(text), nil
}

func (s *site) listeners() []driver.Listener {
	var all []driver.Listener
	for _, one := range s.servers {
		all = append(all, one.listeners...)
	}
	return all
}

// pairs returns all pairs, those of servers and those that nginx signs in with.
func (s *site) pairs() []installing.Pair {
	all := slices.Clone(s.upstreams)
	for _, one := range s.servers {
		all = append(all, one.pairs...)
	}
	slices.SortFunc(all, func(a, b installing.Pair) int {
		return cmp.Or(strings.Compare(a.Certificate, b.Certificate), strings.Compare(a.Key, b.Key))
	})
	return slices.Compact(all)
}

// clientCAs, crls: the files of servers that let clients in by certificate.
func (s *site) clientCAs() []string {
	return s.filesOfVerifying(func(one server) []string { return one.clientCAs })
}

func (s *site) crls() []string {
	return s.filesOfVerifying(func(one server) []string {
		if one.crl == "" {
			return nil
		}
		return []string{one.crl}
	})
}

func (s *site) filesOfVerifying(of func(server) []string) []string {
	var all []string
	for _, one := range s.servers {
		if one.verify {
			all = append(all, of(one)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *site) verifies() bool {
	return slices.ContainsFunc(s.servers, func(one server) bool { return one.verify })
}

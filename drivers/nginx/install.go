// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install writes certificate and key, has nginx -t check them, reloads, and looks at
// every listener that shows them, and at every other one that showed what was replaced.
func (d *Door) Install(ctx context.Context, r driver.InstallRequest) (driver.Installed, error) {
	if err := installing.CheckCertificate(r.New, r.Now()); err != nil {
		return driver.Installed{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	p, err := d.chosen(s)
	if err != nil {
		return driver.Installed{}, err
	}
	files, err := p.Files(r.New)
	if err != nil {
		return driver.Installed{}, err
	}
	change := d.change(r.Host, s, files)
	before, _, err := change.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := p.Read(ctx, before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return driver.Installed{}, err
	}
	listeners, err := s.listenersOf(ctx, r, p, old.Public)
	if err != nil {
		return driver.Installed{}, err
	}
	differs, err := change.Differs(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	var shown []driver.Shown
	served := func(ctx context.Context, patience time.Duration) error {
		if len(listeners) == 0 { // it is what nginx signs in with: nobody can see whether it is read
			return nil
		}
		shown, err = installing.ServedEverywhere(ctx, r.Host, listeners, r.New.Public, patience, r.Now)
		return err
	}
	// Where the files are as they should be nginx need not have read them.
	if !differs && served(ctx, 0) == nil {
		return installed(p, shown, false), nil
	}
	if differs {
		if err := installing.Replaceable(r, old); err != nil {
			return driver.Installed{}, err
		}
	}
	change.Arrived = func(ctx context.Context) error { return served(ctx, d.options.Patience) }
	if _, err := change.Do(ctx); err != nil {
		return driver.Installed{}, fmt.Errorf("couldn't install the certificate: %w", err)
	}
	return installed(p, shown, true), nil
}

func installed(p installing.Pair, shown []driver.Shown, changed bool) driver.Installed {
	i := driver.Installed{Shown: shown, Changed: driver.Changed{Changed: changed, Detail: p.Certificate + " has it, and nginx has read it"}}
	if changed {
		i.How = []string{"files", "nginx -t", "reload"}
	}
	return i
}

// chosen returns the pair that Install replaces.
func (d *Door) chosen(s *site) (installing.Pair, error) {
	var names []string
	for _, p := range s.pairs() {
		if p.Certificate == d.options.Certificate {
			return p, nil
		}
		names = append(names, p.Certificate)
	}
	if d.options.Certificate != "" {
		return installing.Pair{}, invalid("nginx reads no certificate %s: its configuration names %s", d.options.Certificate, strings.Join(names, ", "))
	}
	var shown []installing.Pair
	for _, one := range s.servers {
		shown = append(shown, one.pairs...)
	}
	if len(shown) == 0 {
		return installing.Pair{}, invalid("no server of nginx shows a certificate: option certificate says which one to replace")
	}
	if slices.ContainsFunc(shown, func(p installing.Pair) bool { return p != shown[0] }) {
		return installing.Pair{}, invalid("nginx has several certificates, and option certificate must say which one to replace: %s", strings.Join(names, ", "))
	}
	return shown[0], nil
}

// listenersOf returns the listeners that must show what is installed as p: those that
// read it, and those that show what it replaces from other files.
func (s *site) listenersOf(ctx context.Context, r driver.InstallRequest, p installing.Pair, old driver.Public) ([]driver.Listener, error) {
	leaf, err := x509.ParseCertificate(r.New.Chain[0])
	if err != nil {
		return nil, invalid("couldn't read the new certificate: %v", err)
	}
	var all []driver.Listener
	for _, one := range s.servers {
		same := func(q installing.Pair) bool {
			if q == p {
				return true
			}
			m, err := q.Read(ctx, r.Host)
			return err == nil && m.Is(old)
		}
		if !slices.ContainsFunc(one.pairs, same) {
			continue
		}
		for _, l := range one.listeners {
			if len(one.pairs) > 1 { // one for each kind of key
				l.Details = map[string]string{"algorithm": leaf.PublicKeyAlgorithm.String()}
			}
			all = append(all, l)
		}
	}
	return all, nil
}

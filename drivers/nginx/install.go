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
	files, err := filesOf(p, r.New)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := readPair(ctx, r.Host, p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return driver.Installed{}, err
	}
	listeners, err := s.listenersOf(ctx, r, p, old.Public)
	if err != nil {
		return driver.Installed{}, err
	}
	differs, err := differ(ctx, r.Host, files)
	if err != nil {
		return driver.Installed{}, err
	}
	if !differs {
		return d.awake(ctx, r, s, p, listeners)
	}
	if err := installing.Replaceable(r, old); err != nil {
		return driver.Installed{}, err
	}
	return d.replace(ctx, r, s, p, files, listeners)
}

// replace does what Install does where the files differ.
func (d *Door) replace(ctx context.Context, r driver.InstallRequest, s *site, p pair, files []installing.File, listeners []driver.Listener) (driver.Installed, error) {
	swapped, err := installing.Swap(ctx, r.Host, files)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := d.check(ctx, r.Host); err != nil {
		return driver.Installed{}, errors.Join(err, swapped.Undo(ctx))
	}
	err = d.reload(ctx, r.Host, s)
	var shown []driver.Shown
	if err == nil && len(listeners) > 0 {
		shown, err = installing.ServedEverywhere(ctx, r.Host, listeners, r.New.Public, d.options.Patience, r.Now)
	}
	if err != nil {
		return driver.Installed{}, errors.Join(fmt.Errorf("couldn't install the certificate: %w", err), d.undo(ctx, r.Host, s, swapped))
	}
	return installed(p, shown, true), nil
}

// awake is Install where the files are as they should be: nginx need not have read them.
func (d *Door) awake(ctx context.Context, r driver.InstallRequest, s *site, p pair, listeners []driver.Listener) (driver.Installed, error) {
	if len(listeners) == 0 { // it is what nginx signs in with: nobody can see whether it is read
		return installed(p, nil, false), nil
	}
	if shown, err := installing.ServedEverywhere(ctx, r.Host, listeners, r.New.Public, 0, r.Now); err == nil {
		return installed(p, shown, false), nil
	}
	if err := d.check(ctx, r.Host); err != nil {
		return driver.Installed{}, err
	}
	if err := d.reload(ctx, r.Host, s); err != nil {
		return driver.Installed{}, err
	}
	shown, err := installing.ServedEverywhere(ctx, r.Host, listeners, r.New.Public, d.options.Patience, r.Now)
	if err != nil {
		return driver.Installed{}, err
	}
	return installed(p, shown, true), nil
}

func installed(p pair, shown []driver.Shown, changed bool) driver.Installed {
	i := driver.Installed{Shown: shown, Changed: driver.Changed{Changed: changed, Detail: p.certificate + " has it, and nginx has read it"}}
	if changed {
		i.How = []string{"files", "nginx -t", "reload"}
	}
	return i
}

// chosen returns the pair that Install replaces.
func (d *Door) chosen(s *site) (pair, error) {
	var names []string
	for _, p := range s.pairs() {
		if p.certificate == d.options.Certificate {
			return p, nil
		}
		names = append(names, p.certificate)
	}
	if d.options.Certificate != "" {
		return pair{}, invalid("nginx reads no certificate %s: its configuration names %s", d.options.Certificate, strings.Join(names, ", "))
	}
	var shown []pair
	for _, one := range s.servers {
		shown = append(shown, one.pairs...)
	}
	if len(shown) == 0 {
		return pair{}, invalid("no server of nginx shows a certificate: option certificate says which one to replace")
	}
	if slices.ContainsFunc(shown, func(p pair) bool { return p != shown[0] }) {
		return pair{}, invalid("nginx has several certificates, and option certificate must say which one to replace: %s", strings.Join(names, ", "))
	}
	return shown[0], nil
}

// filesOf are the files of a pair with a new content: one where both are in one.
func filesOf(p pair, m driver.Material) ([]installing.File, error) {
	if p.key == "" {
		return nil, invalid("the configuration names no key of %s in a file", p.certificate)
	}
	if p.key == p.certificate {
		both, err := installing.PEM(m, installing.Chain, installing.Key)
		return []installing.File{{Path: p.certificate, Content: both, Mode: 0o600}}, err
	}
	chain, err := installing.PEM(m, installing.Chain)
	if err != nil {
		return nil, err
	}
	key, err := installing.PEM(m, installing.Key)
	return []installing.File{{Path: p.certificate, Content: chain, Mode: 0o644}, {Path: p.key, Content: key, Mode: 0o600}}, err
}

// listenersOf returns the listeners that must show what is installed as p: those that
// read it, and those that show what it replaces from other files.
func (s *site) listenersOf(ctx context.Context, r driver.InstallRequest, p pair, old driver.Public) ([]driver.Listener, error) {
	leaf, err := x509.ParseCertificate(r.New.Chain[0])
	if err != nil {
		return nil, invalid("couldn't read the new certificate: %v", err)
	}
	var all []driver.Listener
	for _, one := range s.servers {
		same := func(q pair) bool {
			if q == p {
				return true
			}
			m, err := readPair(ctx, r.Host, q)
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

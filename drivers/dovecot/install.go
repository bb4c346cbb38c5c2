// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install replaces the certificate and key: files, `doveconf`, `doveadm reload`, and a
// look at every listener. Those who are signed in stay so where shutdown_clients is no.
func (d *door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	h := request.Host
	if err := installing.CheckCertificate(request.New, request.Now()); err != nil {
		return driver.Installed{}, err
	}
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.Installed{}, err
	}
	s, err := d.slot(ctx, h, c)
	if err != nil {
		return driver.Installed{}, err
	}
	if s == nil {
		return driver.Installed{}, invalid("Dovecot reads no certificate: set ssl_cert = </path and ssl_key = </path first")
	}
	if len(s.listeners) == 0 {
		return driver.Installed{}, invalid("no listener of Dovecot shows the certificate in %s, so that nobody could see that it is used", s.Certificate)
	}
	files, err := s.Files(request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	change := installing.Change{Host: h, Files: files, Patience: d.Patience}
	before, unfinished, err := change.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, same, err := d.replaces(ctx, before, s, request)
	if err != nil {
		return driver.Installed{}, err
	}
	if same && !unfinished {
		shown, err := installing.ServedEverywhere(ctx, h, s.listeners, request.New.Public, 0, request.Now)
		if err == nil {
			return driver.Installed{Shown: shown}, nil
		}
	}
	return d.swap(ctx, change, c, s, old, request)
}

// replaces has kept what would be replaced, and returns it and whether that is the new one
// already, as the files of a host say.
func (d *door) replaces(ctx context.Context, h driver.Host, s *slot, request driver.InstallRequest) (old driver.Material, same bool, err error) {
	old, err = s.Read(ctx, h)
	if errors.Is(err, tallystick.ErrUnavailable) {
		return old, false, err
	}
	if err != nil { // nothing that could be kept
		return driver.Material{}, false, nil
	}
	if old.Is(request.New.Public) {
		return old, installing.Check(driver.Material{Public: request.New.Public, Key: old.Key}, request.Now()) == nil, nil
	}
	if s.listeners[0].Details["algorithm"] != "" && old.Public.KeyAlgorithm() != request.New.Public.KeyAlgorithm() {
		return old, false, invalid("the new key is of another kind than the one in %s, and Dovecot has a certificate for each kind: ask for a key of the same kind", s.Certificate)
	}
	return old, false, installing.Replaceable(request, old)
}

// swap writes the files and makes Dovecot use them, or puts everything back.
func (d *door) swap(ctx context.Context, change installing.Change, c *block, s *slot, old driver.Material, request driver.InstallRequest) (driver.Installed, error) {
	h := change.Host
	served := func(ctx context.Context, want driver.Public) (shown []driver.Shown, err error) {
		// A process that took a client in the moment of the reload has the old one: the
		// second round is after it.
		for range 2 {
			if shown, err = installing.ServedEverywhere(ctx, h, s.listeners, want, d.Patience, request.Now); err != nil {
				return nil, err
			}
		}
		return shown, nil
	}
	var shown []driver.Shown
	change.Check = func(ctx context.Context) error { return d.check(ctx, h) }
	change.Reload = func(ctx context.Context) error { return d.reload(ctx, h, c) }
	change.Arrived = func(ctx context.Context) (err error) {
		shown, err = served(ctx, request.New.Public)
		return err
	}
	if len(old.Chain) > 0 {
		change.Returned = func(ctx context.Context) error {
			_, err := served(ctx, old.Public)
			return err
		}
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	changed := driver.Changed{Changed: true, How: how, Detail: "wrote " + s.Certificate + " and " + s.Key + "; doveconf; doveadm reload"}
	return driver.Installed{Changed: changed, Shown: shown}, nil
}

// check asks Dovecot whether it takes its configuration.
func (d *door) check(ctx context.Context, h driver.Host) error {
	if _, err := installing.Run(ctx, h, "doveconf", "-c", d.Config, "-n"); err != nil {
		return fmt.Errorf("%w: Dovecot does not take its configuration: %w", tallystick.ErrInvalid, err)
	}
	return nil
}

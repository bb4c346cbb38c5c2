// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install replaces the credential that smtpd shows, or that the smtp client signs in
// with: files, `postfix check`, `postfix reload`, and a look at every listener. Sessions
// that are open go on as they are, so that no message is lost or doubled.
func (d *door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	h := request.Host
	if err := installing.CheckCertificate(request.New, request.Now()); err != nil {
		return driver.Installed{}, err
	}
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.Installed{}, err
	}
	s, err := d.stand(ctx, h, c)
	if err != nil {
		return driver.Installed{}, err
	}
	if s.Certificate == "" {
		return driver.Installed{}, fmt.Errorf("%w: Postfix reads no certificate with role %s: set smtpd_tls_chain_files (or smtp_tls_chain_files of a client) first", tallystick.ErrInvalid, d.Role)
	}
	files, err := filesOf(s.Pair, request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	change := installing.Change{Host: h, Files: files, Eager: true, Patience: d.Patience} // smtpd is eager
	before, unfinished, err := change.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	there, err := d.replaces(ctx, before, s, request)
	if err != nil {
		return driver.Installed{}, err
	}
	if there && !unfinished {
		if shown, ok := d.installed(ctx, h, s, request); ok {
			return driver.Installed{Shown: shown}, nil
		}
	}
	return d.swap(ctx, s, change, request)
}

// installed says whether what is in the files is what Postfix uses, too. Nobody sees what a
// client signs in with.
func (d *door) installed(ctx context.Context, h driver.Host, s *stand, request driver.InstallRequest) ([]driver.Shown, bool) {
	if d.Role == roleClient {
		return []driver.Shown{{Public: request.New.Public, At: s.Certificate, Key: true}}, true
	}
	shown, err := installing.ServedEverywhere(ctx, h, s.listeners, request.New.Public, 0, request.Now)
	return shown, err == nil
}

// replaces has kept what would be replaced, and says whether the new one is in the files of a
// host already.
func (d *door) replaces(ctx context.Context, h driver.Host, s *stand, request driver.InstallRequest) (there bool, err error) {
	old, err := s.Read(ctx, h)
	if errors.Is(err, tallystick.ErrUnavailable) {
		return false, err
	}
	if err != nil { // nothing that could be kept
		return false, nil
	}
	if old.Is(request.New.Public) && installing.Check(driver.Material{Public: request.New.Public, Key: old.Key}, request.Now()) == nil {
		return true, nil
	}
	if old.Public.KeyAlgorithm() != request.New.Public.KeyAlgorithm() && len(s.listeners) > 0 && s.listeners[0].Details["algorithm"] != "" {
		return false, invalid("the new key is of another kind than the one in %s, and Postfix has a certificate for each kind: ask for a key of the same kind", s.Certificate)
	}
	return false, installing.Replaceable(request, old)
}

// swap writes the files and makes Postfix use them, or puts everything back.
func (d *door) swap(ctx context.Context, s *stand, change installing.Change, request driver.InstallRequest) (driver.Installed, error) {
	h := change.Host
	shown := []driver.Shown{{Public: request.New.Public, At: s.Certificate, Key: true}}
	change.Check = func(ctx context.Context) error {
		if _, err := installing.Run(ctx, h, "postfix", "-c", d.Config, "check"); err != nil {
			return fmt.Errorf("%w: Postfix does not take its configuration: %w", tallystick.ErrInvalid, err)
		}
		return nil
	}
	change.Reload = func(ctx context.Context) error { return d.reload(ctx, h) }
	if d.Role == roleServer {
		change.Arrived = func(ctx context.Context) (err error) {
			// A process that took a client in the moment of the reload has the old one: the
			// second round is after it.
			for range 2 {
				if shown, err = installing.ServedEverywhere(ctx, h, s.listeners, request.New.Public, d.Patience, request.Now); err != nil {
					return err
				}
			}
			return nil
		}
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	changed := driver.Changed{Changed: true, How: how, Detail: "wrote " + s.Certificate + "; postfix check; postfix reload"}
	return driver.Installed{Changed: changed, Shown: shown}, nil
}

// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"errors"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// shownWithin is how long listeners have to show a new certificate after the server has
// read its files: one that has not done so then keeps the old one.
const shownWithin = 2 * time.Second

// Install writes certificate and key into the files that the server reads, and has it read
// them.
func (d *door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	if err := installing.CheckCertificate(request.New, request.Now()); err != nil {
		return driver.Installed{}, err
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	listeners := d.listeners(now)
	if !now.ssl || len(listeners) == 0 {
		return driver.Installed{}, invalid("PostgreSQL shows no certificate (ssl, listen_addresses): set up TLS first")
	}
	files, err := now.pair().Files(request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	before, _, err := installing.Change{Host: request.Host, Files: files}.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := now.pair().Read(ctx, before)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := installing.Replaceable(request, old); err != nil {
		return driver.Installed{}, err
	}
	shown, differs := installing.ServedEverywhere(ctx, request.Host, listeners, request.New.Public, 0, request.Now)
	changed, err := d.do(ctx, request.Host, now, change{files: files, reread: differs != nil, check: func(ctx context.Context) (err error) {
		shown, err = installing.ServedEverywhere(ctx, request.Host, listeners, request.New.Public, shownWithin, request.Now)
		return err
	}})
	if err != nil || !changed {
		return driver.Installed{Shown: shown}, err
	}
	return driver.Installed{Shown: shown, Changed: driver.Changed{
		Changed: true, How: []string{"reload"}, Detail: "wrote " + now.cert + " and " + now.key + ", and pg_reload_conf()",
	}}, nil
}

// pair is where the server reads a credential from. It takes no key that others may read.
func (s settings) pair() installing.Pair { return installing.Pair{Certificate: s.cert, Key: s.key} }

// A change of files that the server reads. One that it does not take, or that does not do
// what it should, is put back.
type change struct {
	files   []installing.File
	journal string                      // "" is beside the first of them
	reread  bool                        // have the server read its files also where none differs
	quick   bool                        // the server reads the files by itself, whenever it needs them
	list    string                      // what ssl_crl_file is set to before they are read; "" leaves it
	check   func(context.Context) error // whether it came about; nil: nobody can see it
}

// do makes the change. It returns false when there was nothing to do.
func (d *door) do(ctx context.Context, h driver.Host, now settings, c change) (bool, error) {
	whole := installing.Change{Host: h, Files: c.files, Journal: c.journal, Patience: 2 * patience, Arrived: c.check}
	if differs, err := whole.Differs(ctx); err != nil || !differs && !c.reread {
		return false, err
	}
	if !c.quick {
		whole.Reload = func(ctx context.Context) error {
			if c.list == "" {
				return d.reload(ctx, h, now.loaded)
			}
			err := d.alter(ctx, h, "SET ssl_crl_file = "+literal(c.list))
			if err == nil {
				err = d.reload(ctx, h, now.loaded)
			}
			return err
		}
		whole.Back = func(ctx context.Context) error { return d.goBack(ctx, h, c) }
	}
	_, err := whole.Do(ctx)
	return err == nil, err
}

// goBack has the server read files that were put back.
func (d *door) goBack(ctx context.Context, h driver.Host, c change) error {
	var err error
	if c.list != "" {
		err = d.alter(ctx, h, "RESET ssl_crl_file")
	}
	now, asked := d.settings(ctx, h)
	if asked != nil {
		return errors.Join(err, asked)
	}
	return errors.Join(err, d.reload(ctx, h, now.loaded))
}

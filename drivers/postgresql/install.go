// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
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
	old, err := credential(ctx, request.Host, now)
	if err != nil {
		return driver.Installed{}, err
	}
	files, err := now.files(request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := installing.Replaceable(request, old); err != nil {
		return driver.Installed{}, err
	}
	shown, differs := installing.ServedEverywhere(ctx, request.Host, listeners, request.New.Public, 0, request.Now)
	changed, err := d.do(ctx, request.Host, now, change{files: files, reread: differs != nil, check: func() (err error) {
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

// files returns what the server reads a credential from. The certificate goes first: who
// finds it beside the old key after a crash knows that the old one has been kept. The
// server takes no key that others may read.
func (s settings) files(m driver.Material) ([]installing.File, error) {
	if s.cert == s.key {
		both, err := installing.PEM(m, installing.Chain, installing.Key)
		return []installing.File{{Path: s.cert, Content: both, Mode: 0o600}}, err
	}
	chain, err := installing.PEM(m, installing.Chain)
	if err != nil {
		return nil, err
	}
	key, err := installing.PEM(m, installing.Key)
	if err != nil {
		return nil, err
	}
	return []installing.File{{Path: s.cert, Content: chain, Mode: 0o600}, {Path: s.key, Content: key, Mode: 0o600}}, nil
}

// A change of files that the server reads. One that it does not take, or that does not do
// what it should, is put back.
type change struct {
	files  []installing.File
	reread bool                        // have the server read its files also where none differs
	quick  bool                        // the server reads the files by itself, whenever it needs them
	first  func(context.Context) error // is done after the files are written and before they are read
	undo   func(context.Context) error // undoes it
	check  func() error                // whether it came about
}

// do makes the change. It returns false when there was nothing to do.
func (d *door) do(ctx context.Context, h driver.Host, now settings, c change) (bool, error) {
	swapped, err := installing.Swap(ctx, h, c.files)
	if err != nil {
		return false, err
	}
	if !swapped.Changed() && !c.reread {
		return false, nil
	}
	if c.first != nil {
		err = c.first(ctx)
	}
	if err == nil && !c.quick {
		err = d.reload(ctx, h, now.loaded)
	}
	if err == nil && c.check != nil {
		err = c.check()
	}
	if err == nil {
		return true, nil
	}
	return false, errors.Join(err, d.undo(ctx, h, swapped, c))
}

// undo puts files back and has the server read them.
func (d *door) undo(ctx context.Context, h driver.Host, swapped *installing.Swapped, c change) error {
	failed := swapped.Undo(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*patience)
	defer cancel()
	var err error
	if c.undo != nil {
		err = c.undo(ctx)
	}
	if now, asked := d.settings(ctx, h); asked != nil {
		err = errors.Join(err, asked)
	} else if !c.quick {
		err = errors.Join(err, d.reload(ctx, h, now.loaded))
	}
	if err != nil {
		err = fmt.Errorf("%w: PostgreSQL could not be made to read its old files again: %w", tallystick.ErrDamaged, err)
	}
	return errors.Join(failed, err)
}

// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install writes the certificate with its key, has haproxy -c check it, puts it into the
// running process, and looks at every listener that shows it, and at every other one
// that showed what was replaced.
func (d *Door) Install(ctx context.Context, r driver.InstallRequest) (driver.Installed, error) {
	if err := installing.CheckCertificate(r.New, r.Now()); err != nil {
		return driver.Installed{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	name, err := d.chosen(s)
	if err != nil {
		return driver.Installed{}, err
	}
	changes, err := changesOf(ctx, r, name)
	if err != nil {
		return driver.Installed{}, err
	}
	before, _, err := filesOf(r.Host, changes).Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := read(ctx, before, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return driver.Installed{}, err
	}
	listeners := d.listenersOf(ctx, r, s, name, old.Public)
	changes[0].shown = len(listeners) > 0
	differs, err := filesOf(r.Host, changes).Differs(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	if differs {
		if err := installing.Replaceable(r, old); err != nil {
			return driver.Installed{}, err
		}
	}
	var shown []driver.Shown
	served := func(patience time.Duration) error {
		if len(listeners) == 0 { // it is what HAProxy signs in with
			return nil
		}
		shown, err = installing.ServedEverywhere(ctx, r.Host, listeners, r.New.Public, patience, r.Now)
		return err
	}
	how, err := d.apply(ctx, r.Host, changes, false, func() error { return served(min(d.options.Patience, soon)) })
	if err != nil {
		return driver.Installed{}, fmt.Errorf("couldn't install the certificate: %w", err)
	}
	if how == nil {
		if how, err = d.awake(ctx, r.Host, served); err != nil {
			return driver.Installed{}, err
		}
	}
	return driver.Installed{Shown: shown, Changed: driver.Changed{Changed: how != nil, How: how, Detail: name + " has it, and HAProxy goes by it"}}, nil
}

// soon is the time within which a process that has read its files shows what is in them.
const soon = 3 * time.Second

// awake is Install where the files, and memory, are as they should be: whether that is
// what is shown only a handshake tells.
func (d *Door) awake(ctx context.Context, h driver.Host, served func(patience time.Duration) error) ([]string, error) {
	if served(0) == nil {
		return nil, nil
	}
	if err := d.check(ctx, h); err != nil {
		return nil, err
	}
	if err := d.reload(ctx, h); err != nil {
		return nil, err
	}
	return []string{"reload"}, served(min(d.options.Patience, soon))
}

// chosen returns the file that Install replaces.
func (d *Door) chosen(s *site) (string, error) {
	all := s.files()
	if d.options.Certificate != "" {
		if !slices.Contains(all, d.options.Certificate) {
			return "", invalid("HAProxy reads no certificate %s: its configuration names %s", d.options.Certificate, strings.Join(all, ", "))
		}
		return d.options.Certificate, nil
	}
	if len(all) != 1 {
		return "", invalid("HAProxy has %d certificates, and option certificate must say which one to replace: %s", len(all), strings.Join(all, ", "))
	}
	return all[0], nil
}

// changesOf are the files of a certificate with a new content: one, unless there is one
// of its key beside it.
func changesOf(ctx context.Context, r driver.InstallRequest, name string) ([]change, error) {
	both, err := installing.PEM(r.New, installing.Chain, installing.Key)
	if err != nil {
		return nil, err
	}
	_, err = r.Host.Stat(ctx, name+".key")
	if errors.Is(err, fs.ErrNotExist) {
		return []change{{kind: kindCertificate, File: installing.File{Path: name, Content: both, Mode: 0o600, Key: true}}}, nil
	}
	if err != nil {
		return nil, err
	}
	chain, err := installing.PEM(r.New, installing.Chain)
	if err != nil {
		return nil, err
	}
	key, err := installing.PEM(r.New, installing.Key)
	return []change{
		{kind: kindCertificate, File: installing.File{Path: name, Content: chain, Mode: 0o600}, bare: both},
		{kind: kindKey, File: installing.File{Path: name + ".key", Content: key, Mode: 0o600, Key: true}},
	}, err
}

// bareOf is what memory gets of a certificate whose key is beside it.
func bareOf(ctx context.Context, h driver.Host, name string) ([]byte, error) {
	text, err := h.ReadFile(ctx, name, blocking.MaxFile)
	if err != nil {
		return nil, err
	}
	key, err := h.ReadFile(ctx, name+".key", blocking.MaxFile)
	return slices.Concat(text, []byte("\n"), key), err
}

// listenersOf returns the listeners that must show what is installed as a file: those
// that read it, and those that show what it replaces from other files.
func (d *Door) listenersOf(ctx context.Context, r driver.InstallRequest, s *site, name string, old driver.Public) []driver.Listener {
	var all []driver.Listener
	for _, b := range s.binds {
		for _, file := range b.files {
			if file != name {
				if m, err := read(ctx, r.Host, file); err != nil || !m.Is(old) {
					continue
				}
			}
			all = append(all, d.listeners(b, r.New.Public)...)
			break
		}
	}
	return all
}

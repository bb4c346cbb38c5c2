// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// The kinds of files that HAProxy has in memory, as its commands call them.
const (
	kindCertificate = "cert"
	kindLists       = "crl-file"
	kindCAs         = "ca-file"
	kindDenied      = "acl"
	kindKey         = "" // in memory it is part of its certificate
)

// A change is a file as it shall be, here and in the memory of HAProxy.
type change struct {
	installing.File
	kind  string
	entry string // of a list of denied certificates: the one that counts
	shown bool   // listeners show it, so that a handshake tells more than memory
	bare  []byte // what memory gets where it is more than the file: the key is beside it
}

// check asks haproxy whether it takes the configuration with all files that it names.
func (d *Door) check(ctx context.Context, h driver.Host) error {
	args := []string{d.options.Program, "-c", "-q"}
	for _, name := range d.options.Config {
		args = append(args, "-f", name)
	}
	output, err := h.Run(ctx, driver.Command{Args: args})
	if err != nil {
		return err
	}
	if output.Exit != 0 {
		return invalid("haproxy -c refuses it: %s", installing.Said(output))
	}
	return nil
}

// running says whether HAProxy has in memory what a change wants.
func (d *Door) running(ctx context.Context, h driver.Host, c change) (bool, error) {
	switch c.kind {
	case kindKey:
		return true, nil // it is part of the certificate there
	case kindDenied:
		denied, err := d.denies(ctx, h)
		return slices.Contains(denied, c.entry) == slices.Contains(entries(string(c.Content)), c.entry), err
	case kindLists:
		lists, err := blocking.ReadLists(c.Content)
		if err != nil {
			return false, err
		}
		return d.hasLists(ctx, h, c.Path, lists)
	}
	have, used, err := d.has(ctx, h, c.kind, c.Path)
	if err != nil || !used && !c.shown {
		return false, err
	}
	var ders [][]byte
	for _, one := range blocking.ReadCertificates(c.Content) {
		ders = append(ders, one.Raw)
	}
	if c.kind == kindCertificate { // it tells of the first alone
		ders = ders[:min(1, len(ders))]
	}
	return slices.Equal(have, sha1s(ders...)), nil
}

// behind returns the changes that HAProxy does not have in memory.
func (d *Door) behind(ctx context.Context, h driver.Host, changes []change) ([]change, error) {
	var all []change
	for _, c := range changes {
		ok, err := d.running(ctx, h, c)
		if err != nil {
			return nil, err
		}
		if !ok {
			all = append(all, c)
		}
	}
	return all, nil
}

// push makes a change in memory.
func (d *Door) push(ctx context.Context, h driver.Host, c change) error {
	if c.kind == kindDenied {
		return d.deny(ctx, h, c.entry, !slices.Contains(entries(string(c.Content)), c.entry))
	}
	if c.kind == kindCertificate {
		if _, used, err := d.has(ctx, h, c.kind, c.Path); err != nil || !used {
			return cmp.Or(err, errReload)
		}
	}
	content := c.Content
	if c.bare != nil {
		content = c.bare
	}
	return d.set(ctx, h, c.kind, c.Path, content)
}

// apply writes files and makes HAProxy go by them: over its socket, or by a reload where
// that must be or the socket does not do. Then it calls settle. It says how it was done;
// nothing was to be done where that is empty.
func (d *Door) apply(ctx context.Context, h driver.Host, changes []change, reload bool, settle func() error) ([]string, error) {
	whole := filesOf(h, changes)
	differs, err := whole.Differs(ctx)
	if err != nil {
		return nil, err
	}
	behind := changes
	if d.options.Socket != "" {
		if behind, err = d.behind(ctx, h, changes); err != nil {
			return nil, err
		}
	}
	if !differs && (len(behind) == 0 || d.options.Socket == "") {
		return nil, nil
	}
	var how []string
	whole.Patience = d.options.Patience
	whole.Check = func(ctx context.Context) error { return d.check(ctx, h) }
	whole.Reload = func(ctx context.Context) (err error) {
		how, err = d.converge(ctx, h, behind, reload && len(behind) > 0, settle)
		return err
	}
	whole.Back = func(ctx context.Context) error {
		if !differs {
			return nil // it is behind files that were not changed, and goes on as it did
		}
		return d.goBack(ctx, h, changes)
	}
	if _, err := whole.Do(ctx); err != nil {
		return nil, err
	}
	return append([]string{"files", "haproxy -c"}, how...), nil
}

// filesOf is the change of files that changes are.
func filesOf(h driver.Host, changes []change) installing.Change {
	whole := installing.Change{Host: h}
	for _, c := range changes {
		whole.Files = append(whole.Files, c.File)
	}
	return whole
}

// converge makes HAProxy go by files that it is behind of, until settle finds it so.
func (d *Door) converge(ctx context.Context, h driver.Host, behind []change, reload bool, settle func() error) ([]string, error) {
	if d.options.Socket != "" && !reload {
		// Somebody else's reload may come in between, and forget what was pushed: once more.
		for attempt := 1; ; attempt++ {
			err := d.pushAll(ctx, h, behind)
			if err == nil {
				err = settle()
			}
			if errors.Is(err, errReload) {
				break
			}
			if err == nil || attempt == 3 || errors.Is(err, tallystick.ErrInvalid) || ctx.Err() != nil {
				return []string{"runtime-api"}, err
			}
			if behind, err = d.behind(ctx, h, behind); err != nil {
				return nil, err
			}
		}
	}
	for began := time.Now(); ; {
		err := d.reload(ctx, h)
		if err == nil {
			err = settle()
		}
		// HAProxy ignores what asks it to reload while it does so for somebody else, who
		// may have begun before the files were written.
		if err == nil || time.Since(began) >= d.options.Patience || ctx.Err() != nil {
			return []string{"reload"}, err
		}
	}
}

func (d *Door) pushAll(ctx context.Context, h driver.Host, behind []change) error {
	if len(behind) == 0 {
		return nil
	}
	if err := d.steady(ctx, h); err != nil {
		return err
	}
	for _, c := range behind {
		if err := d.push(ctx, h, c); err != nil {
			return err
		}
	}
	return nil
}

// goBack makes HAProxy go by files that were put back.
func (d *Door) goBack(ctx context.Context, h driver.Host, changes []change) error {
	var old []change
	for _, c := range changes {
		content, err := h.ReadFile(ctx, c.Path, blocking.MaxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c.Content = content
		if c.bare != nil {
			if c.bare, err = bareOf(ctx, h, c.Path); err != nil {
				return err
			}
		}
		old = append(old, c)
	}
	settle := func() error { return nil }
	if d.options.Socket != "" {
		settle = func() error { return d.settled(ctx, h, old) }
		behind, err := d.behind(ctx, h, old)
		if err != nil || len(behind) == 0 {
			return err
		}
	}
	_, err := d.converge(ctx, h, old, false, settle)
	return err
}

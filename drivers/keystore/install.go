// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"errors"
	"io/fs"

	keystore "github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/parse"
)

// maxFile bounds the keystores that are read, in bytes.
const maxFile = 16 << 20

// Look reads the keystore, and makes a handshake with each listener.
func (d *Door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	view := driver.View{Listeners: d.listeners}
	if d.Role == truststore {
		if err := d.lookTrusted(ctx, request.Host, &view); err != nil {
			return driver.View{}, err
		}
		return view, ctx.Err()
	}
	m, alias, err := d.read(ctx, request.Host)
	switch {
	case err == nil:
		view.Shown = []driver.Shown{{Public: m.Public, At: d.Path, Key: m.Key != nil}}
		view.Notes = append(view.Notes, "the entry is called "+alias)
	case errors.Is(err, tallystick.ErrInvalid), errors.Is(err, fs.ErrNotExist):
		view.Notes = append(view.Notes, err.Error())
	default:
		return driver.View{}, err
	}
	shown, _ := probing.Look(ctx, request.Host, d.listeners, request.Now)
	view.Shown = append(view.Shown, shown...)
	return view, ctx.Err()
}

// read reads the credential of the keystore, and the alias of its entry.
func (d *Door) read(ctx context.Context, h driver.Host) (driver.Material, string, error) {
	content, err := h.ReadFile(ctx, d.Path, maxFile)
	if err != nil {
		return driver.Material{}, "", err
	}
	passphrase, keyPassphrase, err := d.secrets(ctx, h)
	if err != nil {
		return driver.Material{}, "", err
	}
	if isJKS(content) {
		store, err := openJKS(content, passphrase)
		if err != nil {
			return driver.Material{}, "", err
		}
		return readJKS(store, d.Alias, keyPassphrase)
	}
	m, alias, err := openPKCS12(content, passphrase)
	if err == nil && d.Alias != "" && alias != "" && alias != d.Alias {
		err = invalid("the entry of the keystore is called %q, not %q", alias, d.Alias)
	}
	return m, alias, err
}

// openPKCS12 reads a file whose passphrase is right, and which asks for no more work than a file may.
func openPKCS12(content []byte, passphrase string) (driver.Material, string, error) {
	for _, problem := range parse.Bytes("keystore.p12", content, []string{passphrase}).Problems {
		if problem.Word == "too-much-work" {
			return driver.Material{}, "", invalid("opening the PKCS #12 file takes too much work: %s", problem.Detail)
		}
	}
	return readPKCS12(content, passphrase)
}

// Install replaces the entry.
func (d *Door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	if d.Role == truststore {
		return driver.Installed{}, invalid("a truststore holds no credential of its own: nothing can be installed there")
	}
	return installing.Exchange{
		Request: request,
		Read: func(ctx context.Context, h driver.Host) (driver.Material, error) {
			m, _, err := d.read(ctx, h)
			return m, err
		},
		Write: func(ctx context.Context, m driver.Material) ([]installing.File, error) {
			return d.written(ctx, request, m)
		},
		Check: d.check, Reload: d.reload, Timeout: d.Timeout, Listeners: d.listeners, Patience: d.Patience,
	}.Do(ctx)
}

// written is what the keystore shall be. One that is there and cannot be read whole is left
// alone: what else is in it would be lost.
func (d *Door) written(ctx context.Context, request driver.InstallRequest, m driver.Material) ([]installing.File, error) {
	passphrase, keyPassphrase, err := d.secrets(ctx, request.Host)
	if err != nil {
		return nil, err
	}
	content, err := request.Host.ReadFile(ctx, d.Path, maxFile)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return nil, err
	}
	alias := d.Alias
	if !missing {
		if alias, err = d.entry(content, passphrase, keyPassphrase); err != nil {
			return nil, err
		}
	}
	if alias == "" && missing {
		alias = "tallystick"
	}
	if isJKS(content) || missing && d.Type == "jks" {
		store := keystore.New(keystore.WithOrderedAliases())
		if !missing {
			if store, err = openJKS(content, passphrase); err != nil {
				return nil, err
			}
		}
		content, err = writeJKS(store, m, alias, passphrase, keyPassphrase, request.Now())
	} else {
		content, err = writePKCS12(m, alias, passphrase)
	}
	if err != nil {
		return nil, err
	}
	return []installing.File{{Path: d.Path, Content: content, Mode: 0o600, Key: true}}, nil
}

// entry returns the alias of the entry that is replaced, or added.
func (d *Door) entry(content []byte, passphrase, keyPassphrase string) (string, error) {
	if !isJKS(content) {
		_, alias, err := openPKCS12(content, passphrase)
		if err == nil && d.Alias != "" && alias != "" && alias != d.Alias {
			err = invalid("the entry of the keystore is called %q, not %q", alias, d.Alias)
		}
		return alias, err
	}
	store, err := openJKS(content, passphrase)
	if err != nil || d.Alias != "" {
		return d.Alias, err
	}
	_, alias, err := readJKS(store, "", keyPassphrase)
	return alias, err
}

// SPDX-License-Identifier: Apache-2.0

package pemfile

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 4 << 20

// Look reads the files, and makes a handshake with each listener.
func (d *Door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	view := driver.View{Listeners: d.listeners}
	there, err := d.read(ctx, request.Host)
	if errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, fs.ErrNotExist) {
		view.Notes = append(view.Notes, err.Error())
	} else if err != nil {
		return driver.View{}, err
	} else {
		view.Shown = []driver.Shown{{Public: there.Public, At: d.files[0].path, Key: there.Key != nil}}
	}
	shown, _ := probing.Look(ctx, request.Host, d.listeners, request.Now)
	view.Shown = append(view.Shown, shown...)
	if len(d.reload) == 0 {
		view.Notes = append(view.Notes, "no command makes the program read its files again")
	}
	return view, ctx.Err()
}

// read reads the credential that the files hold. It comes without its key where that
// cannot be read, or belongs to another certificate, as after a call that was killed.
func (d *Door) read(ctx context.Context, h driver.Host) (driver.Material, error) {
	var text []byte
	for _, f := range d.files {
		content, err := h.ReadFile(ctx, f.path, maxFile)
		if errors.Is(err, fs.ErrNotExist) && len(text) > 0 {
			continue // the certificate is there; its key or those above it are not
		}
		if err != nil {
			return driver.Material{}, err
		}
		text = append(append(text, content...), '\n')
	}
	m, err := installing.ReadPEM(text)
	if err != nil {
		return driver.Material{}, fmt.Errorf("%s: %w", d.files[0].path, err)
	}
	leaf, err := x509.ParseCertificate(m.Chain[0])
	if err != nil {
		return driver.Material{}, invalid("%s: couldn't read its certificate: %v", d.files[0].path, err)
	}
	if own, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); m.Key == nil || !ok || !own.Equal(m.Key.Public()) {
		m.Key = nil
	}
	return m, nil
}

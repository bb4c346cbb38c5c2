// SPDX-License-Identifier: Apache-2.0

package pemfile

import (
	"context"
	"io/fs"
	"slices"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install replaces what the files hold.
func (d *Door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	return installing.Exchange{
		Request: request,
		Read:    d.read,
		Write:   func(_ context.Context, m driver.Material) ([]installing.File, error) { return d.written(m) },
		Check:   d.check, Reload: d.reload, Timeout: d.timeout, Listeners: d.listeners, Patience: d.patience,
	}.Do(ctx)
}

// written is what the files shall be.
func (d *Door) written(m driver.Material) ([]installing.File, error) {
	var files []installing.File
	for _, f := range d.files {
		content, err := installing.PEM(m, f.parts...)
		if err != nil {
			return nil, err
		}
		mode := fs.FileMode(0o644)
		if slices.Contains(f.parts, installing.Key) {
			mode = 0o600
		}
		files = append(files, installing.File{Path: f.path, Content: content, Mode: mode, Key: mode == 0o600})
	}
	return files, nil
}

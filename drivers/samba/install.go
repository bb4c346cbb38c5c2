// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Install writes the files that smb.conf names, starts Samba again, and waits until every
// listener shows the new certificate. Nobody is served between. A Samba that cannot use
// the files does not come up: then the old ones are put back and it is started once more.
func (d *door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	if err := d.mustBe(roleServer); err != nil {
		return driver.Installed{}, err
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	if !now.tls || now.cert == "" || now.key == "" {
		return driver.Installed{}, invalid("%s has no TLS: set tls enabled, tls certfile and tls keyfile", d.Config)
	}
	installed, err := installing.Exchange{
		Request:   request,
		Read:      func(ctx context.Context) (driver.Material, error) { return now.credential(ctx, request.Host) },
		Write:     func(_ context.Context, m driver.Material) ([]installing.File, error) { return now.files(m) },
		Reload:    d.restart,
		Timeout:   d.Timeout,
		Listeners: d.listeners,
		Patience:  d.Patience,
	}.Do(ctx)
	for i, how := range installed.How {
		installed.How[i] = strings.Replace(how, "reload", "restart", 1)
	}
	return installed, err
}

// files are what the files of a credential shall be. Samba ends when others can read the
// key.
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
	return []installing.File{{Path: s.cert, Content: chain, Mode: 0o644}, {Path: s.key, Content: key, Mode: 0o600}}, err
}

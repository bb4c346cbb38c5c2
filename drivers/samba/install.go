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
		Read:      now.pair().Read,
		Write:     func(_ context.Context, m driver.Material) ([]installing.File, error) { return now.pair().Files(m) },
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

// pair is where Samba reads its credential from. It ends when others can read the key.
func (s settings) pair() installing.Pair { return installing.Pair{Certificate: s.cert, Key: s.key} }

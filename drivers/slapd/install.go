// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// shownWithin is how long listeners have to show a new certificate, after slapd has
// answered that it has read it. It is short: as long as slapd cannot use what it was given
// it refuses every handshake.
const shownWithin = 200 * time.Millisecond

// Install writes certificate and key into the files that cn=config names, and sets both
// attributes again.
func (d *door) Install(ctx context.Context, request driver.InstallRequest) (driver.Installed, error) {
	if err := installing.CheckCertificate(request.New, request.Now()); err != nil {
		return driver.Installed{}, err
	}
	s, err := d.dial(ctx, request.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	defer s.Close()
	now, err := s.settings()
	if err != nil {
		return driver.Installed{}, err
	}
	listeners, err := d.where(s)
	if err != nil {
		return driver.Installed{}, err
	}
	pair, err := now.pair()
	if err != nil {
		return driver.Installed{}, err
	}
	files, err := pair.Files(request.New)
	if err != nil {
		return driver.Installed{}, err
	}
	before, _, err := installing.Change{Host: request.Host, Files: files}.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	old, err := pair.Read(ctx, before)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := installing.Replaceable(request, old); err != nil {
		return driver.Installed{}, err
	}
	shown, differs := installing.ServedEverywhere(ctx, request.Host, listeners, request.New.Public, 0, request.Now)
	sets := []setting{{attrCert, now.cert}, {attrKey, now.key}}
	changed, err := d.do(ctx, request.Host, s, change{
		files: files, sets: sets, back: sets, reread: differs != nil, now: request.Now, listeners: listeners,
		check: func(ctx context.Context) (err error) {
			shown, err = installing.ServedEverywhere(ctx, request.Host, listeners, request.New.Public, shownWithin, request.Now)
			return err
		},
	})
	if err != nil || !changed {
		return driver.Installed{Shown: shown}, err
	}
	return driver.Installed{Shown: shown, Changed: driver.Changed{
		Changed: true, How: []string{"cn=config"}, Detail: "wrote " + now.cert + " and " + now.key + ", and set " + attrCert + " and " + attrKey + " again",
	}}, nil
}

// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"slices"
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
	defer s.close()
	now, err := s.settings()
	if err != nil {
		return driver.Installed{}, err
	}
	listeners, err := d.where(s)
	if err != nil {
		return driver.Installed{}, err
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
	sets := []setting{{attrCert, now.cert}, {attrKey, now.key}}
	changed, err := d.do(ctx, request.Host, s, change{
		files: files, sets: sets, back: sets, reread: differs != nil, now: request.Now, listeners: listeners,
		check: func() (err error) {
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

// files returns what slapd reads a credential from. The certificate goes first: who finds
// it beside the old key after a crash knows that the old one has been kept.
func (now settings) files(m driver.Material) ([]installing.File, error) {
	if now.cert == now.key {
		both, err := installing.PEM(m, installing.Chain, installing.Key)
		return []installing.File{{Path: now.cert, Content: both, Mode: 0o600}}, err
	}
	chain, err := installing.PEM(m, installing.Chain)
	if err != nil {
		return nil, err
	}
	key, err := installing.PEM(m, installing.Key)
	if err != nil {
		return nil, err
	}
	return slices.Clip([]installing.File{{Path: now.cert, Content: chain, Mode: 0o644}, {Path: now.key, Content: key, Mode: 0o600}}), nil
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"errors"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// tokensLeft says what a removed key has left behind ("Access tokens in the Microsoft identity
// platform", token lifetime).
const tokensLeft = "access tokens that it was given before stay good for up to 90 minutes, and for up to 28 hours where continuous access evaluation is on"

// Block takes a certificate out of the keys of the application. Nothing remembers who was
// there: Lift adds the certificate that it is given.
func (e *Entra) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	if err := onlyCertificates(request.Old); err != nil {
		return driver.Blocked{}, err
	}
	r, err := e.ring(ctx, request.Host, request.Now)
	if err != nil {
		return driver.Blocked{}, err
	}
	r.used, r.settles = request.Used, true
	switch e.How {
	case blockPrincipal:
		return r.disable(ctx, request)
	case blockGrant:
		return e.takeGrants(ctx, r, request)
	}
	o, err := r.look(ctx)
	if refusedKey(err) && request.OldKey != nil && !request.Lift {
		return e.blockByItself(ctx, r, driver.Material{Public: request.Old, Key: request.OldKey})
	}
	if err != nil {
		return driver.Blocked{}, err
	}
	there := o.keysOf(request.Old)
	var blocked driver.Blocked
	switch {
	case !request.Lift:
		blocked.Changed, err = r.take(ctx, o, there)
		blocked.Left = []string{tokensLeft}
	case len(there) == 0:
		blocked.Changed, err = r.put(ctx, o, request.Old, lifted)
	}
	if err != nil {
		return driver.Blocked{}, err
	}
	return blocked, nil
}

// refusedKey says that what signs in was refused.
func refusedKey(err error) bool {
	_, refused := errors.AsType[*signInError](err)
	return refused && errors.Is(err, tallystick.ErrDenied)
}

// by returns the same ring for another certificate that signs in, as the application whose keys it has.
func (r *ring) by(m driver.Material, application string) *ring {
	other, own := *r, *r.client
	other.client, own.material, own.secret, own.application, own.settles = &own, m, driver.Secret{}, application, false
	return &other
}

// blockByItself has a certificate take itself away, where the tenant never came to know the one
// that signs in now: an application needs no permission to remove a key of its own, and the
// proof may be signed by the key that goes. Where that cannot sign in any more, nobody can with it.
func (e *Entra) blockByItself(ctx context.Context, r *ring, old driver.Material) (driver.Blocked, error) {
	itself := r.by(old, e.Application)
	o, err := itself.look(ctx)
	// An application that is disabled, say, is refused too, and may be enabled again.
	if refused, ok := errors.AsType[*signInError](err); ok && slices.Contains(refused.codes, codeUnknownKey) {
		return driver.Blocked{Left: []string{tokensLeft}}, nil
	}
	if err != nil {
		return driver.Blocked{}, err
	}
	changed, err := itself.take(ctx, o, o.keysOf(old.Public))
	return driver.Blocked{Changed: changed, Left: []string{tokensLeft}}, err
}

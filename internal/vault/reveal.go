// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Reveal returns a value to its holder; version 0 is the newest. To anybody else,
// whatever their role, it is ErrDenied, and so is a secret that does not exist. That it
// leaves is in the audit log before it does. A value that is stale is ErrStale, and
// nothing leaves while the witness or the wrapping key is away.
func (v *Vault) Reveal(ctx context.Context, actor gate.Actor, id string, version int64) (driver.Secret, store.EntrustedVersion, error) {
	none, nothing := driver.Secret{}, store.EntrustedVersion{}
	if len(id) > maxWord || version < 0 {
		return none, nothing, fmt.Errorf("%w: that is not the id of an entrusted secret", tallystick.ErrInvalid)
	}
	object := fmt.Sprintf("vault/%s", id)
	_, one, err := v.version(ctx, id, version)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return none, nothing, err
	}
	if holder := HolderOf(actor); err != nil || one.Holder == "" || one.Holder != holder || actor.Role == gate.Nobody {
		if actor.Role == gate.Nobody {
			return none, nothing, v.Gate.Check(ctx, actor, gate.RevealSecret, object)
		}
		refusal := problem.With(fmt.Errorf("%w: only the holder of an entrusted secret is given its value, and %s is not", tallystick.ErrDenied, cmp.Or(holder, actor.Name)),
			"whoever entrusts a value names its holder; entrust it again to name another one")
		return none, nothing, v.Gate.Refuse(ctx, actor, gate.RevealSecret, object, refusal)
	}
	if err := v.Fresh(ctx); err != nil {
		return none, nothing, err
	}
	s, one, err := v.version(ctx, id, version) // as it is after that
	if err != nil {
		return none, nothing, err
	}
	if s.Stale() {
		refusal := problem.With(fmt.Errorf("%w: %w: version %d was, and %d is here", tallystick.ErrDenied, ErrStale, s.Lost, s.Version),
			"replace it where it is used, and entrust the new value; nothing else makes it fresh")
		return none, nothing, v.Gate.Refuse(ctx, actor, gate.RevealSecret, object, refusal)
	}
	value, err := v.decrypt(ctx, s, one)
	if err != nil {
		return none, nothing, err
	}
	defer clear(value)
	if err := v.Gate.Check(ctx, actor, gate.RevealSecret, fmt.Sprintf("%s/%d", object, one.Number)); err != nil {
		return none, nothing, err
	}
	if err := v.DB.AddHandout(ctx, s, one, one.Holder, v.Now()); err != nil {
		return none, nothing, err
	}
	one.Sealed = nil
	return driver.NewSecret(string(value)), one, nil
}

// version returns a version of a secret that was not destroyed.
func (v *Vault) version(ctx context.Context, id string, number int64) (store.EntrustedSecret, store.EntrustedVersion, error) {
	s, err := v.DB.EntrustedSecret(ctx, id)
	if err != nil {
		return s, store.EntrustedVersion{}, err
	}
	if number == 0 {
		number = s.Version
	}
	one, err := v.DB.EntrustedVersion(ctx, s.Serial, number)
	if err == nil && !one.Destroyed.IsZero() {
		err = fmt.Errorf("%w: version %d was destroyed", tallystick.ErrNotFound, number)
	}
	return s, one, err
}

// decrypt returns the value of a version, which the caller clears.
func (v *Vault) decrypt(ctx context.Context, s store.EntrustedSecret, one store.EntrustedVersion) ([]byte, error) {
	custody, err := v.open(ctx)
	if err != nil {
		return nil, err
	}
	key, err := custody.OpenDataKey(ctx, one.KeyID, keyOwner(s.Customer))
	if err != nil {
		return nil, err
	}
	if err := v.report(ctx, custody); err != nil {
		return nil, err
	}
	value, err := key.Open(one.Sealed, contextOf(s, one))
	if err != nil {
		return nil, fmt.Errorf("couldn't decrypt version %d of the secret %s: %w", one.Number, s.ID, err)
	}
	return value, nil
}

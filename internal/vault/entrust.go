// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// An Entrust is a value that is taken in.
type Entrust struct {
	Name
	Opens  string        // in words; "" leaves what was said
	Holder string        // who alone is given it; "" is nobody
	MaxAge time.Duration // when to replace it; 0 leaves what was said
	Origin string        // where it was brought from; "" leaves what was said
	Value  driver.Secret // any bytes, also none
	after  int64         // the version that it must follow; 0 is any
}

func (e Entrust) check() error {
	if err := e.Name.check(); err != nil {
		return err
	}
	if err := checkHolder(e.Holder); err != nil {
		return err
	}
	if err := errors.Join(checkText("text of what it opens", e.Opens, maxText, true), checkText("origin", e.Origin, maxText, true)); err != nil {
		return err
	}
	if e.MaxAge < 0 || e.MaxAge%time.Second != 0 || e.MaxAge > maxAge {
		return fmt.Errorf("%w: a secret is to be replaced after some whole seconds, at most ten years", tallystick.ErrInvalid)
	}
	if n := len(e.Value.Reveal()); n > MaxValue {
		return fmt.Errorf("%w: a value has at most %d bytes, and this one has %d", tallystick.ErrInvalid, MaxValue, n)
	}
	return nil
}

// Entrust takes a value in: as a new secret, or as the next version of the one that opens
// the same. It is durable when this returns. The version before it is kept, for as long
// as a system takes both; older ones are destroyed.
func (v *Vault) Entrust(ctx context.Context, actor gate.Actor, e Entrust) (store.EntrustedSecret, error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, e.Name.String()); err != nil {
		return store.EntrustedSecret{}, err
	}
	list, err := v.entrust(ctx, actor, []Entrust{e})
	if err != nil {
		return store.EntrustedSecret{}, err
	}
	return v.DB.EntrustedSecret(ctx, list[0])
}

// maxTogether is how many values one change takes in: what is locked meanwhile is short.
const maxTogether = 1000

// EntrustAll takes values in as Entrust does, a thousand at a time, and returns how many
// were: with an error those before it. what says where they come from, for the audit log.
func (v *Vault) EntrustAll(ctx context.Context, actor gate.Actor, what string, all []Entrust) (done int, err error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, fmt.Sprintf("vault: %d values from %s", len(all), what)); err != nil {
		return 0, err
	}
	for done < len(all) {
		part := all[done:min(done+maxTogether, len(all))]
		if _, err := v.entrust(ctx, actor, part); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// entrust takes values in, all or none, and returns the ids of their secrets.
func (v *Vault) entrust(ctx context.Context, actor gate.Actor, list []Entrust) ([]string, error) {
	seen := map[Name]bool{}
	for _, e := range list {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		if seen[e.Name] {
			return nil, fmt.Errorf("%w: %s is there twice", tallystick.ErrInvalid, e.Name)
		}
		seen[e.Name] = true
	}
	one, err := v.open(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	err = v.change(ctx, func(head, next store.VaultHead) ([]store.VaultChange, error) {
		k := newKeys(one, v.DB)
		rows := make([]store.Entrusting, len(list))
		changes := make([]store.VaultChange, len(list))
		ids = make([]string, len(list))
		for i, e := range list {
			if rows[i], err = v.row(ctx, k, actor, e); err != nil {
				return nil, fmt.Errorf("%s: %w", e.Name, err)
			}
			ids[i] = rows[i].Secret.ID
			changes[i] = store.VaultChange{Number: next.Number, ID: ids[i], Version: rows[i].Version.Number}
		}
		return changes, v.DB.Entrust(ctx, head, next, rows)
	})
	if err != nil {
		return nil, err
	}
	return ids, v.report(ctx, one)
}

// row encrypts a value as the next version of its secret.
func (v *Vault) row(ctx context.Context, k keys, actor gate.Actor, e Entrust) (store.Entrusting, error) {
	now := v.Now()
	s, err := v.DB.EntrustedFor(ctx, e.Customer, e.System, e.Account, e.Kind)
	switch {
	case errors.Is(err, tallystick.ErrNotFound):
		s = store.EntrustedSecret{ID: strings.ToLower(rand.Text()), Customer: e.Customer, System: e.System, Account: e.Account, Kind: e.Kind}
	case err != nil:
		return store.Entrusting{}, err
	}
	if e.after > 0 && s.Version != e.after {
		return store.Entrusting{}, errEntrustedSince(s.ID)
	}
	if e.Opens != "" {
		s.Opens = e.Opens
	}
	if e.Origin != "" {
		s.Origin = e.Origin
	}
	if e.MaxAge > 0 {
		s.MaxAge = int64(e.MaxAge / time.Second)
	}
	s.Due = time.Time{}
	if s.MaxAge > 0 {
		s.Due = now.Add(time.Duration(s.MaxAge) * time.Second)
	}
	key, err := k.of(ctx, e.Customer)
	if err != nil {
		return store.Entrusting{}, err
	}
	// A number that a lost version had is not given again.
	version := store.EntrustedVersion{Number: max(s.Version, s.Lost) + 1, KeyID: key.ID, Holder: e.Holder, Created: now, By: actor.Name}
	value := []byte(e.Value.Reveal())
	defer clear(value)
	version.Sealed, err = key.Seal(value, contextOf(s, version))
	return store.Entrusting{Secret: s, Version: version}, err
}

// Destroy makes all versions of a secret unreadable for good; what is known about it stays.
func (v *Vault) Destroy(ctx context.Context, actor gate.Actor, id string) (store.EntrustedSecret, error) {
	if err := v.Gate.Check(ctx, actor, gate.ManageVault, "destroy vault/"+id); err != nil {
		return store.EntrustedSecret{}, err
	}
	s, err := v.find(ctx, id)
	if err != nil || !s.Destroyed.IsZero() {
		return s, err
	}
	err = v.change(ctx, func(head, next store.VaultHead) ([]store.VaultChange, error) {
		return []store.VaultChange{{Number: next.Number, ID: s.ID, Version: s.Version}}, v.DB.DestroyEntrusted(ctx, head, next, s, v.Now())
	})
	if err != nil {
		return s, err
	}
	return v.DB.EntrustedSecret(ctx, id)
}

// find returns a secret by its id.
func (v *Vault) find(ctx context.Context, id string) (store.EntrustedSecret, error) {
	s, err := v.DB.EntrustedSecret(ctx, id)
	if errors.Is(err, tallystick.ErrNotFound) {
		err = problem.With(err, `run "tally vault list" to see what is kept`)
	}
	return s, err
}

// Mark says that secrets are to be replaced now, for a reason. It returns how many it
// was said of; nothing was replaced by it.
func (v *Vault) Mark(ctx context.Context, actor gate.Actor, reason string, ids ...string) (int64, error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, fmt.Sprintf("vault: replace %s: %s", strings.Join(ids, ", "), reason)); err != nil {
		return 0, err
	}
	if err := checkText("reason", reason, maxText, false); err != nil {
		return 0, err
	}
	versions := map[string]int64{}
	for _, id := range ids {
		s, err := v.find(ctx, id)
		if err != nil {
			return 0, err
		}
		versions[id] = s.Version
	}
	return v.DB.MarkEntrusted(ctx, versions, actor.Name+": "+reason, v.Now())
}

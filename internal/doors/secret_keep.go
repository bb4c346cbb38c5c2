// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A keptValue is a value of a rotation with what it is of. All of it is encrypted together: a
// plan is in the database, and who can write there must not have a value set at another account,
// or told to another door.
type keptValue struct {
	Name     string `json:"name"` // under which it is kept
	ID       string `json:"id"`
	Version  int64  `json:"version"`
	Customer string `json:"customer"`
	System   string `json:"system"`
	Account  string `json:"account"`
	Value    []byte `json:"value"`
}

func (k keptValue) is(name string, e Entrusted) bool {
	return k.Name == name && k.ID == e.ID && k.Version == e.Version && k.Customer == e.Customer && k.System == e.System && k.Account == e.Account
}

// keepSecret keeps a value of a job.
func (s *Set) keepSecret(ctx context.Context, j job, name string, value driver.Secret) error {
	e := *j.Secret
	text, err := json.Marshal(keptValue{name, e.ID, e.Version, e.Customer, e.System, e.Account, []byte(value.Reveal())})
	if err != nil {
		return fmt.Errorf("couldn't write a secret: %w", tallystick.ErrInvalid)
	}
	defer clear(text)
	if err := s.Keys.Keep(ctx, name, text); err != nil {
		return fmt.Errorf("couldn't keep a secret: %w", err)
	}
	return nil
}

// keptSecret returns a value of a job. One that is of anything else is ErrDenied.
func (s *Set) keptSecret(ctx context.Context, j job, name string) (driver.Secret, error) {
	text, err := s.Keys.Get(ctx, name)
	if err != nil {
		return driver.Secret{}, err
	}
	defer clear(text)
	var kept keptValue
	if err := json.Unmarshal(text, &kept); err != nil {
		return driver.Secret{}, fmt.Errorf("%w: what was kept is no secret of an account", tallystick.ErrDamaged)
	}
	defer clear(kept.Value)
	if !kept.is(name, *j.Secret) {
		return driver.Secret{}, fmt.Errorf("%w: what was kept is not of %s for %s of %s: the plan was changed", tallystick.ErrDenied, j.Secret.Account, j.Secret.System, j.Secret.Customer)
	}
	return driver.NewSecret(string(kept.Value)), nil
}

// oldSecret returns the value that is replaced, which is kept until the recall is over:
// the vault destroys what is older than the version before the newest.
func (s *Set) oldSecret(ctx context.Context, j job) (driver.Secret, error) {
	kept, err := s.keptSecret(ctx, j, j.OldKeyName)
	if !errors.Is(err, tallystick.ErrNotFound) {
		return kept, err
	}
	old, err := s.Vault.Take(ctx, j.Name, *j.Secret)
	if err != nil {
		return old, fmt.Errorf("couldn't get what is replaced from the vault: %w", err)
	}
	return old, s.keepSecret(ctx, j, j.OldKeyName, old)
}

// newSecret returns the value that replaces it, which it makes the first time and never again: a
// system may have it. What the system makes is empty until it has.
func (s *Set) newSecret(ctx context.Context, j job) (driver.Secret, error) {
	kept, err := s.keptSecret(ctx, j, j.KeyName)
	switch {
	case !errors.Is(err, tallystick.ErrNotFound):
		return kept, err
	case j.Secret.Form == driver.FormMade:
		return driver.Secret{}, nil
	}
	made, err := generate(*j.Secret)
	if err != nil {
		return made, err
	}
	return made, s.keepSecret(ctx, j, j.KeyName, made)
}

// orderOf returns the name of a rotation for systems that make secrets, which is made by chance:
// a number would come again after the database was made anew, and with it an old secret.
func (s *Set) orderOf(ctx context.Context, j job) (string, error) {
	if j.Secret.Form != driver.FormMade {
		return "", nil
	}
	name := j.KeyName + "/order"
	kept, err := s.keptSecret(ctx, j, name)
	if !errors.Is(err, tallystick.ErrNotFound) {
		return kept.Reveal(), err
	}
	order := rand.Text()
	return order, s.keepSecret(ctx, j, name, driver.NewSecret(order))
}

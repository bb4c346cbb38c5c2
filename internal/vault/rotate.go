// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// What the steps of a recall of entrusted secrets ask for. Whoever planned it was let in by the gate,
// and it was approved; what its steps take is on record by the name of the step.

// rotatorOf is who takes and hands values for a step of a recall.
func rotatorOf(task string) gate.Actor {
	return gate.Actor{Name: task, Role: gate.Operator, Via: "recall"}
}

// Take returns the value of a version of a secret for the step of a recall, which is
// recorded before. A value that is stale is ErrStale. One of another customer, system or
// account than the step says is ErrDenied.
func (v *Vault) Take(ctx context.Context, task string, e doors.Entrusted) (driver.Secret, error) {
	if err := v.Fresh(ctx); err != nil {
		return driver.Secret{}, err
	}
	s, one, err := v.version(ctx, e.ID, e.Version)
	if err != nil {
		return driver.Secret{}, err
	}
	if s.Customer != e.Customer || s.System != e.System || s.Account != e.Account {
		return driver.Secret{}, fmt.Errorf("%w: %s is not the secret of %s for %s of %s", tallystick.ErrDenied, e.ID, e.Account, e.System, e.Customer)
	}
	if s.Stale() {
		return driver.Secret{}, fmt.Errorf("%w: %w: version %d was, and %d is here", tallystick.ErrDenied, ErrStale, s.Lost, s.Version)
	}
	value, err := v.decrypt(ctx, s, one)
	if err != nil {
		return driver.Secret{}, err
	}
	defer clear(value)
	if err := v.Gate.Check(ctx, rotatorOf(task), gate.RotateSecret, fmt.Sprintf("vault/%s/%d", e.ID, one.Number)); err != nil {
		return driver.Secret{}, err
	}
	return driver.NewSecret(string(value)), nil
}

// Permit records that a recall is about to set or drop a value of a secret at a door.
func (v *Vault) Permit(ctx context.Context, task, what, id, door string) error {
	return v.Gate.Check(ctx, rotatorOf(task), gate.RotateSecret, fmt.Sprintf("%s vault/%s at the door %s", what, id, door))
}

// Holds is ErrConflict unless the newest value of a secret is one of two: somebody has
// entrusted another one meanwhile, and it may be the one that works.
func (v *Vault) Holds(ctx context.Context, id string, one, other driver.Secret) error {
	_, _, newest, err := v.newest(ctx, id)
	if err != nil {
		return err
	}
	defer clear(newest)
	if !equal(newest, one) && !equal(newest, other) {
		return errEntrustedSince(id)
	}
	return nil
}

// Hand makes a value the newest of a secret, in place of another, for the step of a recall, and
// returns its version. It changes nothing when that is the newest already. It is ErrConflict as
// Holds is, also when somebody entrusts another value at this instant.
func (v *Vault) Hand(ctx context.Context, task, id string, from, to driver.Secret) (int64, error) {
	s, one, newest, err := v.newest(ctx, id)
	if err != nil {
		return 0, err
	}
	defer clear(newest)
	switch {
	case equal(newest, to):
		return one.Number, nil
	case !equal(newest, from):
		return 0, errEntrustedSince(id)
	}
	who := rotatorOf(task)
	e := Entrust{Name: Name{s.Customer, s.System, s.Account, s.Kind}, Holder: one.Holder, Value: to, after: one.Number}
	if err := v.Gate.Check(ctx, who, gate.RotateSecret, "new value of "+e.Name.String()); err != nil {
		return 0, err
	}
	if _, err = v.entrust(ctx, who, []Entrust{e}); err != nil {
		return 0, err
	}
	if _, one, err = v.version(ctx, id, 0); err != nil {
		return 0, err
	}
	return one.Number, nil
}

// MarkBurnt says of a version that it is to be replaced now: a recall was rolled back, so that the
// value it was about is in force again.
func (v *Vault) MarkBurnt(ctx context.Context, task, id string, version int64) error {
	_, err := v.DB.MarkEntrusted(ctx, map[string]int64{id: version}, task+": it was rolled back, and the old value gets in again", v.Now())
	return err
}

// Replaced says whether the newest value of a secret is another than that of a version. Of one
// that was destroyed it is.
func (v *Vault) Replaced(ctx context.Context, id string, version int64) (bool, error) {
	s, one, newest, err := v.newest(ctx, id)
	if err != nil || one.Number <= version {
		return false, err
	}
	defer clear(newest)
	_, before, err := v.version(ctx, id, version)
	if errors.Is(err, tallystick.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	value, err := v.decrypt(ctx, s, before)
	defer clear(value)
	return err == nil && subtle.ConstantTimeCompare(newest, value) == 0, err
}

// newest returns the newest version of a secret with its value, which the caller clears.
func (v *Vault) newest(ctx context.Context, id string) (store.EntrustedSecret, store.EntrustedVersion, []byte, error) {
	s, one, err := v.version(ctx, id, 0)
	if err != nil {
		return s, one, nil, err
	}
	value, err := v.decrypt(ctx, s, one)
	return s, one, value, err
}

func errEntrustedSince(id string) error {
	return problem.With(fmt.Errorf("%w: somebody has entrusted another value of %s since the recall was planned", tallystick.ErrConflict, id),
		"see which value the system takes: skip the target when that one is right, or entrust the right one")
}

func equal(a []byte, b driver.Secret) bool {
	return subtle.ConstantTimeCompare(a, []byte(b.Reveal())) == 1
}

// A Taken says how far the holder of a secret is.
type Taken struct {
	Holder  string    `json:"holder,omitempty"` // of the newest version; "" is nobody
	Version int64     `json:"version"`          // the newest
	Given   time.Time `json:"given,omitzero"`   // when the holder was first given the one that was asked for
}

// Taken says whether the holder of a secret has been given a version.
func (v *Vault) Taken(ctx context.Context, id string, version int64) (Taken, error) {
	s, err := v.DB.EntrustedSecret(ctx, id)
	if err != nil {
		return Taken{}, err
	}
	given, err := v.DB.FirstHandout(ctx, s.Serial, version)
	return Taken{Holder: s.Holder, Version: s.Version, Given: given}, err
}

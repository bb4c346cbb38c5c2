// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// What a recall of entrusted secrets asks for. Whoever planned it was let in by the gate, and
// it was approved; what its steps take is on record by the name of the step.

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

// Burnt returns the secrets that a recall of entrusted ones is about, each once and as it is
// now (tallystick.BurntEntrusted says how they are named).
func (v *Vault) Burnt(ctx context.Context, value string) ([]store.EntrustedSecret, error) {
	host, from, to, isHost := tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: value}.ReadableFrom()
	switch {
	case isHost:
		q := Question{Host: host}
		var err error
		if q.From, q.To, err = query.ParseSpan(from, to); err != nil {
			return nil, err
		}
		return v.readable(ctx, q)
	case value == "due":
		return v.due(ctx)
	}
	s, err := v.find(ctx, value)
	if err == nil && !s.Destroyed.IsZero() {
		err = fmt.Errorf("%w: the secret %s was destroyed", tallystick.ErrNotFound, value)
	}
	return []store.EntrustedSecret{s}, err
}

// BurntUnder returns the secrets whose newest version was ever under a wrapping key.
func (v *Vault) BurntUnder(ctx context.Context, wrappingKey string) ([]store.EntrustedSecret, error) {
	list, err := v.readable(ctx, Question{Key: wrappingKey})
	if errors.Is(err, tallystick.ErrNotFound) {
		err = nil // it was never used for what was entrusted
	}
	return list, err
}

// Burnt says what a recall of all that a question names is about. What was under a wrapping
// key is burnt together with all else that was.
func (q Question) Burnt() tallystick.Burnt {
	if q.Host == "" {
		return tallystick.Burnt{Kind: tallystick.BurntWrapping, Value: q.Key}
	}
	value := "host/" + q.Host
	if !q.From.IsZero() || !q.To.IsZero() {
		value += "@" + word(q.From, "") + "/" + word(q.To, "")
	}
	return tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: value}
}

// Reading returns who that a Burnt is about can open what is entrusted from now on: a host that
// has a wrapping key that is in use, or such a key itself.
func (v *Vault) Reading(ctx context.Context, what tallystick.Burnt) ([]string, error) {
	keys, err := v.DB.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	inUse := map[string]bool{}
	for _, key := range keys {
		inUse[key.ID] = key.Retired.IsZero()
	}
	if what.Kind == tallystick.BurntWrapping {
		if inUse[what.Value] {
			return []string{"Who has the wrapping key " + what.Value}, nil
		}
		return nil, nil
	}
	host, _, _, is := what.ReadableFrom()
	if !is {
		return nil, nil
	}
	readers, err := v.DB.Readers(ctx, host)
	for _, r := range readers {
		if inUse[r.WrappingKey] && r.Until.IsZero() {
			return []string{"The host " + host}, err
		}
	}
	return nil, err
}

// mostBurnt bounds how many secrets one recall is about.
const mostBurnt = 200_000

func (v *Vault) readable(ctx context.Context, q Question) ([]store.EntrustedSecret, error) {
	reaches, err := v.reaches(ctx, q)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	request := store.PageRequest{Limit: maxTogether}
	for {
		page, err := v.DB.Exposures(ctx, reaches, v.Now(), request)
		if err != nil {
			return nil, err
		}
		for _, x := range page.Items {
			if x.Current {
				seen[x.ID] = true
			}
		}
		if request.After = page.Next; page.Next == "" || len(seen) > mostBurnt {
			return v.all(ctx, seen)
		}
	}
}

// all returns secrets by their ids, in an order that is always the same.
func (v *Vault) all(ctx context.Context, ids map[string]bool) ([]store.EntrustedSecret, error) {
	if len(ids) > mostBurnt {
		return nil, fmt.Errorf("%w: that is more than %d secrets; recall them in parts", tallystick.ErrInvalid, mostBurnt)
	}
	list := make([]store.EntrustedSecret, 0, len(ids))
	for id := range ids {
		s, err := v.DB.EntrustedSecret(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b store.EntrustedSecret) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// due returns what is to be replaced by now.
func (v *Vault) due(ctx context.Context) ([]store.EntrustedSecret, error) {
	var list []store.EntrustedSecret
	request := store.PageRequest{Limit: maxTogether}
	for {
		page, _, err := v.DB.EntrustedSecrets(ctx, store.EntrustedFilter{Due: v.Now()}, request)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if request.After = page.Next; page.Next == "" {
			return list, nil
		}
		if len(list) > mostBurnt {
			return nil, fmt.Errorf("%w: that is more than %d secrets; recall them in parts", tallystick.ErrInvalid, mostBurnt)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/problem"
)

// An act does one sort of Task at a door.
type act struct {
	verb   string // that the driver needs; "" is none
	writes bool   // nobody else writes at the door meanwhile
	do     func(*Set, context.Context, job) (Result, error)
}

// acts are those that are done at doors; issue, drain, revoke and gate are the server's.
var acts = map[tallystick.Act]act{
	tallystick.ActKey:     {"", false, (*Set).makeKey},
	tallystick.ActInstall: {"install", true, (*Set).install},
	tallystick.ActTrust:   {"trust", true, (*Set).trust},
	tallystick.ActBlock:   {"block", true, (*Set).block},
	tallystick.ActLift:    {"block", true, (*Set).block},
	tallystick.ActProbe:   {"", false, (*Set).probeNew},
	tallystick.ActHold:    {"", false, (*Set).hold},
	tallystick.ActProve:   {"", false, (*Set).prove},
}

// Tries returns where a task tries a credential: other tasks connect to nothing but their door.
func (t Task) Tries() []driver.Listener {
	switch t.Act {
	case tallystick.ActProbe, tallystick.ActHold, tallystick.ActProve:
		return t.Listeners
	}
	return nil
}

// A job is a Task with the door and the machine that it is for.
type job struct {
	Task
	at   *door
	host driver.Host
}

// Do does a task. A door that is not of this Set is ErrNotFound; an act that its driver
// cannot do is ErrInvalid. An error of an act that writes says nothing about whether it
// happened: the same task may be done again. Beside an error the Result has nothing but what was
// tried until then, which is for the record: wrong tries count at the other side.
func (s *Set) Do(ctx context.Context, t Task) (Result, error) {
	d, err := s.find(t.Door)
	if err != nil {
		return Result{}, err
	}
	one, known := acts[t.Act]
	if !known {
		return Result{}, fmt.Errorf("%w: %q is not done at a door", tallystick.ErrInvalid, t.Act)
	}
	if t.Secret != nil {
		one = act{"rotate", false, (*Set).rotate} // each account is one of its own
	}
	if one.verb != "" && !slices.Contains(d.Verbs, one.verb) {
		return Result{}, problem.With(fmt.Errorf("couldn't %s at the door %s: %w: the driver %s has no way to", t.Act, d.Name, tallystick.ErrInvalid, d.Driver),
			"Do it by hand there, and say that it is done.")
	}
	ctx, cancel := context.WithTimeout(ctx, actTime)
	defer cancel()
	leave, err := d.enter(ctx, one.writes)
	if err != nil {
		return Result{}, fmt.Errorf("couldn't %s at the door %s: %w", t.Act, d.Name, err)
	}
	defer leave()
	host, err := s.hosts.get(ctx, d.Host)
	if err != nil {
		return Result{}, fmt.Errorf("couldn't %s at the door %s: %w", t.Act, d.Name, err)
	}
	result, err := one.do(s, ctx, job{t, d, host})
	if err != nil {
		return Result{Attempts: result.Attempts, NewAttempts: result.NewAttempts}, fmt.Errorf("couldn't %s at the door %s: %w", t.Act, d.Name, err)
	}
	return result, nil
}

// material is a credential of the task with its private half.
func (s *Set) material(ctx context.Context, public driver.Public, keyName string) (driver.Material, error) {
	if len(public.Names()) == 0 {
		return driver.Material{}, fmt.Errorf("%w: the task names no credential that can be read", tallystick.ErrInvalid)
	}
	key, err := s.Keys.Signer(ctx, keyName)
	if err != nil {
		return driver.Material{}, fmt.Errorf("couldn't find the key of %s: %w", public.Names()[0], err)
	}
	return driver.Material{Public: public, Key: key}, nil
}

// install puts the new credential in the place of the old, which is kept before.
func (s *Set) install(ctx context.Context, j job) (Result, error) {
	next, err := s.material(ctx, j.New, j.KeyName)
	if err != nil {
		return Result{}, err
	}
	keep := func(old driver.Material) error { return s.keepOld(ctx, j, old) }
	installed, err := j.at.verbs.(driver.Installer).Install(ctx, driver.InstallRequest{Host: j.host, New: next, Keep: keep, Now: s.Now})
	if err != nil {
		return Result{}, err
	}
	result := Result{Installed: &installed}
	if result.Old, err = s.keptOld(ctx, j); err != nil {
		return Result{}, err
	}
	return s.seen(ctx, j, result)
}

// publicName is what the public half of a kept key is under.
func publicName(keyName string) string { return keyName + "/public" }

// keepOld keeps what is about to be replaced. The credential that is recalled is never
// given up for another one that somebody put there between two tries.
func (s *Set) keepOld(ctx context.Context, j job, old driver.Material) error {
	if j.OldKeyName == "" {
		return nil
	}
	kept, err := s.keptOld(ctx, j)
	if err != nil || kept != nil && kept.Is(j.Old) && !old.Is(j.Old) {
		return err
	}
	if old.Key != nil {
		if err := s.Keys.KeepKey(ctx, j.OldKeyName, old.Key); err != nil {
			return fmt.Errorf("couldn't keep the key that is replaced: %w", err)
		}
	}
	text, err := encode(old.Public)
	if err != nil {
		return err
	}
	if err := s.Keys.Keep(ctx, publicName(j.OldKeyName), text); err != nil {
		return fmt.Errorf("couldn't keep what is replaced: %w", err)
	}
	return nil
}

// keptOld returns what keepOld kept, nil when it kept nothing.
func (s *Set) keptOld(ctx context.Context, j job) (*driver.Public, error) {
	if j.OldKeyName == "" {
		return nil, nil
	}
	text, err := s.Keys.Get(ctx, publicName(j.OldKeyName))
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var old driver.Public
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, fmt.Errorf("%w: what was kept of the old credential cannot be read", tallystick.ErrDamaged)
	}
	return &old, nil
}

// trust lets the new credential in beside the others, or takes that back. Where the door
// denies us that, somebody may have done it by hand.
func (s *Set) trust(ctx context.Context, j job) (Result, error) {
	key, err := s.oldKey(ctx, j)
	if err != nil && !errors.Is(err, tallystick.ErrUnavailable) { // mostly it goes without
		return Result{}, err
	}
	changed, err := j.at.verbs.(driver.Truster).Trust(ctx, driver.TrustRequest{Host: j.host, New: j.New, Like: j.Like, LikeKey: key, Authorities: j.Authorities, CRLs: j.CRLs, Withdraw: j.Withdraw, Now: s.Now, Used: s.usedBy(j.at, j.Old)})
	if errors.Is(err, tallystick.ErrDenied) && s.stands(ctx, j, func(v driver.View) bool { return lets(v, j.New) != j.Withdraw }) {
		changed, err = driver.Changed{How: []string{byHand}}, nil
	}
	if err != nil {
		return Result{}, err
	}
	return s.seen(ctx, j, Result{Changed: &changed})
}

// byHand says that a door stood as it should, though it denies us to make it so.
const byHand = "by-hand"

// stands looks whether the door is as a change would make it.
func (s *Set) stands(ctx context.Context, j job, is func(driver.View) bool) bool {
	view, err := s.look(ctx, j.at)
	return err == nil && is(view)
}

// lets says whether a view shows that a credential gets in by its name.
func lets(v driver.View, p driver.Public) bool {
	return slices.ContainsFunc(v.Accepts, func(a driver.Accepted) bool { return names(p, a.Name) }) && !denies(v, p)
}

func denies(v driver.View, p driver.Public) bool {
	return slices.ContainsFunc(v.Denies, func(name string) bool { return names(p, name) })
}

func names(p driver.Public, name string) bool {
	return slices.Contains(p.Names(), tallystick.NormalName(name))
}

// block makes the door refuse the old credential, or takes that back. Where the door denies
// us that, somebody may have done it by hand; a door that lets in whatever a CA signed must
// name what it denies.
func (s *Set) block(ctx context.Context, j job) (Result, error) {
	lift := j.Lift || j.Act == tallystick.ActLift
	key, err := s.oldKey(ctx, j)
	if err != nil {
		return Result{}, err
	}
	blocked, err := j.at.verbs.(driver.Blocker).Block(ctx, driver.BlockRequest{Host: j.host, Old: j.Old, OldKey: key, CRLs: j.CRLs, Lift: lift, Now: s.Now, Used: s.usedBy(j.at, j.Old)})
	if errors.Is(err, tallystick.ErrDenied) && s.stands(ctx, j, func(v driver.View) bool {
		if lift {
			return !denies(v, j.Old) && (len(v.Authorities) > 0 || lets(v, j.Old))
		}
		return denies(v, j.Old) || len(v.Authorities) == 0 && len(v.Accepts) > 0 && !lets(v, j.Old)
	}) {
		blocked, err = driver.Blocked{Changed: driver.Changed{How: []string{byHand}}}, nil
	}
	if err != nil {
		return Result{}, err
	}
	result, err := s.seen(ctx, j, Result{Blocked: &blocked})
	if errors.Is(err, tallystick.ErrDenied) && key != nil && !lift {
		return Result{Blocked: &blocked}, nil // the old one was all that let us in, and Block has looked
	}
	return result, err
}

// oldKey returns the private half of the old credential, nil where it is not here.
func (s *Set) oldKey(ctx context.Context, j job) (crypto.Signer, error) {
	if j.OldKeyName == "" {
		return nil, nil
	}
	key, err := s.Keys.Signer(ctx, j.OldKeyName)
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil, nil
	}
	return key, err
}

// seen adds to a result how the door stands: every write is paired with a look.
func (s *Set) seen(ctx context.Context, j job, result Result) (Result, error) {
	view, err := s.look(ctx, j.at)
	if err != nil {
		return Result{}, err
	}
	result.View = narrow(view, j.Old, j.New, j.Like)
	return result, nil
}

// narrow leaves of a view what is about some credentials, and the addresses: a door may
// let thousands in.
func narrow(view driver.View, about ...driver.Public) *driver.View {
	var names []string
	for _, public := range about {
		names = append(names, public.Names()...)
	}
	less := driver.View{Listeners: view.Listeners, Notes: view.Notes}
	for _, shown := range view.Shown {
		if slices.ContainsFunc(about, shown.Public.Is) {
			less.Shown = append(less.Shown, shown)
		}
	}
	for _, accepted := range view.Accepts {
		if slices.Contains(names, tallystick.NormalName(accepted.Name)) {
			less.Accepts = append(less.Accepts, accepted)
		}
	}
	for _, denied := range view.Denies {
		if slices.Contains(names, tallystick.NormalName(denied)) {
			less.Denies = append(less.Denies, denied)
		}
	}
	return &less
}

// SPDX-License-Identifier: Apache-2.0

// Package trying tries the two secrets of an account in the order that
// driver.Rotator.TestSecret promises: New, then Old, then New again, at one address after the
// other. Where somebody counts, no two wrong ones come in a row, so that no account is locked out by
// a try.
//
// A driver brings how one sign-in is made and by what name the other side writes it down, and what is
// counted against the account. Every sign-in that was answered is told, once.
package trying

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/probing"
)

// A Trial is one TestSecret, with what has come of it so far.
type Trial struct {
	driver.Tested
	Request driver.SecretRequest
	// Counts says that somebody may count wrong ones at the addresses that follow: once New was not
	// let in, nothing more is tried there, wherever that was. Where nobody does, New is tried at each.
	Counts bool

	wrong bool // New was not let in at the address before
}

// A Spot is one address at which secrets are tried.
type Spot struct {
	Listener driver.Listener
	Address  string
	// Try signs in once. An error ends the trial; what is returned beside it is told all the same.
	Try func(ctx context.Context, secret driver.Secret) (driver.Attempt, error)
	// MayTry is asked before each try that may be wrong. An error is why none is made here now;
	// nil is for systems that do not count.
	MayTry func(ctx context.Context) error
	// Tell takes down, by the function of that name, what came of a try of a secret; nil is for a Try
	// that does so itself.
	Tell func(secret driver.Secret, attempt driver.Attempt)
	// Forget has somebody else forget that Old was wrong, after all that is tried here, and says
	// whether that went well. It is for those who count and are not asked about New each time;
	// it may be nil.
	Forget func(ctx context.Context) bool
}

// At tries at one address.
func (t *Trial) At(ctx context.Context, s Spot) error {
	next, err := t.try(ctx, s, t.Request.New, t.Counts && t.wrong)
	right := err == nil && next.Outcome == driver.OutcomeAccepted
	if t.Request.TryOld && err == nil {
		var old driver.Attempt
		old, err = t.try(ctx, s, t.Request.Old, !right)
		t.Old = append(t.Old, old)
		if right && err == nil {
			next, err = s.enter(ctx, t.Request.New)
			forgot := s.Forget == nil || s.Forget(ctx)
			right = forgot && err == nil && next.Outcome == driver.OutcomeAccepted
		}
	}
	t.New = append(t.New, next)
	t.wrong = !right
	return err
}

// try tries what may be wrong, unless another one was wrong before it.
func (t *Trial) try(ctx context.Context, s Spot, secret driver.Secret, spared bool) (driver.Attempt, error) {
	if spared {
		return t.untried(s.Listener, s.Address, "not tried: the new one did not get in before this, and several wrong ones in a row may lock the account out"), ctx.Err()
	}
	if s.MayTry != nil {
		if err := s.MayTry(ctx); err != nil {
			return t.untried(s.Listener, s.Address, "not tried: "+err.Error()), ctx.Err()
		}
	}
	return s.enter(ctx, secret)
}

// enter tries, and tells of it.
func (s Spot) enter(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
	attempt, err := s.Try(ctx, secret)
	if s.Tell != nil {
		s.Tell(secret, attempt)
	}
	return attempt, err
}

// Unfound says of a listener that its addresses are not known, so that nothing was tried there. The
// error is that of a context that has ended.
func (t *Trial) Unfound(ctx context.Context, l driver.Listener, why error) error {
	why = fmt.Errorf("couldn't find the addresses of %s: %w", l.Address, why)
	t.New = append(t.New, t.untried(l, l.Address, why.Error()))
	if t.Request.TryOld {
		t.Old = append(t.Old, t.untried(l, l.Address, why.Error()))
	}
	return ctx.Err()
}

func (t *Trial) untried(l driver.Listener, address, why string) driver.Attempt {
	return driver.Attempt{Listener: l, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, Answer: network.Clean(why), At: t.Request.Now().UTC()}
}

// Everywhere tries at each address of listeners, as a machine finds them.
func (t *Trial) Everywhere(ctx context.Context, h driver.Host, listeners []driver.Listener, spot func(l driver.Listener, address string) Spot) error {
	for _, l := range listeners {
		addresses, err := probing.Addresses(ctx, h, l.Address)
		if err != nil {
			err = t.Unfound(ctx, l, err)
		}
		for _, address := range addresses {
			if err == nil {
				err = t.At(ctx, spot(l, address))
			}
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Tell takes down a sign-in, so that nobody takes it for a thief's. One that came to nothing is in
// no log. Names are those that the log of the other side has for the account; of none, whoever
// is told has to know them. Party is which server that log is of: "kind:" alone matches any server of
// the kind, and is for logs that call the server by a name or an address of its own; "" is not known.
func Tell(request driver.SecretRequest, names []string, party string, attempt driver.Attempt) {
	outcome := map[string]tallystick.Outcome{driver.OutcomeAccepted: tallystick.OutcomeSuccess, driver.OutcomeRefused: tallystick.OutcomeRefused}[attempt.Outcome]
	if request.Used == nil || outcome == "" {
		return
	}
	request.Used(tallystick.Use{
		Time: attempt.At, Level: tallystick.LevelRequest, Credential: names, RelyingParty: party, Outcome: outcome,
		Operation: "rotate", Detail: "Tallystick rotates the secret",
	})
}

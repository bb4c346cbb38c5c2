// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// TestSecret signs in by a simple bind over TLS and by Kerberos. A wrong password counts at both; a
// right one at either sets the count to none. After a New that was not right nothing more is tried.
func (d *AD) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	if request.New.IsZero() || request.TryOld && request.Old.IsZero() {
		return driver.Tested{}, invalid("an empty password cannot be tried: a directory lets anybody in with none, as nobody")
	}
	a, err := d.stands(ctx, request.Account)
	if err != nil {
		return driver.Tested{}, err
	}
	if a.MayTry == 0 {
		return driver.Tested{}, a.noTry()
	}
	t := trial{rotating: &rotating{AD: d, standing: a, request: request}}
	for i := range a.Listeners {
		if err := t.at(ctx, i); err != nil {
			return t.Tested, err
		}
	}
	return t.Tested, nil
}

// A trial is a TestSecret.
type trial struct {
	*rotating
	driver.Tested
	stopped bool // New was not let in
}

// at tries at one listener: New, then Old, then New again.
func (t *trial) at(ctx context.Context, i int) error {
	next, err := t.try(ctx, i, t.request.New)
	if err != nil {
		return err
	}
	t.stopped = next.Outcome != driver.OutcomeAccepted
	if t.request.TryOld {
		old, err := t.try(ctx, i, t.request.Old)
		if err != nil {
			return err
		}
		t.Old = append(t.Old, t.weighed(i, old))
	}
	if t.request.TryOld && !t.stopped {
		t.tell(next)
		if next, err = t.enterAt(ctx, i, t.request.New); err != nil {
			return err
		}
		t.stopped = next.Outcome != driver.OutcomeAccepted
	}
	t.New = append(t.New, next)
	return nil
}

// try tries a password that may be wrong, where that locks nobody out.
func (t *trial) try(ctx context.Context, i int, secret driver.Secret) (driver.Attempt, error) {
	if t.stopped {
		return t.notTried(i, "the new password did not get in before, and several wrong ones in a row lock the account out"), nil
	}
	if err := t.recount(ctx); err != nil {
		return driver.Attempt{}, err
	}
	if t.MayTry == 0 {
		return t.notTried(i, t.noTry().Error()), nil
	}
	return t.enterAt(ctx, i, secret)
}

// enterAt signs in at a listener: the first is of LDAP, the other of Kerberos. People may have made up
// the old password, also where a caller looks whether it gets in and has it as New.
func (t *trial) enterAt(ctx context.Context, i int, secret driver.Secret) (driver.Attempt, error) {
	if i == 0 {
		return t.enter(ctx, secret, t.request.Now)
	}
	guessable := secret.Reveal() == t.request.Old.Reveal()
	return t.kdc.enter(ctx, t.name, secret, guessable, t.request.Now), ctx.Err()
}

// weighed says of a refusal of Old what it is worth. The KDC signs none: it counts where LDAP, over TLS,
// refused Old as well. LDAP that takes it for a while longer says nothing against it.
func (t *trial) weighed(i int, old driver.Attempt) driver.Attempt {
	if i == 0 || old.Outcome != driver.OutcomeRefused || t.Old[0].Outcome == driver.OutcomeRefused {
		return old
	}
	why := "refused by an answer that nobody has signed, which is no proof while LDAP takes the password: "
	if t.Old[0].Outcome != driver.OutcomeAccepted {
		old.Outcome = driver.OutcomeFailed
		why = "refused by an answer that nobody has signed, which is no proof without LDAP, where nothing came of it: "
	}
	old.Answer = ldapdir.Printable(why + old.Answer)
	return old
}

// noTry says that one more wrong password could lock the account out.
func (a *standing) noTry() error {
	why := "one more wrong password would lock it out"
	if a.Barred != "" {
		why = "it is " + a.Barred
	}
	return fmt.Errorf("%w: no password of %s is tried: %s. Wait until wrong ones are not counted any more", tallystick.ErrDenied, network.Quote(a.name), why)
}

func (t *trial) notTried(i int, why string) driver.Attempt {
	l := t.Listeners[i]
	return driver.Attempt{
		Listener: l, Address: l.Address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: t.request.Now().UTC(), Answer: ldapdir.Printable("not tried: " + why),
	}
}

// wrongPassword says whether a refusal of a bind is about the password. What is wrong else is told
// by a number of Windows in the text ([MS-ERREF] section 2.2): of an account that is locked,
// disabled or expired it says nothing about the password.
func wrongPassword(said *ldap.Error) bool {
	if said.ResultCode != ldap.LDAPResultInvalidCredentials {
		return false
	}
	for _, other := range []string{"525", "530", "531", "532", "533", "701", "773", "775"} {
		if strings.Contains(said.Error(), "data "+other+",") {
			return false
		}
	}
	return true
}

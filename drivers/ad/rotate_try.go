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
	"github.com/tallystick/tallystick/driver/trying"
)

// TestSecret signs in by a simple bind over TLS and by Kerberos. A wrong password counts at both; a
// right one at either sets the count to none.
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
	r := &rotating{AD: d, standing: a, request: request}
	t := trying.Trial{Request: request, Counts: true}
	for i, l := range a.Listeners {
		err = t.At(ctx, trying.Spot{
			Listener: l, Address: l.Address, MayTry: r.mayTry,
			Tell: func(_ driver.Secret, attempt driver.Attempt) { r.tell(attempt) },
			Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
				return r.enterAt(ctx, i, secret)
			},
		})
		if err != nil {
			break
		}
	}
	if len(t.Old) > 1 {
		t.Old[1] = weighed(t.Old[0], t.Old[1])
	}
	return t.Tested, err
}

// mayTry says why no password is tried now that may be wrong. Each controller counts, and what it has
// counted may have changed since the last try.
func (a *rotating) mayTry(ctx context.Context) error {
	if err := a.recount(ctx); err != nil {
		return err
	}
	if a.MayTry == 0 {
		return a.noTry()
	}
	return nil
}

// enterAt signs in at a listener: the first is of LDAP, the other of Kerberos. People may have made up
// the old password, also where a caller looks whether it gets in and has it as New.
func (a *rotating) enterAt(ctx context.Context, i int, secret driver.Secret) (driver.Attempt, error) {
	if i == 0 {
		return a.enter(ctx, secret, a.request.Now)
	}
	guessable := secret.Reveal() == a.request.Old.Reveal()
	return a.kdc.enter(ctx, a.name, secret, guessable, a.request.Now), ctx.Err()
}

// weighed says of what Kerberos said of Old what it is worth. The KDC signs no refusal: it counts where
// LDAP, over TLS, refused Old as well. LDAP that takes it for a while longer says nothing against it.
func weighed(byLDAP, byKerberos driver.Attempt) driver.Attempt {
	if byKerberos.Outcome != driver.OutcomeRefused || byLDAP.Outcome == driver.OutcomeRefused {
		return byKerberos
	}
	why := "refused by an answer that nobody has signed, which is no proof while LDAP takes the password: "
	if byLDAP.Outcome != driver.OutcomeAccepted {
		byKerberos.Outcome = driver.OutcomeFailed
		why = "refused by an answer that nobody has signed, which is no proof without LDAP, where nothing came of it: "
	}
	byKerberos.Answer = ldapdir.Printable(why + byKerberos.Answer)
	return byKerberos
}

// noTry says that one more wrong password could lock the account out.
func (a *standing) noTry() error {
	why := "one more wrong password would lock it out"
	if a.Barred != "" {
		why = "it is " + a.Barred
	}
	return fmt.Errorf("%w: no password of %s is tried: %s. Wait until wrong ones are not counted any more", tallystick.ErrDenied, network.Quote(a.name), why)
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

// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/trying"
)

// An account has one password. For a while after a new one was set a domain controller lets the
// one before it in as well: at sign-ins by NTLM (KB906305), and that of Samba at simple binds over
// LDAP ("old password allowed period" of smb.conf); by Kerberos never. It is the one before and no
// other: so one more reset, with New again, puts New itself in the place of Old, which is refused
// from then on. At no moment does anybody get in by another password than these two, and New gets
// in all the time, also where this is killed in between. Samba 4.17 was seen to do so, and no
// Windows: TestSecret finds out.
//
// A reset needs the right to reset passwords, and is not bound by the history nor by the least
// age of passwords. A change by the account itself (both in [MS-ADTS] section 3.1.1.3.1.5.1) is bound by
// both: it cannot be repeated, so that Old gets in until its time is over.
//
// All is done and tried at the one domain controller that url names. Others hear of it by
// replication, and may take Old until then.
var _ driver.Rotator = (*AD)(nil)

const attrPassword = "unicodePwd"

// SetSecret sets a password: by a reset of write-bind, else by a change that the account makes
// itself, with Old. Both go out over TLS alone. First it tries by Kerberos whether the account has
// it already, because a second reset would end the time of Old; where no try is to be had
// without a lock, or nobody is let in, it is set all the same. What is withdrawn gets in for as
// long as any old password does.
func (d *AD) SetSecret(ctx context.Context, request driver.SecretRequest) (driver.SecretSet, error) {
	want, other := request.New, request.Old
	if request.Withdraw {
		want, other = other, want
	}
	a, err := d.rotated(ctx, request, want)
	if err != nil {
		return driver.SecretSet{}, err
	}
	has, err := a.has(ctx, want, request.Withdraw)
	if err != nil || has {
		return driver.SecretSet{}, err
	}
	how := "reset"
	if d.resets() {
		err = a.reset(ctx, want)
		if err == nil && request.Withdraw && !a.hasKDC() {
			err = a.reset(ctx, want) // so that New is refused: else a later look would take it for the one that is set
		}
	} else {
		how, err = "change", a.change(ctx, other, want)
	}
	if err != nil {
		if a.wrong && a.recount(ctx) == nil && a.MayTry != 0 { // Old may be wrong too
			a.forgive(ctx, other)
		}
		return driver.SecretSet{}, err
	}
	a.forgive(ctx, want)
	return driver.SecretSet{Changed: driver.Changed{Changed: true, How: []string{how}, Detail: "the password of " + network.Clean(a.name)}}, nil
}

// DropSecret sets New once more where Old still gets in, so that Old is no longer the password before
// it. An account that changes its password itself cannot do that: ErrUnavailable then, until
// Old gets in no more.
func (d *AD) DropSecret(ctx context.Context, request driver.SecretRequest) (driver.Blocked, error) {
	a, err := d.rotated(ctx, request, request.New)
	if err != nil {
		return driver.Blocked{}, err
	}
	if gone, err := a.gone(ctx); err != nil || gone {
		return driver.Blocked{}, err
	}
	if !d.resets() {
		return driver.Blocked{}, fmt.Errorf("%w: the domain controller takes the old password of %s for %v after the change: wait, or give the option write-bind, which ends that",
			tallystick.ErrUnavailable, network.Quote(a.name), d.OldPasswordTime)
	}
	if err := a.reset(ctx, request.New); err != nil {
		return driver.Blocked{}, err
	}
	return driver.Blocked{Changed: driver.Changed{Changed: true, How: []string{"reset"}, Detail: "the new password of " + network.Clean(a.name) + " is set once more"}}, nil
}

// gone says whether New gets in and Old does not, as far as that can be tried. New that does not get in is
// ErrConflict; Old is not tried then, which would be two wrong ones.
func (a *rotating) gone(ctx context.Context) (bool, error) {
	if a.request.Old.IsZero() || !a.tells() {
		return false, nil
	}
	in, err := a.enters(ctx, a.request.New)
	if err == nil && !in {
		err = fmt.Errorf("%w: the new password of %s does not get in: set it first", tallystick.ErrConflict, network.Quote(a.name))
	}
	if err == nil {
		err = a.recount(ctx)
	}
	if err != nil || !a.tells() {
		return false, err
	}
	in, err = a.enters(ctx, a.request.Old)
	a.forgive(ctx, a.request.New)
	return !in, err
}

// recount reads how the account stands now: after a try, and before another that may be wrong.
func (a *rotating) recount(ctx context.Context) error {
	now, err := a.stands(ctx, a.request.Account)
	if err == nil {
		a.standing = now
	}
	return err
}

// resets says whether passwords are reset by somebody who may: write-bind, or root at the socket of
// Samba.
func (d *AD) resets() bool {
	return d.WriteBind != "" || d.Bind == "" && strings.HasPrefix(d.URL, "ldapi:")
}

// A rotating account is one in a call that writes.
type rotating struct {
	*AD
	*standing
	request driver.SecretRequest
	wrong   bool // the last try was wrong, and another may make up for it
}

// rotated looks at an account whose password is to be set, and at the password.
func (d *AD) rotated(ctx context.Context, request driver.SecretRequest, want driver.Secret) (*rotating, error) {
	if _, err := encoded(want); err != nil {
		return nil, err
	}
	standing, err := d.stands(ctx, request.Account)
	if err != nil {
		return nil, err
	}
	if standing.managed {
		return nil, invalid("the directory makes the passwords of %s itself", network.Quote(standing.name))
	}
	return &rotating{AD: d, standing: standing, request: request}, nil
}

// has says whether an account has a password now. Over LDAP the one before it gets in as well,
// so that this is asked by Kerberos where that is there, and not at all of one that was the one before.
func (a *rotating) has(ctx context.Context, secret driver.Secret, before bool) (bool, error) {
	if !a.tells() || before && !a.hasKDC() {
		return false, nil
	}
	if !a.hasKDC() {
		return a.enters(ctx, secret)
	}
	attempt := a.kdc.enter(ctx, a.name, secret, before, a.request.Now)
	if before && attempt.Outcome == driver.OutcomeFailed {
		return false, ctx.Err() // to set it once more does no harm
	}
	return a.took(attempt)
}

// tells says whether a try can be made and says something.
func (a *rotating) tells() bool { return a.MayTry != 0 && a.Barred == "" }

// enters says whether a password gets in over LDAP.
func (a *rotating) enters(ctx context.Context, secret driver.Secret) (bool, error) {
	attempt, err := a.enter(ctx, secret, a.request.Now)
	if err != nil {
		return false, err
	}
	return a.took(attempt)
}

// took says whether a try got in; one that says nothing is ErrUnavailable.
func (a *rotating) took(attempt driver.Attempt) (bool, error) {
	a.tell(attempt)
	a.wrong = attempt.Outcome == driver.OutcomeRefused
	if attempt.Outcome == driver.OutcomeFailed {
		return false, fmt.Errorf("%w: couldn't try a password of %s at %s: %s", tallystick.ErrUnavailable, network.Quote(a.name), attempt.Address, attempt.Answer)
	}
	return attempt.Outcome == driver.OutcomeAccepted, nil
}

// forgive signs in with a right password after a try that was wrong, so that it is not counted any
// more. Where that fails the count runs off by itself.
func (a *rotating) forgive(ctx context.Context, right driver.Secret) {
	if a.wrong && !right.IsZero() {
		_, _ = a.enters(ctx, right)
	}
}

// tell says that this driver has signed in. Windows writes down on which machine, and not by which
// protocol.
func (a *rotating) tell(attempt driver.Attempt) { trying.Tell(a.request, a.names, "", attempt) }

// reset sets a password, signed in as somebody who may.
func (a *rotating) reset(ctx context.Context, secret driver.Secret) error {
	value, err := encoded(secret)
	if err != nil {
		return err
	}
	change := ldap.NewModifyRequest(a.dn, nil)
	change.Replace(attrPassword, []string{value})
	return a.lobby.With(ctx, a.keeper, a.writer(), func(s *ldapdir.Session) error {
		return s.Change(ctx, "couldn't reset the password of "+network.Quote(a.name), change, secret, driver.NewSecret(value))
	})
}

// writer is the server as it resets passwords.
func (a *rotating) writer() ldapdir.Server {
	server := a.at
	server.Bind, server.PasswordFile = a.WriteBind, a.WritePasswordFile
	return server
}

// change has the account set its password itself.
func (a *rotating) change(ctx context.Context, from, to driver.Secret) error {
	if wait := a.changeable.Sub(a.clock); wait > 0 {
		return fmt.Errorf("%w: the policy lets %s change its password in %v: wait, or give the option write-bind", tallystick.ErrUnavailable, network.Quote(a.name), wait)
	}
	old, err := encoded(from)
	if err != nil {
		return err
	}
	value, err := encoded(to)
	if err != nil {
		return err
	}
	if a.wrong { // and has been counted
		if err := a.recount(ctx); err != nil {
			return err
		}
	}
	if a.MayTry == 0 {
		return a.noTry()
	}
	session, attempt, err := a.at.Enter(ctx, a.dn, from, wrongPassword, a.request.Now)
	if err != nil {
		return err
	}
	in, err := a.took(attempt)
	if err != nil {
		return err
	}
	if !in {
		a.wrong = false // it is not tried once more
		return fmt.Errorf("%w: %s is to change its password itself, and does not get in with the one that it is said to have: give the option write-bind",
			tallystick.ErrDenied, network.Quote(a.name))
	}
	defer session.Close()
	change := ldap.NewModifyRequest(a.dn, nil)
	change.Delete(attrPassword, []string{old})
	change.Add(attrPassword, []string{value})
	return session.Change(ctx, "couldn't change the password of "+network.Quote(a.name), change, from, to, driver.NewSecret(old), driver.NewSecret(value))
}

// maxPassword bounds passwords, in characters: what the dialogues of Windows take.
const maxPassword = 127

// encoded writes a password as unicodePwd has it.
func encoded(secret driver.Secret) (string, error) {
	text := secret.Reveal()
	if text == "" || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", invalid("Active Directory has no such password: it wants characters, at least one, and no NUL")
	}
	return adbytes.UnicodePwd(text), nil
}

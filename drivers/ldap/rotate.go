// SPDX-License-Identifier: Apache-2.0

package ldap

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

var _ driver.Rotator = (*LDAP)(nil)

// The words of Changed.How.
const (
	howModify = "modify"          // of userPassword
	howExtend = "password-modify" // the extended operation of RFC 3062
)

// LookAccount says how the account of a DN, or of a uid, stands. It signs in as who sets passwords.
func (d *LDAP) LookAccount(ctx context.Context, request driver.AccountRequest) (driver.Account, error) {
	var standing driver.Account
	listeners, err := d.listeners()
	if err != nil {
		return standing, err
	}
	err = d.with(ctx, request.Account, func(_ *ldapdir.Session, a *account) error {
		now := request.Now()
		standing = driver.Account{
			Name: a.dn, Overlap: a.overlap(), MayTry: a.mayTry(now), Barred: a.barred(now), Changed: a.changed, Notes: a.notes(),
		}
		if a.policy != nil {
			standing.MinLength, standing.MaxLength = a.policy.minLength, a.policy.maxLength
		}
		for _, server := range listeners {
			standing.Listeners = append(standing.Listeners, server.Listener())
		}
		standing.Listeners = append(standing.Listeners, d.mail...)
		return nil
	})
	return standing, err
}

// SetSecret sets New beside Old, or in its place where the account has room for one.
func (d *LDAP) SetSecret(ctx context.Context, request driver.SecretRequest) (driver.SecretSet, error) {
	var set driver.SecretSet
	c := change{LDAP: d, SecretRequest: request, from: request.Old, to: request.New}
	if request.Withdraw {
		c.from, c.to = request.New, request.Old
	}
	if c.to.IsZero() {
		return set, invalid("an empty password cannot be set: whoever signs in over LDAP with none is let in as nobody")
	}
	err := d.with(ctx, request.Account, func(s *ldapdir.Session, a *account) (err error) {
		if a.overlap() == driver.OverlapTwo {
			set.Changed, err = c.beside(ctx, s, a)
		} else {
			set.Changed, err = c.inPlace(ctx, s, a)
		}
		return err
	})
	return set, err
}

// A change is of the password from to the password to.
type change struct {
	*LDAP
	driver.SecretRequest
	from, to driver.Secret
}

// beside adds a value to userPassword. Withdraw takes the other away.
func (c change) beside(ctx context.Context, s *ldapdir.Session, a *account) (driver.Changed, error) {
	modify := ldap.NewModifyRequest(a.dn, nil)
	var done []string
	if there, _ := held(a.stored, c.to.Reveal()); len(there) == 0 {
		modify.Add("userPassword", []string{store(a.stored, c.to.Reveal())})
		done = append(done, "added a value")
	}
	if there, _ := held(a.stored, c.from.Reveal()); len(there) > 0 && c.Withdraw {
		modify.Delete("userPassword", there)
		done = append(done, "took the withdrawn one away")
	}
	if len(done) == 0 {
		return driver.Changed{}, nil
	}
	if err := s.Change(ctx, "couldn't change userPassword of "+network.Quote(a.dn), modify, c.from, c.to); err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{howModify}, Detail: "userPassword of " + network.Clean(a.dn) + ": " + strings.Join(done, ", ")}, nil
}

// inPlace sets the one password by the extended operation: the directory checks it by its policy,
// and hashes it in its own way.
func (c change) inPlace(ctx context.Context, s *ldapdir.Session, a *account) (driver.Changed, error) {
	there, unknown := held(a.stored, c.to.Reveal())
	is := len(there) > 0
	if !is && (c.Again || c.Withdraw) && (len(a.stored) == 0 || len(unknown) > 0) {
		// A policy takes no password twice: who set it again without a look would be refused.
		var err error
		if is, err = c.getsIn(ctx, a, c.to); err != nil {
			return driver.Changed{}, err
		}
		if !is { // which may have been counted, and the other one may be wrong as well
			if a, err = c.read(ctx, s, a.dn); err != nil {
				return driver.Changed{}, err
			}
		}
	}
	changed := driver.Changed{}
	if !is {
		how, err := c.write(ctx, s, a)
		if err != nil {
			return changed, err
		}
		changed = driver.Changed{Changed: true, How: []string{howExtend}, Detail: "set the password of " + network.Clean(a.dn) + how}
	}
	return c.free(ctx, s, a, changed)
}

// write sets the password, and says as whom.
func (c change) write(ctx context.Context, s *ldapdir.Session, a *account) (as string, err error) {
	if !a.self {
		var old driver.Secret
		if a.policy != nil && a.policy.wantsOld {
			old = c.from
		}
		err := extend(ctx, s, a, old, c.to)
		if ldap.IsErrorWithCode(err, ldap.LDAPResultInsufficientAccessRights) && old.IsZero() && !c.from.IsZero() && a.policy != nil {
			// Its policy may be one that cannot be read, and wants the old one. A wrong one is not counted here.
			err = extend(ctx, s, a, c.from, c.to)
		}
		return "", err
	}
	server, err := c.server(c.URL)
	if err != nil {
		return "", err
	}
	if err := a.guard(c.Now()); err != nil {
		return "", err
	}
	own, attempt, err := server.Enter(ctx, a.dn, c.from, refusedBy, c.Now)
	tell(c.SecretRequest, a, attempt)
	switch {
	case err != nil:
		return "", err
	case attempt.Outcome == driver.OutcomeRefused:
		return "", fmt.Errorf("%w: %s changes its password itself, and the one that it has to sign in with is refused: %s. Name somebody who may set it in the option write-bind",
			tallystick.ErrDenied, network.Quote(a.dn), attempt.Answer)
	case own == nil:
		return "", fmt.Errorf("%w: couldn't sign in as %s: %s", tallystick.ErrUnavailable, network.Quote(a.dn), attempt.Answer)
	}
	defer own.Close()
	return ", signed in as that account", extend(ctx, own, a, c.from, c.to)
}

// extend is the extended operation of RFC 3062.
func extend(ctx context.Context, s *ldapdir.Session, a *account, old, new driver.Secret) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() { s.Conn.Close() })
	defer stop()
	_, err := s.PasswordModify(ldap.NewPasswordModifyRequest(a.dn, old.Reveal(), new.Reveal()))
	young := ldap.IsErrorWithCode(err, ldap.LDAPResultConstraintViolation) && strings.Contains(err.Error(), "too young")
	err = ldapdir.Withheld(err, old, new) // what it is is known by now: words of it may be those of a password
	doing := "couldn't set the password of " + network.Quote(a.dn)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) && !old.IsZero():
		return fmt.Errorf("%w: %s: the directory wants the old one as well, and does not take it: %s", tallystick.ErrDenied, doing, network.Clean(err.Error()))
	case young:
		return fmt.Errorf("%w: %s: its policy wants the one of now to be older (pwdMinAge): %s", tallystick.ErrUnavailable, doing, network.Clean(err.Error()))
	}
	return ldapdir.Answered(doing, err)
}

// free lets the account work at once. A policy with pwdMustChange has whoever gets a password from
// somebody else do nothing but change it, which no service does. The password is set by now, so that
// no error says that nothing was: it is ErrUnavailable, and a repeat does what is left.
func (c change) free(ctx context.Context, s *ldapdir.Session, a *account, changed driver.Changed) (driver.Changed, error) {
	if a.self || a.policy == nil || a.policy.known && !a.policy.resetsOthers {
		return changed, nil
	}
	entry, err := s.One(ctx, ldapdir.Query{Base: a.dn, Attributes: []string{"pwdReset"}})
	if err == nil && !strings.EqualFold(ldapdir.Text(entry, "pwdReset"), "TRUE") {
		return changed, nil
	}
	if err == nil {
		modify := ldap.NewModifyRequest(a.dn, nil)
		modify.Delete("pwdReset", nil)
		err = s.Change(ctx, "couldn't let "+network.Quote(a.dn)+" work with a password that it has not set itself: let who sets it write pwdReset", modify)
	}
	switch {
	case ctx.Err() != nil:
		return changed, ctx.Err()
	case err != nil:
		return changed, fmt.Errorf("%w: the new password is set: %s", tallystick.ErrUnavailable, network.Clean(err.Error()))
	}
	changed.Changed = true
	changed.How = append(changed.How, howModify)
	changed.Detail = strings.TrimPrefix(changed.Detail+"; took pwdReset away", "; ")
	return changed, nil
}

// DropSecret takes every value away that is of Old. Where there is one password at a time, setting
// New has done so.
func (d *LDAP) DropSecret(ctx context.Context, request driver.SecretRequest) (driver.Blocked, error) {
	var blocked driver.Blocked
	if request.Old.Reveal() == request.New.Reveal() {
		return blocked, invalid("the old password is the new one: set another first")
	}
	c := change{LDAP: d, SecretRequest: request}
	var at *account
	err := d.with(ctx, request.Account, func(s *ldapdir.Session, a *account) (err error) {
		at = a
		blocked.Changed, err = c.drop(ctx, s, a)
		return err
	})
	if err == nil {
		err = c.remind(ctx, at)
	}
	return blocked, err
}

func (c change) drop(ctx context.Context, s *ldapdir.Session, a *account) (driver.Changed, error) {
	olds, unknown := held(a.stored, c.Old.Reveal())
	news, _ := held(a.stored, c.New.Reveal())
	if len(olds) == 0 && len(unknown) > 0 && a.policy == nil {
		// Any of those that cannot be checked here may be Old. No policy counts wrong ones.
		is, err := c.getsIn(ctx, a, c.Old)
		if err != nil {
			return driver.Changed{}, err
		}
		if is && len(unknown) > 1 {
			// To take one away and look, and put it back, would lose it where this is killed in between.
			return driver.Changed{}, fmt.Errorf("%w: the old password of %s is one of %d that are stored in a way that cannot be checked here, and the others may be of other people: take it away by hand, by the value that was stored for it",
				tallystick.ErrDenied, network.Quote(a.dn), len(unknown))
		}
		if is {
			olds = unknown
		}
	}
	if len(news) == 0 {
		is, err := c.getsIn(ctx, a, c.New)
		if err != nil {
			return driver.Changed{}, err
		}
		if !is {
			return driver.Changed{}, fmt.Errorf("%w: the new password of %s does not get in, so that the old one stays: set it first", tallystick.ErrConflict, network.Quote(a.dn))
		}
	}
	if len(olds) == 0 {
		return driver.Changed{}, nil
	}
	modify := ldap.NewModifyRequest(a.dn, nil)
	modify.Delete("userPassword", olds)
	if len(news) == 0 { // it may be among those that go
		modify.Add("userPassword", []string{store(a.stored, c.New.Reveal())})
	}
	if err := s.Change(ctx, "couldn't take the old password of "+network.Quote(a.dn)+" away", modify, c.Old, c.New); err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{howModify}, Detail: fmt.Sprintf("took %d values from userPassword of %s", len(olds), network.Clean(a.dn))}, nil
}

// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"cmp"
	"context"
	"fmt"
	"net"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/trying"
)

// listeners are the directory and its replicas.
func (d *LDAP) listeners() ([]ldapdir.Server, error) {
	var all []ldapdir.Server
	for _, text := range append([]string{d.URL}, d.Replicas...) {
		server, err := d.server(text)
		if err != nil {
			return nil, err
		}
		if server.URL.Scheme == "ldap" && d.Plain {
			return nil, invalid("passwords are rotated over TLS alone, and with the option plain %s is asked for none: take that option away, or name the directory with ldaps://", server.Host())
		}
		all = append(all, server)
	}
	return all, nil
}

// refusedBy says whether a directory said no to a password: it is wrong, or the account has none.
func refusedBy(said *ldap.Error) bool {
	return said.ResultCode == ldap.LDAPResultInvalidCredentials || said.ResultCode == ldap.LDAPResultInappropriateAuthentication
}

// TestSecret signs in by a simple bind at the directory and at each replica, at every address of
// each, and then at the mail servers that ask them. Each server counts wrong ones for itself, so that
// the count is read there, before each try that may be wrong.
func (d *LDAP) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	if request.New.IsZero() || request.TryOld && request.Old.IsZero() {
		return driver.Tested{}, invalid("an empty password is not tried: whoever signs in over LDAP with none is let in as nobody")
	}
	listeners, err := d.listeners()
	if err != nil {
		return driver.Tested{}, err
	}
	t := trial{LDAP: d, Trial: trying.Trial{Request: request}}
	err = d.with(ctx, request.Account, func(_ *ldapdir.Session, a *account) error {
		t.account, t.Counts = a, a.mayTry(request.Now()) >= 0
		return a.guard(request.Now())
	})
	for _, server := range listeners {
		if err == nil {
			err = t.atServer(ctx, server)
		}
	}
	if err == nil && len(d.mail) > 0 {
		err = t.atMail(ctx, listeners)
	}
	return t.Tested, err
}

// A trial is a TestSecret.
type trial struct {
	*LDAP
	trying.Trial
	account *account
}

// atServer tries at every address of one server.
func (t *trial) atServer(ctx context.Context, server ldapdir.Server) error {
	addresses, err := addressesOf(ctx, server)
	if err != nil {
		return t.Unfound(ctx, server.Listener(), err)
	}
	for _, address := range addresses {
		server.Address = address
		err := t.At(ctx, trying.Spot{
			Listener: server.Listener(), Address: cmp.Or(address, server.Host()),
			Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
				return t.enterAs(ctx, server, secret)
			},
			MayTry: func(ctx context.Context) error { return t.guardAt(ctx, server) },
			Tell:   func(_ driver.Secret, attempt driver.Attempt) { tell(t.Request, t.account, attempt) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// guardAt is guard by what a server has counted. Where none counts, as far as the directory says, one that
// does not tell is no reason.
func (t *trial) guardAt(ctx context.Context, server ldapdir.Server) error {
	var a *account
	err := t.lobby.With(ctx, t.keeper, t.asWriter(server), func(s *ldapdir.Session) (err error) {
		a, err = t.read(ctx, s, t.account.dn)
		return err
	})
	switch {
	case err == nil:
		return a.guard(t.Request.Now())
	case t.Counts:
		return fmt.Errorf("couldn't read how many wrong passwords are counted there: %w", err)
	}
	return ctx.Err()
}

// enterAs signs in as the account.
func (t *trial) enterAs(ctx context.Context, server ldapdir.Server, secret driver.Secret) (driver.Attempt, error) {
	return server.Try(ctx, t.account.dn, secret, refusedBy, t.Request.Now)
}

// addressesOf returns every host:port behind the name of a server: each may be another machine.
func addressesOf(ctx context.Context, server ldapdir.Server) ([]string, error) {
	if server.URL.Scheme == "ldapi" {
		return []string{""}, nil
	}
	hosts, err := net.DefaultResolver.LookupHost(ctx, server.URL.Hostname())
	if err != nil {
		return nil, err
	}
	for i, host := range hosts {
		hosts[i] = net.JoinHostPort(host, server.URL.Port())
	}
	return hosts, nil
}

// getsIn says whether a password of the account gets in at the directory. It is asked where that is not
// seen from what is stored, and not where a wrong one could lock the account.
func (c change) getsIn(ctx context.Context, a *account, secret driver.Secret) (bool, error) {
	if secret.IsZero() {
		return false, nil
	}
	if err := a.guard(c.Now()); err != nil {
		return false, err
	}
	server, err := c.server(c.URL)
	if err != nil {
		return false, err
	}
	attempt, err := server.Try(ctx, a.dn, secret, refusedBy, c.Now)
	tell(c.SecretRequest, a, attempt)
	if err == nil && attempt.Outcome == driver.OutcomeFailed {
		err = fmt.Errorf("%w: couldn't sign in as %s: %s", tallystick.ErrUnavailable, network.Quote(a.dn), attempt.Answer)
	}
	return attempt.Outcome == driver.OutcomeAccepted, err
}

// tell says that the account has signed in, or was refused. The log of slapd has the address at which
// slapd heard it.
func tell(request driver.SecretRequest, a *account, attempt driver.Attempt) {
	trying.Tell(request, []string{tallystick.NormalName("account:ldap/" + a.dn)}, "ldap:", attempt)
}

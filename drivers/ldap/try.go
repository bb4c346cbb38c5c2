// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"fmt"
	"net"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
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
// each, and then at the mail servers that ask them. Once New was not let in, Old is tried no more,
// and nothing is where a policy counts. Each server counts wrong ones for itself, so that the count
// is read there, before each try that may be wrong.
func (d *LDAP) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	if request.New.IsZero() || request.TryOld && request.Old.IsZero() {
		return driver.Tested{}, invalid("an empty password is not tried: whoever signs in over LDAP with none is let in as nobody")
	}
	listeners, err := d.listeners()
	if err != nil {
		return driver.Tested{}, err
	}
	t := trial{LDAP: d, request: request}
	err = d.with(ctx, request.Account, func(_ *ldapdir.Session, a *account) error {
		t.account, t.counts = a, a.mayTry(request.Now()) >= 0
		return a.guard(request.Now())
	})
	for _, server := range listeners {
		if err == nil {
			err = t.at(ctx, server)
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
	driver.Tested
	request driver.SecretRequest
	account *account
	counts  bool // wrong ones lock the account
	wrong   bool // New was not let in
}

// at tries at every address of one server.
func (t *trial) at(ctx context.Context, server ldapdir.Server) error {
	addresses, err := addressesOf(ctx, server)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.New = append(t.New, t.untried(server, err.Error()))
		if t.request.TryOld {
			t.Old = append(t.Old, t.untried(server, err.Error()))
		}
		return nil
	}
	for _, server.Address = range addresses {
		attempt, err := t.try(ctx, server, t.request.New, t.wrong && t.counts)
		if err != nil {
			return err
		}
		t.wrong = t.wrong || attempt.Outcome != driver.OutcomeAccepted
		if t.request.TryOld {
			old, err := t.try(ctx, server, t.request.Old, t.wrong)
			if err != nil {
				return err
			}
			t.Old = append(t.Old, old)
		}
		if t.request.TryOld && !t.wrong {
			tell(t.request, t.account, attempt)
			if attempt, err = t.enterAs(ctx, server, t.request.New); err != nil {
				return err
			}
			t.wrong = attempt.Outcome != driver.OutcomeAccepted
		}
		t.New = append(t.New, attempt)
	}
	return nil
}

// try tries a password that may be wrong, where that locks nobody out.
func (t *trial) try(ctx context.Context, server ldapdir.Server, secret driver.Secret, spared bool) (driver.Attempt, error) {
	if spared {
		return t.untried(server, "not tried: the new password was not let in, or not tried, before this, and another wrong one could lock the account"), nil
	}
	if err := t.guardAt(ctx, server); err != nil {
		return t.untried(server, "not tried: "+err.Error()), ctx.Err()
	}
	return t.enterAs(ctx, server, secret)
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
		return a.guard(t.request.Now())
	case t.counts:
		return fmt.Errorf("couldn't read how many wrong passwords are counted there: %w", err)
	}
	return ctx.Err()
}

// enterAs signs in as the account.
func (t *trial) enterAs(ctx context.Context, server ldapdir.Server, secret driver.Secret) (driver.Attempt, error) {
	session, attempt, err := server.Enter(ctx, t.account.dn, secret, refusedBy, t.request.Now)
	if session != nil {
		session.Close()
	}
	return attempt, err
}

func (t *trial) untried(server ldapdir.Server, why string) driver.Attempt {
	address := server.Address
	if address == "" {
		address = server.Host()
	}
	return driver.Attempt{
		Listener: server.Listener(), Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, Answer: ldapdir.Printable(why), At: t.request.Now().UTC(),
	}
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
	session, attempt, err := server.Enter(ctx, a.dn, secret, refusedBy, c.Now)
	if session != nil {
		session.Close()
	}
	tell(c.SecretRequest, a, attempt)
	if err == nil && attempt.Outcome == driver.OutcomeFailed {
		err = fmt.Errorf("%w: couldn't sign in as %s: %s", tallystick.ErrUnavailable, network.Quote(a.dn), attempt.Answer)
	}
	return attempt.Outcome == driver.OutcomeAccepted, err
}

// tell says that the account has signed in here, or was refused, where no attempt of a driver.Tested does.
func tell(request driver.SecretRequest, a *account, attempt driver.Attempt) {
	outcome := map[string]tallystick.Outcome{driver.OutcomeAccepted: tallystick.OutcomeSuccess, driver.OutcomeRefused: tallystick.OutcomeRefused}[attempt.Outcome]
	if request.Used == nil || outcome == "" {
		return
	}
	request.Used(tallystick.Use{
		Time: attempt.At, Level: tallystick.LevelRequest, Credential: []string{tallystick.NormalName("account:ldap/" + a.dn)},
		RelyingParty: "ldap:" + attempt.Listener.Address, Outcome: outcome, Operation: "rotate", Detail: "Tallystick rotates the password",
	})
}

// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// An account is an entry with a password, as far as who is signed in may read it.
type account struct {
	dn       string
	stored   []string // the values of userPassword
	policy   *policy  // nil where there is none
	failures []time.Time
	locked   string // since when, as the directory writes it
	changed  time.Time
	reset    bool   // it may do nothing but change its password
	self     bool   // it changes its password itself
	mailName string // by which it signs in to mail servers, "" where there are none
}

// with has do called with the account and with a session of who sets passwords.
func (d *LDAP) with(ctx context.Context, name string, do func(*ldapdir.Session, *account) error) error {
	server, err := d.server(d.URL)
	if err != nil {
		return err
	}
	server = d.asWriter(server)
	return d.lobby.With(ctx, d.keeper, server, func(s *ldapdir.Session) error {
		in, err := d.enter(ctx, server, s)
		if err != nil {
			return err
		}
		dn, err := dnOf(ctx, in, name)
		if err != nil {
			return err
		}
		a, err := d.read(ctx, s, dn)
		if err == nil {
			err = in.holds(a.dn)
		}
		if err != nil {
			return err
		}
		return do(s, a)
	})
}

// asWriter signs in as who sets passwords.
func (d *LDAP) asWriter(server ldapdir.Server) ldapdir.Server {
	if d.WriteBind != "" {
		server.Bind, server.PasswordFile, server.External = d.WriteBind, d.WritePasswordFile, false
	}
	return server
}

// holds says ErrDenied of an account outside of the base: who may entrust accounts of a part of the
// directory is not to reach those of the rest, which the driver may be able to write as well. The DN is as the
// directory writes it.
func (in directory) holds(dn string) error {
	if !ldapdir.Below(in.base, dn) {
		return fmt.Errorf("%w: %s is not below %s, where this directory is looked at: name an account that is, or widen the option base", tallystick.ErrDenied, network.Quote(dn), network.Quote(in.base))
	}
	return nil
}

// dnOf returns the DN of an account, which may be named by its uid.
func dnOf(ctx context.Context, in directory, name string) (string, error) {
	if strings.Contains(name, "=") {
		if dn, err := ldap.ParseDN(name); err != nil || len(dn.RDNs) == 0 {
			return "", invalid("%s is no DN of an account", network.Quote(name))
		}
		return name, nil
	}
	if name == "" {
		return "", invalid("no account is named")
	}
	var found []string
	err := in.Each(ctx, ldapdir.Query{
		Base: in.base, Scope: ldap.ScopeWholeSubtree, Filter: "(uid=" + ldap.EscapeFilter(name) + ")", Attributes: []string{"1.1"},
	}, func(e *ldap.Entry) error {
		if found = append(found, e.DN); len(found) > 1 {
			return invalid("more than one account has the uid %s: name it by its DN", network.Quote(name))
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: no account below %s has the uid %s", tallystick.ErrNotFound, network.Quote(in.base), network.Quote(name))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// read reads the entry and its policy.
func (d *LDAP) read(ctx context.Context, s *ldapdir.Session, dn string) (*account, error) {
	entry, err := s.One(ctx, ldapdir.Query{Base: dn, Attributes: []string{
		"userPassword", "pwdPolicySubentry", "pwdFailureTime", "pwdAccountLockedTime", "pwdChangedTime", "pwdReset", "uid", "mail",
	}})
	if err != nil {
		return nil, err
	}
	a := &account{
		dn: entry.DN, locked: ldapdir.Text(entry, "pwdAccountLockedTime"), changed: ldapdir.Time(ldapdir.Text(entry, "pwdChangedTime")),
		reset: strings.EqualFold(ldapdir.Text(entry, "pwdReset"), "TRUE"),
	}
	for _, value := range ldapdir.Raw(entry, "userPassword") {
		a.stored = append(a.stored, string(value))
	}
	for _, at := range ldapdir.Texts(entry, "pwdFailureTime") {
		a.failures = append(a.failures, ldapdir.Time(at))
	}
	// Who may read passwords may set them, wherever anybody has thought about it.
	a.self = d.WriteBind == "" && len(a.stored) == 0
	if a.policy, err = d.policyOf(ctx, s, entry); err != nil {
		return nil, err
	}
	if d.isOwn(a.dn) {
		return nil, invalid("the directory is read or written here as %s, so that its password is not changed here as well: name another account in the options bind and write-bind", network.Quote(a.dn))
	}
	if a.elsewhere() {
		return nil, invalid("the password of %s is kept by SASL, which the directory asks: set it there", network.Quote(a.dn))
	}
	a.mailName, err = d.mailNameOf(entry)
	return a, err
}

// isOwn says whether this driver signs in as an account: with the password in a file that nobody
// would change.
func (d *LDAP) isOwn(dn string) bool {
	account, err := ldap.ParseDN(dn)
	return err == nil && slices.ContainsFunc([]string{d.Bind, d.WriteBind}, func(own string) bool {
		other, err := ldap.ParseDN(own)
		return err == nil && len(other.RDNs) > 0 && account.EqualFold(other)
	})
}

// elsewhere says whether the directory asks somebody else about the password.
func (a *account) elsewhere() bool {
	return slices.ContainsFunc(a.stored, func(value string) bool {
		name, _ := schemeOf(value)
		return name == "{SASL}"
	})
}

// overlap says whether two passwords can stand side by side. A policy knows one
// (draft-behera-ldap-password-policy-10 section 4.1), and where nobody may read them, the one that is
// to go could not be told from the other.
func (a *account) overlap() string {
	if a.policy == nil && len(a.stored) > 0 {
		return driver.OverlapTwo
	}
	return driver.OverlapNone
}

// notes say who sets the password, and by which policy.
func (a *account) notes() []string {
	var notes []string
	if a.self {
		notes = append(notes, "it changes its password itself, with the old one; the option write-bind names somebody else")
	}
	switch p := a.policy; {
	case p == nil:
	case p.dn == "":
		notes = append(notes, "the directory has password policies, and which one applies cannot be read: name it in the option policy")
	case !p.known:
		notes = append(notes, "its password policy "+network.Clean(p.dn)+" cannot be read, so that one wrong password is taken for the last but one")
	default:
		notes = append(notes, "its password policy is "+network.Clean(p.dn))
	}
	if a.reset {
		notes = append(notes, "it may do nothing but change its password (pwdReset)")
	}
	if a.mailName != "" {
		notes = append(notes, "it signs in to mail as "+network.Clean(a.mailName))
	}
	if len(a.stored) > 1 {
		notes = append(notes, fmt.Sprintf("it has %d passwords, and each of them gets in: those that are not rotated stay", len(a.stored)))
	}
	if _, unknown := held(a.stored, ""); len(unknown) > 1 {
		notes = append(notes, fmt.Sprintf("%d of its passwords are stored in a way that cannot be checked here, so that an old one among them is not told from the others, and not taken away", len(unknown)))
	}
	return notes
}

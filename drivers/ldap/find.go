// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/parse"
)

var _ driver.Finder = (*LDAP)(nil)

// found are the attributes that a look reads: of RFC 4519, RFC 4523 and RFC 4524, of the password policy
// (draft-behera-ldap-password-policy), of OpenSSH's schema, and of Kerberos.
func found() []string {
	return []string{
		"objectClass", "uid", "cn", "userCertificate", "sshPublicKey", "memberOf", "owner", "manager", "mail", "givenName", "authTimestamp", "pwdLastSuccess",
		"pwdChangedTime", "pwdAccountLockedTime", "createTimestamp", "krbPrincipalName", "krbLastPwdChange", "krbLastSuccessfulAuth", "krbAllowedToDelegateTo",
		"authzTo", "structuralObjectClass",
	}
}

// Find looks at the directories of the targets, which are URLs; without one at that of the
// options. It reports every account, by its DN, and each of its certificates and keys.
func (d *LDAP) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	servers, err := ldapdir.Servers(request.Targets, d.URL, d.server)
	if err != nil {
		return err
	}
	return ldapdir.FindEach(ctx, servers, request.Now, sink, func(s ldapdir.Server) tallystick.Place {
		return tallystick.LDAPPlace(s.URL.Host, s.URL.Path)
	}, func(server ldapdir.Server) error { return d.findAt(ctx, server, request.Now, sink) })
}

// A look is what is found in one directory.
type look struct {
	host   string
	sink   driver.Sink
	now    func() time.Time
	groups map[string][]string // of members, by DN in lower case
}

func (d *LDAP) findAt(ctx context.Context, server ldapdir.Server, now func() time.Time, sink driver.Sink) error {
	s, err := d.lobby.Dial(ctx, server)
	if err != nil {
		return err
	}
	defer s.Close()
	in, err := d.enter(ctx, server, s)
	if err != nil {
		return err
	}
	l := &look{host: s.Host, sink: sink, now: now, groups: map[string][]string{}}
	if err := l.readGroups(ctx, in); err != nil {
		return err
	}
	return s.Each(ctx, ldapdir.Query{Base: in.base, Scope: ldap.ScopeWholeSubtree, Filter: d.Filter, Attributes: found()}, l.entry)
}

// maxMemberships bounds what is remembered of groups; of a directory with more, memberOf says
// which groups an account is in, and nothing else does.
const maxMemberships = 2_000_000

// readGroups reads who is in which group, as groups say it themselves: memberOf is there only
// where the directory keeps it.
func (l *look) readGroups(ctx context.Context, in directory) error {
	total := 0
	return in.Each(ctx, ldapdir.Query{
		Base: in.base, Scope: ldap.ScopeWholeSubtree, Filter: "(|(member=*)(uniqueMember=*)(roleOccupant=*))",
		Attributes: []string{"cn", "member", "uniqueMember", "roleOccupant"},
	}, func(e *ldap.Entry) error {
		name := network.Clean(ldapdir.Text(e, "cn"))
		for _, attribute := range []string{"member", "uniqueMember", "roleOccupant"} {
			for _, member := range ldapdir.Texts(e, attribute) {
				if total++; total > maxMemberships {
					return nil
				}
				key := strings.ToLower(member)
				if len(l.groups[key]) < ldapdir.MaxListed {
					l.groups[key] = append(l.groups[key], name)
				}
			}
		}
		return nil
	})
}

// isAccount says whether somebody could sign in as an entry. Whether it has a password, a
// directory tells nobody who may not read it.
func isAccount(e *ldap.Entry) bool {
	for _, class := range ldapdir.Texts(e, "objectClass") {
		switch strings.ToLower(class) {
		case "person", "organizationalperson", "inetorgperson", "account", "simplesecurityobject", "applicationprocess", "posixaccount", "device", "krbprincipalaux", "ldappublickey", "pkiuser":
			return true
		}
	}
	return len(ldapdir.Raw(e, "userCertificate")) > 0
}

// entry reports what lets somebody in as one entry.
func (l *look) entry(e *ldap.Entry) error {
	if !isAccount(e) {
		return nil
	}
	place, facts := tallystick.LDAPPlace(l.host, e.DN), l.facts(e)
	password := ldapdir.Named("account:ldap/"+e.DN, facts.Account)
	password.NotBefore = facts.PasswordSet
	if err := l.saw(place, password, facts, tallystick.FormPassword); err != nil {
		return err
	}
	for _, der := range ldapdir.Raw(e, "userCertificate") {
		c, err := parse.Certificate(der)
		if err != nil {
			if err := l.malformed(place, "a value of userCertificate is no certificate"); err != nil {
				return err
			}
			continue
		}
		if err := l.saw(place, c, facts, tallystick.FormCertificate); err != nil {
			return err
		}
	}
	for _, line := range ldapdir.Raw(e, "sshPublicKey") {
		result := parse.Bytes("authorized_keys", append(slices.Clone(line), '\n'), nil)
		if len(result.Items) == 0 {
			if err := l.malformed(place, "a value of sshPublicKey is no key"); err != nil {
				return err
			}
		}
		for _, found := range result.Items {
			if err := l.saw(place, found.Credential, facts, tallystick.FormKey); err != nil {
				return err
			}
		}
	}
	return nil
}

// facts reads what an entry says of its account.
func (l *look) facts(e *ldap.Entry) tallystick.AccountFacts {
	time := func(attributes ...string) (newest time.Time) {
		for _, attribute := range attributes {
			if at := ldapdir.Time(ldapdir.Text(e, attribute)); at.After(newest) {
				newest = at
			}
		}
		return newest
	}
	name := ldapdir.Text(e, "uid")
	if name == "" {
		name = ldapdir.Text(e, "cn")
	}
	facts := tallystick.AccountFacts{
		Directory: l.host, Account: network.Clean(name), Kind: "service",
		Locked:      ldapdir.Text(e, "pwdAccountLockedTime") != "",
		PasswordSet: time("pwdChangedTime", "krbLastPwdChange"), LastUsed: time("authTimestamp", "pwdLastSuccess", "krbLastSuccessfulAuth"),
		Created:  time("createTimestamp"),
		Services: ldapdir.Clean(ldapdir.Texts(e, "krbPrincipalName")),
		Owners:   ldapdir.Clean(append(ldapdir.Texts(e, "owner"), ldapdir.Texts(e, "manager")...)),
		Groups:   slices.Clone(l.groups[strings.ToLower(e.DN)]),
	}
	for _, dn := range ldapdir.Texts(e, "memberOf") {
		first, _, _ := strings.Cut(dn, ",")
		_, group, _ := strings.Cut(first, "=")
		facts.Groups = append(facts.Groups, network.Clean(group))
	}
	slices.Sort(facts.Groups)
	facts.Groups = slices.Compact(facts.Groups)
	facts.Groups = facts.Groups[:min(len(facts.Groups), ldapdir.MaxListed)]
	if ldapdir.Text(e, "givenName") != "" || ldapdir.Text(e, "mail") != "" {
		facts.Kind = "person"
	}
	for _, service := range ldapdir.Clean(ldapdir.Texts(e, "krbAllowedToDelegateTo")) {
		facts.Delegation = append(facts.Delegation, "anybody at "+service)
	}
	for _, whom := range ldapdir.Clean(ldapdir.Texts(e, "authzTo")) {
		facts.Delegation = append(facts.Delegation, whom+" here")
	}
	return facts
}

func (l *look) saw(place tallystick.Place, c tallystick.Credential, facts tallystick.AccountFacts, form string) error {
	facts.Form = form
	return ldapdir.SinkFailed(l.sink.Saw(tallystick.Sighting{
		Credential: c, Place: place, Role: tallystick.RoleAccepts, Seen: l.now(), Facts: tallystick.Facts{Account: &facts},
	}))
}

func (l *look) malformed(place tallystick.Place, detail string) error {
	return ldapdir.SinkFailed(l.sink.Missed(tallystick.Miss{Place: place, Error: "malformed", Detail: detail, Seen: l.now()}))
}

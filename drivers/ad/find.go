// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

var _ driver.Finder = (*AD)(nil)

// The attributes of accounts.
const (
	attrName        = "sAMAccountName"
	attrSID         = "objectSid"
	attrGUID        = "objectGUID"
	attrClass       = "objectClass"
	attrControl     = "userAccountControl"
	attrPasswordSet = "pwdLastSet"
	attrCertificate = "userCertificate"
	attrMapping     = "altSecurityIdentities"
	attrKeys        = "msDS-KeyCredentialLink"
	attrServices    = "servicePrincipalName"
	attrDelegateTo  = "msDS-AllowedToDelegateTo"
	attrActedFor    = "msDS-AllowedToActOnBehalfOfOtherIdentity"
	attrReaders     = "msDS-GroupMSAMembership"
	attrSuperseded  = "msDS-ManagedAccountPrecededByLink"
	attrMember      = "member"
	attrPartner     = "trustPartner"
)

// found are the attributes that a look reads.
func found() []string {
	return []string{
		attrName, attrSID, attrClass, attrControl, attrPasswordSet, attrCertificate, attrMapping, attrKeys, attrServices, attrDelegateTo,
		attrActedFor, attrReaders, "lastLogonTimestamp", "whenCreated", "lockoutTime", "adminCount", "memberOf", "primaryGroupID",
		"managedBy", "info", "mail", "givenName", "sn",
	}
}

// Find looks at the domains of the targets, which are URLs of domain controllers; without one at
// that of the options. It reports every account that can sign in, by its name, and each of its
// certificates, mappings and keys.
func (d *AD) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	servers, err := ldapdir.Servers(request.Targets, d.URL, d.server)
	if err != nil {
		return err
	}
	return ldapdir.FindEach(ctx, servers, request.Now, sink, func(s ldapdir.Server) tallystick.Place {
		return tallystick.ADPlace(s.URL.Host, s.URL.Path)
	}, func(server ldapdir.Server) error { return d.findAt(ctx, server, request.Now, sink) })
}

// A look is what is found in one domain.
type look struct {
	domain
	sink   driver.Sink
	now    func() time.Time
	groups *groups
}

func (d *AD) findAt(ctx context.Context, server ldapdir.Server, now func() time.Time, sink driver.Sink) error {
	s, err := d.lobby.Dial(ctx, server)
	if err != nil {
		return err
	}
	defer s.Close()
	l := &look{sink: sink, now: now}
	if l.domain, err = ask(ctx, s); err != nil {
		return err
	}
	if err := l.complete(ctx, s); err != nil {
		return err
	}
	if l.groups, err = readGroups(ctx, s, l.base); err != nil {
		return err
	}
	return s.Each(ctx, ldapdir.Query{
		Base: l.base, Scope: ldap.ScopeWholeSubtree,
		// Accounts of people, services and computers; those of trusts have no credential that is shown.
		Filter: "(&(sAMAccountName=*)(|(objectClass=user)(objectClass=msDS-GroupManagedServiceAccount)))", Attributes: found(),
	}, l.account)
}

// account reports what lets somebody in as one account.
func (l *look) account(e *ldap.Entry) error {
	place := tallystick.ADPlace(l.name, e.DN)
	facts := l.facts(e)
	names := l.accounts(ldapdir.Text(e, attrName), nil)
	if len(names) == 0 {
		return nil
	}
	password := ldapdir.Named(names[0], facts.Account)
	password.NotBefore = facts.PasswordSet
	if err := l.saw(place, password, facts, tallystick.FormPassword, ""); err != nil {
		return err
	}
	for _, der := range ldapdir.Raw(e, attrCertificate) {
		c, err := certificate(der)
		if err == nil {
			err = l.saw(place, c, facts, tallystick.FormCertificate, "")
		} else {
			err = l.malformed(place, "a value of userCertificate is no certificate")
		}
		if err != nil {
			return err
		}
	}
	for _, value := range ldapdir.Texts(e, attrMapping) {
		strength := adbytes.MappingStrength(value)
		if strength == "" {
			continue
		}
		facts.Mapping = strength
		if err := l.saw(place, ldapdir.Named("x509-mapping:"+value, network.Clean(value)), facts, tallystick.FormMapping, ""); err != nil {
			return err
		}
	}
	facts.Mapping = ""
	return l.keys(place, e, facts)
}

// keys reports the public keys whose private halves sign in as an account.
func (l *look) keys(place tallystick.Place, e *ldap.Entry, facts tallystick.AccountFacts) error {
	for _, value := range ldapdir.Texts(e, attrKeys) {
		binary, err := adbytes.ReadNameBinary(value)
		var key adbytes.KeyCredential
		if err == nil {
			key, err = adbytes.ReadKeyCredential(binary.Bytes)
		}
		if err != nil {
			if err := l.malformed(place, "a value of msDS-KeyCredentialLink cannot be read: "+err.Error()); err != nil {
				return err
			}
			continue
		}
		if err := l.saw(place, keyCredential(key, facts.Account), facts, tallystick.FormKey, key.ID); err != nil {
			return err
		}
	}
	return nil
}

// facts reads what an entry says of its account.
func (l *look) facts(e *ldap.Entry) tallystick.AccountFacts {
	n, _ := strconv.ParseInt(ldapdir.Text(e, attrControl), 10, 64) // where it cannot be read, nothing is said
	control := adbytes.Control(n)
	facts := tallystick.AccountFacts{
		Directory: l.name, Account: network.Clean(ldapdir.Text(e, attrName)), Kind: kindOf(e),
		Disabled: control.Has(adbytes.Disabled), NeverExpires: control.Has(adbytes.PasswordNeverOld), NoPassword: control.Has(adbytes.NoPasswordNeeded),
		NoProof: control.Has(adbytes.NoPreAuthentication), Reversible: control.Has(adbytes.ReversiblePassword),
		Locked:      !adbytes.ParseFileTime(ldapdir.Text(e, "lockoutTime")).IsZero(),
		Privileged:  ldapdir.Text(e, "adminCount") == "1",
		PasswordSet: adbytes.ParseFileTime(ldapdir.Text(e, attrPasswordSet)),
		LastUsed:    adbytes.ParseFileTime(ldapdir.Text(e, "lastLogonTimestamp")),
		Created:     ldapdir.Time(ldapdir.Text(e, "whenCreated")),
		Services:    ldapdir.Clean(ldapdir.Texts(e, attrServices)),
		Groups:      l.groups.of(e),
		Owners:      ldapdir.Clean(append(ldapdir.Texts(e, "managedBy"), ldapdir.Texts(e, "info")...)),
	}
	// Domain controllers act for anybody by what they are.
	if control.Has(adbytes.TrustedForAnything) && !control.Has(adbytes.ServerAccount) {
		facts.Delegation = append(facts.Delegation, "anybody everywhere")
	}
	without := ""
	if control.Has(adbytes.TrustedWithoutProof) {
		without = " without their sign-in"
	}
	for _, service := range ldapdir.Clean(ldapdir.Texts(e, attrDelegateTo)) {
		facts.Delegation = append(facts.Delegation, "anybody at "+service+without)
	}
	for _, value := range ldapdir.Raw(e, attrActedFor) {
		facts.ActedFor = append(facts.ActedFor, l.allowed(value)...)
	}
	for _, value := range ldapdir.Raw(e, attrReaders) {
		facts.Readers = append(facts.Readers, l.allowed(value)...)
	}
	return facts
}

// allowed names whom a security descriptor lets in.
func (l *look) allowed(value []byte) []string {
	descriptor, err := adbytes.ReadDescriptor(value)
	if err != nil {
		return []string{"what cannot be read"}
	}
	var names []string
	for _, sid := range descriptor.Allowed() {
		name := sid.WellKnown()
		if name == "" {
			name = string(sid)
		}
		names = append(names, name)
		if len(names) == ldapdir.MaxListed {
			break
		}
	}
	return names
}

// kindOf says what an account is. Nothing in a directory tells people from services: who has a
// given name, a surname or an address of mail is taken for a person.
func kindOf(e *ldap.Entry) string {
	for _, class := range ldapdir.Texts(e, attrClass) {
		switch strings.ToLower(class) {
		case "msds-groupmanagedserviceaccount", "msds-managedserviceaccount", "msds-delegatedmanagedserviceaccount":
			return "managed"
		case "computer":
			return "computer"
		}
	}
	for _, attribute := range []string{"givenName", "sn", "mail"} {
		if ldapdir.Text(e, attribute) != "" {
			return "person"
		}
	}
	return "service"
}

func (l *look) saw(place tallystick.Place, c tallystick.Credential, facts tallystick.AccountFacts, form, key string) error {
	facts.Form, facts.KeyID = form, key
	return ldapdir.SinkFailed(l.sink.Saw(tallystick.Sighting{
		Credential: c, Place: place, Role: tallystick.RoleAccepts, Seen: l.now(), Facts: tallystick.Facts{Account: &facts},
	}))
}

func (l *look) malformed(place tallystick.Place, detail string) error {
	return ldapdir.SinkFailed(l.sink.Missed(tallystick.Miss{Place: place, Error: "malformed", Detail: detail, Seen: l.now()}))
}

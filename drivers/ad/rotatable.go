// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// rotatable says ErrDenied of an account whose password is not rotated: one that is outside of the
// domain, or of the base that url names, and one of an administrator without the option admins, because
// who may entrust the accounts of services would get the whole domain by it. One that this driver
// signs in as is ErrInvalid: nobody would change the password in the file.
func (d *AD) rotatable(ctx context.Context, s *ldapdir.Session, in domain, account *ldap.Entry) error {
	server, err := d.server(d.URL)
	if err != nil {
		return err
	}
	for _, base := range []string{in.base, server.Base()} {
		if base != "" && !ldapdir.Below(base, account.DN) {
			return fmt.Errorf("%w: %s is not below %s: name an account that is", tallystick.ErrDenied, network.Quote(account.DN), network.Quote(base))
		}
	}
	if slices.ContainsFunc([]string{d.Bind, d.WriteBind}, func(own string) bool { return in.calls(account, own) }) {
		return invalid("the domain is read or written here as %s, so that its password is not changed here as well: name another account in the options bind and write-bind", network.Quote(account.DN))
	}
	if d.Admins {
		return nil
	}
	why, err := protection(ctx, s, account)
	if err == nil && why != "" {
		err = fmt.Errorf("%w: %s is not rotated: %s. Entrust an account that is no administrator, or give the option admins", tallystick.ErrDenied, network.Quote(account.DN), why)
	}
	return err
}

// calls says whether an account is the one of a name to sign in with: a DN, a principal name, or
// with the short name of the domain before it.
func (in domain) calls(account *ldap.Entry, who string) bool {
	if who == "" {
		return false
	}
	if dn, err := ldap.ParseDN(who); err == nil && len(dn.RDNs) > 0 {
		entry, err := ldap.ParseDN(account.DN)
		return err == nil && entry.EqualFold(dn)
	}
	name := ldapdir.Text(account, attrName)
	return slices.ContainsFunc([]string{ldapdir.Text(account, "userPrincipalName"), name + "@" + in.name, in.short + `\` + name}, func(called string) bool {
		return strings.EqualFold(called, who)
	})
}

// protection says why the domain guards an account as one of its administrators, "" that it does
// not ([MS-ADTS] section 3.1.1.6.1). It marks them (adminCount) from time to time only, so that all groups
// that the account is in are looked at too, also by way of others (tokenGroups).
func protection(ctx context.Context, s *ldapdir.Session, account *ldap.Entry) (string, error) {
	if ldapdir.Text(account, "adminCount") == "1" {
		return "the domain guards it as an administrator (adminCount)", nil
	}
	const attrGroups = "tokenGroups"
	e, err := s.One(ctx, ldapdir.Query{Base: account.DN, Attributes: []string{attrGroups}})
	if err != nil {
		return "", err
	}
	groups := ldapdir.Raw(e, attrGroups)
	if len(groups) == 0 { // every account is in some
		return "bind may not read which groups it is in (tokenGroups), so that it may be an administrator", nil
	}
	for _, raw := range append(groups, ldapdir.Raw(account, attrSID)...) {
		sid, _, err := adbytes.ReadSID(raw)
		if err != nil {
			return "", err
		}
		if name := protected(string(sid)); name != "" {
			return "it is, or is in, " + name, nil
		}
	}
	return "", nil
}

// protected names the account or the group of a SID that a domain guards, and those that may set the keys of
// everybody ([MS-ADTS] section 3.1.1.6.1.2, [MS-DTYP] section 2.4.2.4).
func protected(sid string) string {
	builtin := map[string]string{
		"S-1-5-32-544": "Administrators", "S-1-5-32-548": "Account Operators", "S-1-5-32-549": "Server Operators",
		"S-1-5-32-550": "Print Operators", "S-1-5-32-551": "Backup Operators", "S-1-5-32-552": "Replicator",
	}
	inDomain := map[string]string{
		"500": "Administrator", "502": "krbtgt", "512": "Domain Admins", "516": "Domain Controllers", "518": "Schema Admins", "519": "Enterprise Admins",
		"521": "Read-only Domain Controllers", "526": "Key Admins", "527": "Enterprise Key Admins",
	}
	if strings.HasPrefix(sid, "S-1-5-21-") {
		return inDomain[sid[strings.LastIndexByte(sid, '-')+1:]]
	}
	return builtin[sid]
}

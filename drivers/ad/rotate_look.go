// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// LookAccount reads an account that is named by its DN, its sAMAccountName or its principal name, and
// the policy for its password, signed in as bind.
func (d *AD) LookAccount(ctx context.Context, request driver.AccountRequest) (driver.Account, error) {
	a, err := d.stands(ctx, request.Account)
	if err != nil {
		return driver.Account{}, err
	}
	return a.Account, nil
}

// A standing is an account as it stands.
type standing struct {
	driver.Account
	at      ldapdir.Server // as bind
	kdc     kdc            // where there is one
	dn      string
	name    string   // sAMAccountName
	names   []string // under which its uses are recorded
	managed bool     // the directory makes its passwords
	clock   time.Time
	// changeable is when the account may change its password itself; zero is any time, or not known.
	changeable time.Time
}

// hasKDC says whether passwords are tried by Kerberos.
func (a *standing) hasKDC() bool { return a.kdc.address != "" }

// enter signs in once over LDAP.
func (a *standing) enter(ctx context.Context, secret driver.Secret, now func() time.Time) (driver.Attempt, error) {
	return a.at.Try(ctx, a.dn, secret, wrongPassword, now)
}

// kdcNone is the value of the option kdc that leaves Kerberos out.
const kdcNone = "none"

// The bits of msDS-User-Account-Control-Computed ([MS-ADTS] section 3.1.1.4.5.17).
const (
	computedLocked  = 0x10
	computedExpired = 0x800000
)

// stands reads how an account stands. It asks for the root, the account and its policy alone.
func (d *AD) stands(ctx context.Context, account string) (*standing, error) {
	server, err := d.server(d.URL)
	if err != nil {
		return nil, fmt.Errorf("option url: %w", err)
	}
	if server.URL.Scheme == "ldap" && server.Plain {
		return nil, invalid("option plain: passwords are set and tried over TLS alone; leave it out, or use ldaps://")
	}
	if server.Bind == "" && server.URL.Scheme != "ldapi" {
		return nil, invalid("options bind and password-file: give somebody who reads accounts and the policy of their passwords")
	}
	var a *standing
	err = d.lobby.With(ctx, d.keeper, server, func(s *ldapdir.Session) error {
		a, err = d.standsAt(ctx, s, account)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.at = server
	a.Listeners = []driver.Listener{server.Listener()}
	if a.hasKDC() {
		a.Listeners = append(a.Listeners, a.kdc.listener())
	}
	return a, nil
}

func (d *AD) standsAt(ctx context.Context, s *ldapdir.Session, account string) (*standing, error) {
	domain, err := ask(ctx, s)
	if err != nil {
		return nil, err
	}
	e, err := accountEntry(ctx, s, domain, account)
	if err != nil {
		return nil, err
	}
	if err := d.rotatable(ctx, s, domain, e); err != nil {
		return nil, err
	}
	policy, err := readPolicy(ctx, s, domain, e)
	if err != nil {
		return nil, err
	}
	a := &standing{dn: e.DN, name: ldapdir.Text(e, attrName), clock: domain.clock}
	sid := []byte(nil)
	if raw := ldapdir.Raw(e, attrSID); len(raw) == 1 {
		sid = raw[0]
	}
	a.names = domain.accounts(a.name, sid)
	a.managed = kindOf(e) == "managed"
	a.kdc = d.kdcOf(domain)
	a.Account = driver.Account{
		Name: network.Clean(a.name), Overlap: driver.OverlapTimed, OverlapTime: d.OldPasswordTime, MinLength: policy.minLength, MaxLength: maxPassword,
		Changed: adbytes.ParseFileTime(ldapdir.Text(e, attrPasswordSet)),
	}
	if d.OldPasswordTime == 0 {
		a.Overlap = driver.OverlapNone
	}
	if !a.Changed.IsZero() && policy.minAge > 0 {
		a.changeable = a.Changed.Add(policy.minAge)
	}
	a.MayTry, a.Barred = policy.tries(e, a.clock), barred(e, policy, a.clock)
	if a.Barred != "" && locked(e) {
		a.MayTry = 0
	}
	a.Notes = d.notes(e, a, policy)
	return a, nil
}

// kdcOf returns where passwords are tried by Kerberos.
func (d *AD) kdcOf(in domain) kdc {
	k := kdc{address: d.KDC, realm: d.Realm, timeout: d.Timeout}
	if k.realm == "" {
		k.realm = strings.ToUpper(in.name)
	}
	if u, err := ldapdir.ParseURL(d.URL); err == nil && k.address == "" && u.Scheme != "ldapi" {
		k.address = net.JoinHostPort(u.Hostname(), "88")
	}
	if k.address == kdcNone {
		k.address = ""
	}
	return k
}

// accountAttributes are what is read of an account.
func accountAttributes() []string {
	return []string{
		attrName, attrSID, attrClass, attrControl, attrPasswordSet, attrServices, "accountExpires", "badPwdCount", "badPasswordTime", "lockoutTime",
		"msDS-User-Account-Control-Computed", "msDS-ResultantPSO", "userPrincipalName", "adminCount",
	}
}

// accountEntry finds an account by the name that people have entrusted it under.
func accountEntry(ctx context.Context, s *ldapdir.Session, in domain, account string) (*ldap.Entry, error) {
	if dn, err := ldap.ParseDN(account); err == nil && len(dn.RDNs) > 0 {
		return s.One(ctx, ldapdir.Query{Base: account, Filter: "(sAMAccountName=*)", Attributes: accountAttributes()})
	}
	filters := []string{"(sAMAccountName=" + ldap.EscapeFilter(account) + ")"}
	if short, name, ok := strings.Cut(account, `\`); ok && strings.EqualFold(short, in.short) {
		filters = []string{"(sAMAccountName=" + ldap.EscapeFilter(name) + ")"}
	}
	if name, suffix, ok := strings.Cut(account, "@"); ok {
		filters = []string{"(userPrincipalName=" + ldap.EscapeFilter(account) + ")"}
		if strings.EqualFold(suffix, in.name) { // every account has this one too ([MS-ADTS] section 5.1.1.1.1)
			filters = append(filters, "(sAMAccountName="+ldap.EscapeFilter(name)+")")
		}
	}
	for _, filter := range filters {
		var found []*ldap.Entry
		err := s.Each(ctx, ldapdir.Query{
			Base: in.base, Scope: ldap.ScopeWholeSubtree, Filter: "(&(objectClass=user)" + filter + ")", Attributes: accountAttributes(),
		}, func(e *ldap.Entry) error {
			if found = append(found, e); len(found) > 1 {
				return invalid("%s has several accounts that are called %s: give the DN of one", s.Host, network.Quote(account))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no account %s that bind may read: give its DN, its sAMAccountName or its principal name", tallystick.ErrNotFound, s.Host, network.Quote(account))
}

// A policy is what a domain asks of a password.
type policy struct {
	known     bool // false where bind may not read it
	threshold int64
	window    time.Duration // for which a wrong one is counted
	duration  time.Duration // of a lock; 0 is until somebody takes it away
	minLength int
	minAge    time.Duration
	complex   bool
}

// readPolicy reads the policy of an account: its own (fine-grained) where it has one, else that
// of the domain.
func readPolicy(ctx context.Context, s *ldapdir.Session, in domain, account *ldap.Entry) (policy, error) {
	base, prefix := in.base, ""
	words := []string{"lockoutThreshold", "lockOutObservationWindow", "lockoutDuration", "minPwdLength", "minPwdAge", "pwdProperties"}
	if own := ldapdir.Text(account, "msDS-ResultantPSO"); own != "" {
		base, prefix = own, "msDS-"
		words = []string{"LockoutThreshold", "LockoutObservationWindow", "LockoutDuration", "MinimumPasswordLength", "MinimumPasswordAge", "PasswordComplexityEnabled"}
	}
	for i := range words {
		words[i] = prefix + words[i]
	}
	e, err := s.One(ctx, ldapdir.Query{Base: base, Attributes: words})
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrDenied) {
		return policy{}, nil
	}
	if err != nil {
		return policy{}, err
	}
	whole := func(i int) int64 {
		n, _ := strconv.ParseInt(ldapdir.Text(e, words[i]), 10, 64)
		return n
	}
	return policy{
		known: ldapdir.Text(e, words[0]) != "", threshold: whole(0), window: span(whole(1)), duration: span(whole(2)),
		minLength: int(max(0, min(whole(3), maxPassword))), minAge: span(whole(4)),
		complex: ldapdir.Text(e, words[5]) == "TRUE" || prefix == "" && whole(5)&1 != 0, // DOMAIN_PASSWORD_COMPLEX ([MS-SAMR] section 2.2.3.5)
	}, nil
}

// span reads an interval: negative, in units of 100 ns. The least of all is for ever, as is 0 of a lock.
func span(n int64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	if n >= 0 || n < -int64(most)/100 {
		return 0
	}
	return time.Duration(-n) * 100
}

// tries says how many wrong passwords may be tried before the account is locked out. Each
// domain controller counts for itself and tells the first of them: others may have counted more.
func (p policy) tries(account *ldap.Entry, now time.Time) int {
	if p.known && p.threshold == 0 {
		return -1
	}
	wrong, _ := strconv.ParseInt(ldapdir.Text(account, "badPwdCount"), 10, 64)
	last := adbytes.ParseFileTime(ldapdir.Text(account, "badPasswordTime"))
	if !p.known { // one try after none locks nobody out whose policy is not mad
		return int(max(0, 1-wrong))
	}
	if p.window > 0 && !last.IsZero() && now.After(last.Add(p.window)) {
		wrong = 0
	}
	return int(max(0, p.threshold-1-wrong))
}

// locked says whether the domain controller says that an account is locked out.
func locked(e *ldap.Entry) bool { return computed(e)&computedLocked != 0 }

func computed(e *ldap.Entry) int64 {
	n, _ := strconv.ParseInt(ldapdir.Text(e, "msDS-User-Account-Control-Computed"), 10, 64)
	return n
}

// barred says why nobody gets in with a right password.
func barred(e *ldap.Entry, p policy, now time.Time) string {
	control, _ := strconv.ParseInt(ldapdir.Text(e, attrControl), 10, 64)
	expires := adbytes.ParseFileTime(ldapdir.Text(e, "accountExpires"))
	switch since := adbytes.ParseFileTime(ldapdir.Text(e, "lockoutTime")); {
	case adbytes.Control(control).Has(adbytes.Disabled):
		return "disabled"
	case locked(e) && p.known && p.duration > 0:
		return "locked out until " + since.Add(p.duration).Format(time.RFC3339)
	case locked(e):
		return "locked out until somebody unlocks it"
	case !expires.IsZero() && now.After(expires):
		return "the account expired on " + expires.Format(time.DateOnly)
	case ldapdir.Text(e, attrPasswordSet) == "0":
		return "its password has to be changed at the next sign-in"
	case computed(e)&computedExpired != 0:
		return "its password has expired"
	}
	return ""
}

// notes say what else is worth knowing.
func (d *AD) notes(e *ldap.Entry, a *standing, p policy) []string {
	var notes []string
	add := func(applies bool, format string, args ...any) {
		if applies {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(a.managed, "the directory makes its passwords itself")
	add(!p.known, "%s may not read the policy for its password: at most one wrong try is made", network.Quote(d.Bind))
	add(p.complex, "its password needs characters of three kinds")
	add(!d.resets(), "it changes its password itself, which its policy allows every %v; the old one gets in until its time is over", p.minAge)
	add(a.Overlap == driver.OverlapTimed, "by Kerberos the old password is refused as soon as a new one is set")
	add(len(ldapdir.Raw(e, attrServices)) > 0, "it is the account of a service: each time a password is set its key version rises, and keytabs have to be made anew")
	add(kindOf(e) == "computer", "it is of a computer, which loses the domain unless it is given the new password")
	return notes
}

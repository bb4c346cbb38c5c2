// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// noPolicy in the option policy says that no account has one.
const noPolicy = "none"

// A policy is what a password policy says (draft-behera-ldap-password-policy-10 section 5.2).
type policy struct {
	dn    string // "" where it is not known which one it is
	known bool   // what it says could be read

	lockout                bool
	maxFailure             int
	countedFor             time.Duration // 0: until a right one
	lockedFor              time.Duration // 0: until somebody unlocks it
	minLength, maxLength   int
	maxAge                 time.Duration // 0: it does not expire
	grace                  int
	wantsOld, resetsOthers bool // pwdSafeModify, pwdMustChange
}

// policyOf returns the policy of an entry: the one that the entry names, else that of the options,
// else the default of the directory. It is nil where there is none.
func (d *LDAP) policyOf(ctx context.Context, s *ldapdir.Session, entry *ldap.Entry) (*policy, error) {
	dn := ldapdir.Text(entry, "pwdPolicySubentry")
	if dn == "" && d.Policy == noPolicy {
		return nil, nil
	}
	if dn == "" {
		dn = d.Policy
	}
	if dn == "" {
		there, named, err := defaultPolicy(ctx, s)
		if err != nil || !there {
			return nil, err
		}
		dn = named
	}
	if dn == "" {
		return &policy{}, nil
	}
	rules, err := s.One(ctx, ldapdir.Query{Base: dn, Attributes: []string{
		"pwdLockout", "pwdMaxFailure", "pwdFailureCountInterval", "pwdLockoutDuration", "pwdMinLength", "pwdMaxLength", "pwdMaxAge",
		"pwdGraceAuthNLimit", "pwdSafeModify", "pwdMustChange",
	}})
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrDenied) {
		return &policy{dn: dn}, nil
	}
	if err != nil {
		return nil, err
	}
	return readPolicy(dn, rules), nil
}

// defaultPolicy says whether a policy may apply to accounts that name none, and which, as far as
// that can be read: the configuration of OpenLDAP is for its administrators.
func defaultPolicy(ctx context.Context, s *ldapdir.Session) (there bool, dn string, err error) {
	root, err := s.Root(ctx, "supportedControl")
	if err != nil {
		return false, "", err
	}
	for _, control := range ldapdir.Texts(root, "supportedControl") {
		there = there || control == ldap.ControlTypeBeheraPasswordPolicy
	}
	if !there {
		return false, "", nil
	}
	named := map[string]bool{}
	err = s.Each(ctx, ldapdir.Query{
		Base: "cn=config", Scope: ldap.ScopeWholeSubtree, Filter: "(objectClass=olcPPolicyConfig)", Attributes: []string{"olcPPolicyDefault"},
	}, func(e *ldap.Entry) error {
		named[ldapdir.Text(e, "olcPPolicyDefault")] = true
		return nil
	})
	switch {
	case errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrDenied):
		return true, "", nil
	case err != nil:
		return true, "", err
	case len(named) == 1: // else it depends on the database, or nothing could be seen
		for dn = range named {
			return dn != "", dn, nil
		}
	}
	return true, "", nil
}

func readPolicy(dn string, rules *ldap.Entry) *policy {
	number := func(attribute string) int {
		n, err := strconv.Atoi(ldapdir.Text(rules, attribute))
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	seconds := func(attribute string) time.Duration {
		const most = 100 * 365 * 24 * 3600 // of which no sum overflows
		return time.Duration(min(number(attribute), most)) * time.Second
	}
	is := func(attribute string) bool { return strings.EqualFold(ldapdir.Text(rules, attribute), "TRUE") }
	return &policy{
		dn: dn, known: true, lockout: is("pwdLockout"), maxFailure: number("pwdMaxFailure"),
		countedFor: seconds("pwdFailureCountInterval"), lockedFor: seconds("pwdLockoutDuration"),
		minLength: number("pwdMinLength"), maxLength: number("pwdMaxLength"), maxAge: seconds("pwdMaxAge"), grace: number("pwdGraceAuthNLimit"),
		wantsOld: is("pwdSafeModify"), resetsOthers: is("pwdMustChange"),
	}
}

// mayTry says how many wrong passwords are to be had before the account is locked, -1 any number.
// Of a policy that cannot be read it is one, and none once there was one.
func (a *account) mayTry(now time.Time) int {
	switch p := a.policy; {
	case p == nil || p.known && (!p.lockout || p.maxFailure == 0):
		return -1
	case !p.known:
		return max(0, 1-len(a.failures))
	}
	counted := 0
	for _, at := range a.failures {
		if a.policy.countedFor == 0 || at.After(now.Add(-a.policy.countedFor)) {
			counted++
		}
	}
	return max(0, a.policy.maxFailure-1-counted) // with the last of maxFailure it is locked
}

// lockedForGood is the time of lock of an account that only an administrator unlocks (section 5.3.3).
const lockedForGood = "000001010000Z"

// barred says why nobody gets in with a right password either.
func (a *account) barred(now time.Time) string {
	if a.locked != "" {
		if a.policy == nil || !a.policy.known || a.policy.lockedFor == 0 || a.locked == lockedForGood {
			return "locked out until somebody unlocks it, or sets its password"
		}
		if until := ldapdir.Time(a.locked).Add(a.policy.lockedFor); until.After(now) {
			return "locked out until " + until.Format(time.RFC3339)
		}
	}
	if p := a.policy; p != nil && p.maxAge > 0 && p.grace == 0 && !a.changed.IsZero() && a.changed.Add(p.maxAge).Before(now) {
		return "its password has expired"
	}
	return ""
}

// guard says ErrDenied where a wrong password would lock the account.
func (a *account) guard(now time.Time) error {
	if a.mayTry(now) != 0 {
		return nil
	}
	return fmt.Errorf("%w: couldn't try a password of %s: one more wrong one could lock it. Have its holder sign in, or unlock it; where its policy cannot be read, name one that can in the option policy",
		tallystick.ErrDenied, network.Quote(a.dn))
}

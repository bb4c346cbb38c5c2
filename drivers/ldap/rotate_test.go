// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

const (
	rotatorDN = "cn=rotator,dc=lab,dc=test"
	policyDN  = "cn=policy,dc=lab,dc=test"
	// Who sets passwords may write them, and not more: the policy is for those as well.
	mayWrite = "access to attrs=userPassword by dn.exact=\"" + rotatorDN + "\" write by self =xw by anonymous auth by * none\n" +
		"access to * by dn.exact=\"" + rotatorDN + "\" write by users read by * none\n"
)

func person(dn string) string {
	return fmt.Sprintf("\ndn: %s\nobjectClass: person\ncn: %[2]s\nsn: %[2]s\nuserPassword: %[3]s\n", dn, "somebody", lab.SlapdPassword)
}

// newRotation starts a slapd with somebody who sets passwords. Rules are of its default password
// policy; none is no policy.
func newRotation(t *testing.T, access string, rules ...string) *estate {
	t.Helper()
	settings := lab.SlapdSettings{Access: access, Entries: person(rotatorDN)}
	if len(rules) > 0 {
		settings.Modules, settings.Database = []string{"ppolicy"}, "overlay ppolicy\nppolicy_default "+policyDN+"\nppolicy_use_lockout"
		settings.Entries += "\ndn: " + policyDN + "\nobjectClass: device\nobjectClass: pwdPolicy\npwdAttribute: userPassword\n" + strings.Join(rules, "\n") + "\n"
	}
	return newEstateOf(t, settings)
}

// writer are the options with somebody who sets passwords.
func (e *estate) writer() map[string]string {
	return map[string]string{"write-bind": rotatorDN, "write-password-file": filepath.Join(e.dir, "password")}
}

// reader are the options with nobody who could.
func (e *estate) reader() map[string]string { return map[string]string{"bind": rotatorDN} }

// rotation brings the suite an estate, behind a relay.
func (e *estate) rotation(t *testing.T, edits map[string]string) drivertest.RotatorCase {
	t.Helper()
	relay := drivertest.NewRelay(t, e.slapd.LDAPS)
	edits["url"] = "ldaps://" + relay.Address
	made := 0
	return drivertest.RotatorCase{
		Rotator: e.open(t, edits), Relay: relay,
		Fresh: func(t *testing.T) (string, driver.Secret) {
			made++
			dn, first := e.dn(fmt.Sprintf("svc%d", made)), fmt.Sprintf("first secret of %d", made)
			e.add(t, dn, first)
			return dn, driver.NewSecret(first)
		},
		SignIn: e.signIn, Missing: e.dn("nobody"), Secrets: []string{lab.SlapdPassword},
	}
}

func (e *estate) add(t *testing.T, dn string, passwords ...string) {
	t.Helper()
	request := wire.NewAddRequest(dn, nil)
	request.Attribute("objectClass", []string{"account", "simpleSecurityObject"})
	request.Attribute("userPassword", passwords)
	if err := e.admin.Add(request); err != nil {
		t.Fatal(err)
	}
}

// signIn signs in by OpenLDAP's own client, and reads its own entry: who has to change its password
// first may not.
func (e *estate) signIn(t *testing.T, dn string, secret driver.Secret) bool {
	t.Helper()
	return e.signInAt(t, "ldap://"+e.slapd.LDAP, dn, secret)
}

func (e *estate) signInAt(t *testing.T, url, dn string, secret driver.Secret) bool {
	t.Helper()
	file := e.write(t, "tried", secret.Reveal())
	out, err := exec.Command(lab.Program(t, "ldapsearch"), "-x", "-H", url, "-D", dn, "-y", file, "-s", "base", "-b", dn, "1.1").CombinedOutput()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == wire.LDAPResultInvalidCredentials {
		return false
	}
	if err != nil {
		t.Fatalf("ldapsearch: %v\n%s", err, out)
	}
	return true
}

// wrong counts as slapd does.
func (e *estate) wrong(t *testing.T, dn string) int {
	t.Helper()
	found, err := e.admin.Search(wire.NewSearchRequest(dn, wire.ScopeBaseObject, wire.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"pwdFailureTime"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	return len(found.Entries[0].GetAttributeValues("pwdFailureTime"))
}

func TestRotateTwo(t *testing.T) {
	e := newRotation(t, mayWrite)
	drivertest.Rotator(t, e.rotation(t, e.writer()))
}

// strict are the rules of a policy that has all that gets in the way.
func strict() []string {
	return []string{"pwdLockout: TRUE", "pwdMaxFailure: 3", "pwdInHistory: 5", "pwdMinLength: 12", "pwdCheckQuality: 2", "pwdSafeModify: TRUE", "pwdMustChange: TRUE"}
}

// underPolicy is the case of a directory with that policy.
func (e *estate) underPolicy(t *testing.T, edits map[string]string) drivertest.RotatorCase {
	c := e.rotation(t, edits)
	c.Wrong, c.KeepsHistory, c.Refused = e.wrong, true, driver.NewSecret("tooshort")
	c.NearLock = func(t *testing.T, dn string) {
		for range 2 {
			e.signIn(t, dn, driver.NewSecret("wrong"))
		}
	}
	return c
}

func TestRotateUnderPolicy(t *testing.T) {
	e := newRotation(t, mayWrite, strict()...)
	options := e.writer()
	options["policy"] = policyDN
	drivertest.Rotator(t, e.underPolicy(t, options))
}

func TestRotateItself(t *testing.T) {
	e := newRotation(t, "access to attrs=userPassword by self =xw by anonymous auth by * none\n", strict()...)
	options := e.reader()
	options["policy"] = policyDN
	drivertest.Rotator(t, e.underPolicy(t, options))
}

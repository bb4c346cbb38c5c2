// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

const (
	oldText = "the old one of a test"
	newText = "the new one of a test"
)

func secrets(account string) driver.SecretRequest {
	return driver.SecretRequest{Account: account, Old: driver.NewSecret(oldText), New: driver.NewSecret(newText), Now: time.Now}
}

func look(t *testing.T, d *ldap.LDAP, account string) driver.Account {
	t.Helper()
	a, err := d.LookAccount(t.Context(), driver.AccountRequest{Account: account, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func set(t *testing.T, d *ldap.LDAP, account string) driver.SecretSet {
	t.Helper()
	set, err := d.SetSecret(t.Context(), secrets(account))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func drop(t *testing.T, d *ldap.LDAP, account string) driver.Blocked {
	t.Helper()
	dropped, err := d.DropSecret(t.Context(), secrets(account))
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

// stored returns the values of userPassword.
func (e *estate) stored(t *testing.T, dn string) []string {
	t.Helper()
	found, err := e.admin.Search(wire.NewSearchRequest(dn, wire.ScopeBaseObject, wire.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"userPassword"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	return found.Entries[0].GetAttributeValues("userPassword")
}

// alone looks that the new one gets in and the old one does not.
func (e *estate) alone(t *testing.T, dn string) {
	t.Helper()
	if e.signIn(t, dn, driver.NewSecret(oldText)) {
		t.Error("the old one gets in")
	}
	if !e.signIn(t, dn, driver.NewSecret(newText)) {
		t.Error("the new one does not get in")
	}
}

// TestOldOfEveryScheme has old ones hashed by OpenLDAP's and OpenSSL's own tools, those among them
// that the driver cannot check, and a further one of somebody else, which stays.
func TestOldOfEveryScheme(t *testing.T) {
	e := newRotation(t, mayWrite)
	d := e.open(t, e.writer())
	for _, scheme := range []string{"{SSHA}", "{SHA}", "{SMD5}", "{MD5}", "{CRYPT}", "clear"} {
		t.Run(scheme, func(t *testing.T) {
			old := oldText
			switch scheme {
			case "clear":
			case "{CRYPT}":
				old = scheme + strings.TrimSpace(lab.Run(t, "openssl", "passwd", "-6", oldText))
			default:
				old = strings.TrimSpace(lab.Run(t, "slappasswd", "-h", scheme, "-s", oldText))
			}
			dn := e.dn("of-" + strings.Trim(scheme, "{}"))
			e.add(t, dn, old)
			const other = "of somebody else"
			modify := wire.NewModifyRequest(dn, nil)
			modify.Add("userPassword", []string{other})
			if err := e.admin.Modify(modify); err != nil {
				t.Fatal(err)
			}
			set(t, d, dn)
			if !drop(t, d, dn).Changed.Changed {
				t.Error("nothing is dropped")
			}
			e.alone(t, dn)
			if left := e.stored(t, dn); len(left) != 2 || !slices.Contains(left, other) {
				t.Errorf("%d values are left, want the new one and that of somebody else", len(left))
			}
			if drop(t, d, dn).Changed.Changed {
				t.Error("dropped again, something changes")
			}
		})
	}
}

func TestDropWantsTheNewOne(t *testing.T) {
	e := newRotation(t, mayWrite)
	e.add(t, e.dn("svc"), oldText)
	if _, err := e.open(t, e.writer()).DropSecret(t.Context(), secrets(e.dn("svc"))); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("%v, want ErrConflict", err)
	}
	if !e.signIn(t, e.dn("svc"), driver.NewSecret(oldText)) {
		t.Error("the old one is gone, and there is no other")
	}
}

// TestNotReadable is of a directory that lets passwords be written and not read.
func TestNotReadable(t *testing.T) {
	e := newRotation(t, "access to attrs=userPassword by dn.exact=\""+rotatorDN+"\" =w by anonymous auth by * none\n")
	e.add(t, e.dn("svc"), oldText)
	d := e.open(t, e.writer())
	if a := look(t, d, e.dn("svc")); a.Overlap != driver.OverlapNone || a.MayTry != -1 {
		t.Errorf("overlap %q, %d may be tried", a.Overlap, a.MayTry)
	}
	set(t, d, e.dn("svc"))
	e.alone(t, e.dn("svc"))
	if dropped := drop(t, d, e.dn("svc")); dropped.Changed.Changed {
		t.Errorf("something is dropped: %+v", dropped)
	}
}

// TestMayNotWrite is of somebody who may see passwords and not set them.
func TestMayNotWrite(t *testing.T) {
	e := newRotation(t, "access to attrs=userPassword by dn.exact=\""+rotatorDN+"\" read by anonymous auth by * none\n")
	e.add(t, e.dn("svc"), oldText)
	if _, err := e.open(t, e.reader()).SetSecret(t.Context(), secrets(e.dn("svc"))); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("%v, want ErrDenied", err)
	}
}

func TestNamedByUID(t *testing.T) {
	e := newRotation(t, mayWrite)
	d := e.open(t, e.writer())
	if a := look(t, d, "alice"); a.Name != e.dn("alice") {
		t.Errorf("it is %s", a.Name)
	}
	twin := wire.NewAddRequest("cn=twin,"+e.slapd.People, nil)
	for name, value := range map[string]string{"objectClass": "inetOrgPerson", "sn": "twin", "uid": "alice"} {
		twin.Attribute(name, []string{value})
	}
	if err := e.admin.Add(twin); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"alice": tallystick.ErrInvalid, "*": tallystick.ErrNotFound, "nobody": tallystick.ErrNotFound, "": tallystick.ErrInvalid,
		"uid=": tallystick.ErrInvalid, "no=dn,": tallystick.ErrInvalid, "uid=\x00": tallystick.ErrInvalid,
	} {
		if _, err := d.LookAccount(t.Context(), driver.AccountRequest{Account: name, Now: time.Now}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
}

func TestPasswordKeptElsewhere(t *testing.T) {
	e := newRotation(t, mayWrite)
	e.add(t, e.dn("svc"), "{SASL}svc@lab.test")
	if _, err := e.open(t, e.writer()).SetSecret(t.Context(), secrets(e.dn("svc"))); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

// TestPolicyNotReadable is of an account whose policy nobody may read: one wrong password is
// taken for the last but one, and the old one is handed in where it is wanted.
func TestPolicyNotReadable(t *testing.T) {
	e := newRotation(t, "access to dn.exact=\""+policyDN+"\" by * none\n"+mayWrite, "pwdSafeModify: TRUE", "pwdLockout: TRUE", "pwdMaxFailure: 5")
	e.add(t, e.dn("svc"), oldText)
	for name, edits := range map[string]map[string]string{"default": {}, "named": {"policy": policyDN}} {
		options := e.writer()
		for option, value := range edits {
			options[option] = value
		}
		if a := look(t, e.open(t, options), e.dn("svc")); a.Overlap != driver.OverlapNone || a.MayTry != 1 || len(a.Notes) != 1 {
			t.Errorf("%s: overlap %q, %d may be tried, notes %q", name, a.Overlap, a.MayTry, a.Notes)
		}
	}
	options := e.writer()
	options["policy"] = "none"
	if a := look(t, e.open(t, options), e.dn("svc")); a.Overlap != driver.OverlapTwo || a.MayTry != -1 {
		t.Errorf("where the options say that there is none: overlap %q, %d may be tried", a.Overlap, a.MayTry)
	}
	d := e.open(t, e.writer())
	set(t, d, e.dn("svc"))
	e.alone(t, e.dn("svc"))
	e.signIn(t, e.dn("svc"), driver.NewSecret(oldText))
	if _, err := d.TestSecret(t.Context(), secrets(e.dn("svc"))); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("%v, want ErrDenied", err)
	}
}

// TestFreed is of an administrator of passwords, under a policy by which who gets one from
// somebody else may do nothing but change it.
func TestFreed(t *testing.T) {
	e := newRotation(t, strings.ReplaceAll(mayWrite, "\" write", "\" manage"), "pwdMustChange: TRUE", "pwdCheckQuality: 1")
	e.add(t, e.dn("svc"), oldText)
	d := e.open(t, e.writer())
	if how := set(t, d, e.dn("svc")).How; !cmp.Equal(how, []string{"password-modify", "modify"}) {
		t.Errorf("it was done by %q", how)
	}
	e.alone(t, e.dn("svc"))
}

func TestLooksAtPolicy(t *testing.T) {
	e := newRotation(t, mayWrite, "pwdLockout: TRUE", "pwdMaxFailure: 3", "pwdLockoutDuration: 3600", "pwdMinLength: 14", "pwdCheckQuality: 1", "pwdMaxAge: 86400")
	e.add(t, e.dn("svc"), oldText)
	d := e.open(t, nil) // as an administrator, who may read which policy is the default
	for range 3 {
		e.signIn(t, e.dn("svc"), driver.NewSecret("wrong"))
	}
	a := look(t, d, e.dn("svc"))
	if a.MayTry != 0 || a.MinLength != 14 || !strings.HasPrefix(a.Barred, "locked out until ") || a.Changed.IsZero() {
		t.Errorf("%+v", a)
	}
	// An administrator's new password unlocks it.
	set(t, d, e.dn("svc"))
	if a := look(t, d, e.dn("svc")); a.MayTry != 2 || a.Barred != "" {
		t.Errorf("after a new one: %+v", a)
	}
	e.alone(t, e.dn("svc"))
	old, err := d.LookAccount(t.Context(), driver.AccountRequest{Account: e.dn("svc"), Now: func() time.Time { return time.Now().Add(48 * time.Hour) }})
	if err != nil || old.Barred != "its password has expired" {
		t.Errorf("two days later: %q, %v", old.Barred, err)
	}
}

// TestLockedSaysNothing is of an old one that is refused because the account is locked.
func TestLockedSaysNothing(t *testing.T) {
	e := newRotation(t, mayWrite, "pwdLockout: TRUE", "pwdMaxFailure: 3")
	e.add(t, e.dn("svc"), newText)
	for range 3 {
		e.signIn(t, e.dn("svc"), driver.NewSecret("wrong"))
	}
	options := e.writer()
	options["policy"] = "none" // which is not so
	tested, err := e.open(t, options).TestSecret(t.Context(), secrets(e.dn("svc")))
	if err != nil || len(tested.New) != 1 || tested.New[0].Outcome != driver.OutcomeFailed || !strings.Contains(tested.New[0].Answer, "locked") {
		t.Errorf("%+v, %v", tested, err)
	}
}

func TestDoesNotRotateItself(t *testing.T) {
	e := newRotation(t, mayWrite)
	d := e.open(t, e.writer())
	if _, err := d.LookAccount(t.Context(), driver.AccountRequest{Account: strings.ToUpper(rotatorDN), Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

// TestTooYoung is of a policy that lets nobody change a password twice in an hour: that is later, not no.
func TestTooYoung(t *testing.T) {
	e := newRotation(t, "access to attrs=userPassword by self =xw by anonymous auth by * none\n", "pwdMinAge: 3600", "pwdCheckQuality: 1")
	e.add(t, e.dn("svc"), oldText)
	for _, text := range []string{newText, "too young"} { // the other one is in what the directory says
		request := secrets(e.dn("svc"))
		request.New = driver.NewSecret(text)
		if _, err := e.open(t, e.reader()).SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrUnavailable) || strings.Contains(err.Error(), text) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
}

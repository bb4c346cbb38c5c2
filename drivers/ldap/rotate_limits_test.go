// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

// ownText is what somebody has set in the meantime, whom nobody has told of a rotation.
const ownText = "set by somebody else since"

// stillGetsIn looks that nothing has locked the account, and that it has the password of its holder.
func (e *estate) stillGetsIn(t *testing.T, dn string) {
	t.Helper()
	if !e.signIn(t, dn, driver.NewSecret(ownText)) {
		t.Error("the holder does not get in any more")
	}
}

func testBoth(t *testing.T, d *ldap.LDAP, request driver.SecretRequest) (driver.Tested, error) {
	t.Helper()
	request.TryOld = true
	return d.TestSecret(t.Context(), request)
}

// TestBothWrong tries an account again and again that has neither the old nor the new password. The
// threshold is even: tries in pairs would lock it.
func TestBothWrong(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite, "pwdLockout: TRUE", "pwdMaxFailure: 4")
	e.add(t, e.dn("svc"), ownText)
	options := e.writer()
	options["policy"] = policyDN
	d := e.open(t, options)
	for i := range 6 {
		tested, err := testBoth(t, d, secrets(e.dn("svc")))
		if n := e.wrong(t, e.dn("svc")); n != min(i+1, 3) {
			t.Fatalf("call %d leaves %d wrong ones", i, n)
		}
		if i >= 3 {
			if !errors.Is(err, tallystick.ErrDenied) {
				t.Errorf("call %d: %v, want ErrDenied", i, err)
			}
			continue
		}
		if err != nil || tested.New[0].Outcome != driver.OutcomeRefused || tested.Old[0].Outcome != driver.OutcomeFailed || !strings.HasPrefix(tested.Old[0].Answer, "not tried") {
			t.Errorf("call %d: %+v, %v", i, tested, err)
		}
	}
	e.stillGetsIn(t, e.dn("svc"))
}

// TestItselfBothWrong is of an account that two wrong ones lock, and that is to change its password
// itself: after the new one was wrong there is no room for the old one.
func TestItselfBothWrong(t *testing.T) {
	t.Parallel()
	e := newRotation(t, "access to attrs=userPassword by self =xw by anonymous auth by * none\n", "pwdLockout: TRUE", "pwdMaxFailure: 2")
	e.add(t, e.dn("svc"), ownText)
	options := e.reader()
	options["policy"] = policyDN
	d := e.open(t, options)
	request := secrets(e.dn("svc"))
	request.Again = true
	for range 2 {
		if _, err := d.SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("%v, want ErrDenied", err)
		}
		if n := e.wrong(t, e.dn("svc")); n != 1 {
			t.Errorf("%d wrong ones are counted, want 1", n)
		}
	}
	e.stillGetsIn(t, e.dn("svc"))
}

// TestCountOfReplica has a second server that has counted a wrong one of which the first knows
// nothing.
func TestCountOfReplica(t *testing.T) {
	t.Parallel()
	rules := []string{"pwdLockout: TRUE", "pwdMaxFailure: 2"}
	e, replica := newRotation(t, mayWrite, rules...), newRotation(t, mayWrite, rules...)
	for _, one := range []*estate{e, replica} {
		one.add(t, one.dn("svc"), newText)
	}
	replica.signIn(t, e.dn("svc"), driver.NewSecret("wrong"))
	options := e.writer()
	options["policy"], options["replicas"] = policyDN, "ldaps://"+replica.slapd.LDAPS
	options["ca"] = e.write(t, "both.pem", lab.CertificatePEM(e.pki.Root.Raw, replica.pki.Root.Raw))
	request, told := secrets(e.dn("svc")), 0
	request.Used = func(tallystick.Use) { told++ }
	tested, err := testBoth(t, e.open(t, options), request)
	if err != nil || len(tested.Old) != 2 || len(tested.New) != 2 {
		t.Fatalf("%+v, %v", tested, err)
	}
	if tested.Old[0].Outcome != driver.OutcomeRefused || tested.New[0].Outcome != driver.OutcomeAccepted {
		t.Errorf("at the first: %+v", tested)
	}
	if told != 3 {
		t.Errorf("%d sign-ins are told of, want the 3 at the first", told)
	}
	for _, attempt := range []driver.Attempt{tested.Old[1], tested.New[1]} {
		if attempt.Outcome != driver.OutcomeFailed || !strings.HasPrefix(attempt.Answer, "not tried") {
			t.Errorf("at the second: %+v", attempt)
		}
	}
	if n := replica.wrong(t, e.dn("svc")); n != 1 {
		t.Errorf("at the second %d wrong ones are counted, want 1", n)
	}
}

// TestOthersAreNotTakenAway is of an old password that is one of two which cannot be checked here.
func TestOthersAreNotTakenAway(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite)
	crypt := func(password string) string {
		return "{CRYPT}" + strings.TrimSpace(lab.Run(t, "openssl", "passwd", "-6", password))
	}
	e.add(t, e.dn("svc"), crypt(oldText), crypt(ownText))
	d := e.open(t, e.writer())
	notes := look(t, d, e.dn("svc")).Notes
	if len(notes) != 2 || !strings.Contains(notes[0], "it has 2 passwords") || !strings.HasPrefix(notes[1], "2 of its passwords") {
		t.Errorf("the notes are %q", notes)
	}
	set(t, d, e.dn("svc"))
	before := e.stored(t, e.dn("svc"))
	if _, err := d.DropSecret(t.Context(), secrets(e.dn("svc"))); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("%v, want ErrDenied", err)
	}
	if after := e.stored(t, e.dn("svc")); !slices.Equal(before, after) {
		t.Errorf("of %d values %d are left", len(before), len(after))
	}
	e.stillGetsIn(t, e.dn("svc"))
}

// TestSetAndNotFreed is of somebody who may set a password, which marks it to be changed, and
// may not take the mark away: no error says that nothing was written.
func TestSetAndNotFreed(t *testing.T) {
	t.Parallel()
	access := "access to attrs=userPassword by dn.exact=\"" + rotatorDN + "\" manage by anonymous auth by * none\n" +
		"access to attrs=pwdReset by users read by * none\n"
	e := newRotation(t, access, "pwdMustChange: TRUE", "pwdCheckQuality: 1")
	e.add(t, e.dn("svc"), oldText)
	request := secrets(e.dn("svc"))
	_, err := e.open(t, e.writer()).SetSecret(t.Context(), request)
	if !errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("%v, want ErrUnavailable alone", err)
	}
	request.Again = true
	if _, err := e.open(t, nil).SetSecret(t.Context(), request); err != nil {
		t.Errorf("repeated by who may: %v", err)
	}
	e.alone(t, e.dn("svc"))
}

// TestBelowTheBase is of accounts that a driver may write, and that are outside of what its options name.
func TestBelowTheBase(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite)
	outside := "uid=outside," + e.slapd.Suffix
	e.add(t, outside, oldText)
	e.add(t, e.dn("svc"), oldText)
	options := e.writer()
	options["base"] = "OU = People, " + e.slapd.Suffix
	d := e.open(t, options)
	look(t, d, strings.ToUpper(e.dn("svc")))
	request := secrets(outside)
	_, looked := d.LookAccount(t.Context(), driver.AccountRequest{Account: outside, Now: request.Now})
	_, set := d.SetSecret(t.Context(), request)
	_, dropped := d.DropSecret(t.Context(), request)
	_, tested := d.TestSecret(t.Context(), request)
	for _, err := range []error{looked, set, dropped, tested} {
		if !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("%v, want ErrDenied", err)
		}
	}
	if !e.signIn(t, outside, driver.NewSecret(oldText)) || e.signIn(t, outside, driver.NewSecret(newText)) {
		t.Error("its password is another one")
	}
}

// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/drivers/ad"
	"github.com/tallystick/tallystick/internal/lab"
)

// lockedAfter is how many wrong passwords lock an account of the tests.
const lockedAfter = 5

// anHour is what domain controllers of Samba have by themselves, and those of the lab have not.
const anHour = "old password allowed period = 60"

// newRotated starts a domain controller that locks accounts.
func newRotated(t *testing.T, lines ...string) *estate {
	t.Helper()
	p := lab.NewPKI(t)
	e := &estate{samba: lab.StartSamba(t, p, lines...), dir: t.TempDir()}
	e.write(t, "ca.pem", lab.CertificatePEM(p.Root.Raw))
	e.write(t, "password", lab.SambaPassword+"\n")
	e.connect(t)
	e.policy(t, map[string]string{"lockoutThreshold": strconv.Itoa(lockedAfter), "minPwdAge": "0"})
	return e
}

func (e *estate) policy(t *testing.T, values map[string]string) {
	t.Helper()
	request := ldap.NewModifyRequest(lab.SambaBase, nil)
	for name, value := range values {
		request.Replace(name, []string{value})
	}
	if err := e.admin.Modify(request); err != nil {
		t.Fatal(err)
	}
}

// rotator opens the driver with somebody who resets passwords.
func (e *estate) rotator(t *testing.T, edits map[string]string) *ad.AD {
	t.Helper()
	all := map[string]string{"kdc": e.samba.KDC, "write-bind": lab.SambaAdmin, "write-password-file": filepath.Join(e.dir, "password")}
	for name, value := range edits {
		all[name] = value
	}
	return e.open(t, all)
}

// fresh makes an account.
func (e *estate) fresh(t *testing.T) (string, driver.Secret) {
	t.Helper()
	name := "r-" + strings.ToLower(rand.Text())[:12]
	e.add(t, name, nil)
	return name, driver.NewSecret(lab.SambaPassword)
}

// signsIn is a client of its own.
func (e *estate) signsIn(t *testing.T, account string, secret driver.Secret) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := ldap.DialURL("ldaps://"+e.samba.LDAPS, ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, ServerName: lab.SambaHost}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Bind(dn(account), secret.Reveal())
	if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Fatal(err)
	}
	return err == nil
}

func (e *estate) wrong(t *testing.T, account string) int {
	t.Helper()
	n := 0
	for _, value := range e.values(t, account, "badPwdCount") {
		n, _ = strconv.Atoi(value)
	}
	return n
}

func (e *estate) rotatorCase(t *testing.T, r *ad.AD) drivertest.RotatorCase {
	return drivertest.RotatorCase{
		Rotator: r, Fresh: e.fresh, SignIn: e.signsIn, Wrong: e.wrong, Missing: "nobody-here", Refused: driver.NewSecret("short1A"[:6]),
		EndOverlap: func(*testing.T, string) {}, // DropSecret ends it, and does not wait for an hour
		NearLock: func(t *testing.T, account string) {
			for range lockedAfter - 1 {
				e.signsIn(t, account, driver.NewSecret("not-The-one-7"))
			}
		},
		Secrets: []string{lab.SambaPassword},
	}
}

// One domain controller serves all rotations that leave the old password for an hour.
func TestRotate(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "audit.json")
	e := newRotated(t, anHour, "log level = 1 auth_json_audit:5@"+log)
	relay := drivertest.NewRelay(t, e.samba.LDAPS)
	c := e.rotatorCase(t, e.rotator(t, map[string]string{"url": "ldaps://" + relay.Address}))
	c.Relay = relay
	t.Run("suite", func(t *testing.T) { drivertest.Rotator(t, c) })
	t.Run("told", func(t *testing.T) { e.told(t, log) })
	t.Run("names", e.names)
	t.Run("barred", e.barred)
	t.Run("own policy", e.ownPolicy)
	t.Run("kerberos", e.kerberos)
	t.Run("kinds of keys", e.kindsOfKeys)
	t.Run("other ways", e.otherWays)
	t.Run("without a KDC", e.withoutKDC)
	t.Run("own change", e.ownChange)
	t.Run("a drop leaves theirs", e.dropLeavesTheirs)
	t.Run("no second wrong one", e.noSecondWrong)
	t.Run("administrators", e.administrators)
	t.Run("nothing over plain LDAP", e.plain)
}

// TestRotateAtOnce has a domain controller that refuses the old password as soon as there is a new one.
func TestRotateAtOnce(t *testing.T) {
	t.Parallel()
	e := newRotated(t)
	drivertest.Rotator(t, e.rotatorCase(t, e.rotator(t, map[string]string{"old-password-time": "0"})))
}

// look asks how an account stands.
func (e *estate) look(t *testing.T, r *ad.AD, account string) driver.Account {
	t.Helper()
	found, err := r.LookAccount(t.Context(), driver.AccountRequest{Account: account, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A turn is one rotation of an account.
type turn struct {
	*ad.AD
	driver.SecretRequest
}

func (e *estate) turn(t *testing.T, r *ad.AD, account string) turn {
	t.Helper()
	return turn{r, driver.SecretRequest{
		Account: account, Old: driver.NewSecret(lab.SambaPassword), New: driver.NewSecret("Zz9" + rand.Text()), Now: time.Now,
	}}
}

// whole rotates, and looks at what is tried before and after the drop.
func (r turn) whole(t *testing.T) {
	t.Helper()
	if set, err := r.SetSecret(t.Context(), r.SecretRequest); err != nil || !set.Changed.Changed {
		t.Fatalf("set: %+v, %v", set, err)
	}
	if dropped, err := r.DropSecret(t.Context(), r.SecretRequest); err != nil || !dropped.Changed.Changed {
		t.Fatalf("drop: %+v, %v", dropped, err)
	}
	r.outcomes(t, "refused refused", "accepted accepted")
}

// outcomes tries both.
func (r turn) outcomes(t *testing.T, old, fresh string) driver.Tested {
	t.Helper()
	request := r.SecretRequest
	request.TryOld = true
	told := 0
	request.Used = func(tallystick.Use) { told++ }
	tested, err := r.TestSecret(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if told != 2*len(tested.New)+len(tested.Old) {
		t.Errorf("%d sign-ins are told of, want New twice and Old once at each of %d", told, len(tested.New))
	}
	words := func(attempts []driver.Attempt) string {
		var words []string
		for _, a := range attempts {
			words = append(words, a.Outcome)
		}
		return strings.Join(words, " ")
	}
	if got := [2]string{words(tested.Old), words(tested.New)}; got != [2]string{old, fresh} {
		t.Errorf("%v, want %v: %+v", got, [2]string{old, fresh}, tested)
	}
	return tested
}

// names finds one account under all of its names.
func (e *estate) names(t *testing.T) {
	name, _ := e.fresh(t)
	e.modify(t, name, func(r *ldap.ModifyRequest) { r.Replace("userPrincipalName", []string{name + "-p@other.test"}) })
	r := e.rotator(t, nil)
	for _, account := range []string{dn(name), strings.ToUpper(name), "lab\\" + name, name + "@lab.test", name + "-p@other.test"} {
		if got := e.look(t, r, account); got.Name != name {
			t.Errorf("%s is %q, want %q", account, got.Name, name)
		}
	}
	for _, account := range []string{"", "*", "other\\" + name, name + "@other.test", name + ")(cn*", name[:5] + "*", "CN=nobody,CN=Users," + lab.SambaBase, "CN=Users," + lab.SambaBase, "CN=x,DC=elsewhere"} {
		_, err := r.LookAccount(t.Context(), driver.AccountRequest{Account: account, Now: time.Now})
		if !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", account, err)
		}
	}
}

// barred says why nobody gets in.
func (e *estate) barred(t *testing.T) {
	r := e.rotator(t, nil)
	lock := func(t *testing.T, name string) {
		for range lockedAfter {
			e.signsIn(t, name, driver.NewSecret("not-The-one-7"))
		}
	}
	for want, how := range map[string]func(*testing.T, string){
		"disabled": func(t *testing.T, name string) {
			e.modify(t, name, func(r *ldap.ModifyRequest) { r.Replace("userAccountControl", []string{"514"}) })
		},
		"the account expired on 2020-01-01": func(t *testing.T, name string) {
			e.modify(t, name, func(r *ldap.ModifyRequest) { r.Replace("accountExpires", []string{"132223104000000000"}) })
		},
		"its password has to be changed at the next sign-in": func(t *testing.T, name string) {
			e.modify(t, name, func(r *ldap.ModifyRequest) { r.Replace("pwdLastSet", []string{"0"}) })
		},
		"locked out until ": lock,
	} {
		name, _ := e.fresh(t)
		how(t, name)
		if got := e.look(t, r, name); !strings.HasPrefix(got.Barred, want) || want == "locked out until " && got.MayTry != 0 {
			t.Errorf("%+v, want it %s", got, want)
		}
		turn := e.turn(t, r, name) // a password can be taken away all the same
		if set, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil || !set.Changed.Changed {
			t.Errorf("%s: %+v, %v", want, set, err)
		}
		if _, err := turn.DropSecret(t.Context(), turn.SecretRequest); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	name, _ := e.fresh(t)
	lock(t, name)
	turn := e.turn(t, r, name)
	if _, err := turn.TestSecret(t.Context(), turn.SecretRequest); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("locked out, it is tried: %v", err)
	}
}

// ownPolicy reads the policy that an account has for itself (a fine-grained one).
func (e *estate) ownPolicy(t *testing.T) {
	name, _ := e.fresh(t)
	strict := ldap.NewAddRequest("CN="+name+",CN=Password Settings Container,CN=System,"+lab.SambaBase, nil)
	for attribute, value := range map[string]string{
		"objectClass": "msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence": "1", "msDS-PasswordReversibleEncryptionEnabled": "FALSE",
		"msDS-PasswordHistoryLength": "24", "msDS-PasswordComplexityEnabled": "FALSE", "msDS-MinimumPasswordLength": "19", "msDS-MinimumPasswordAge": "0",
		"msDS-MaximumPasswordAge": "-36288000000000", "msDS-LockoutThreshold": "2", "msDS-LockoutObservationWindow": "-18000000000",
		"msDS-LockoutDuration": "-18000000000", "msDS-PSOAppliesTo": dn(name),
	} {
		strict.Attribute(attribute, []string{value})
	}
	if err := e.admin.Add(strict); err != nil {
		t.Fatal(err)
	}
	r := e.rotator(t, nil)
	got := e.look(t, r, name)
	if got.MinLength != 19 || got.MayTry != 1 || strings.Contains(strings.Join(got.Notes, " "), "three kinds") {
		t.Errorf("%+v, want at least 19 characters and one try", got)
	}
	turn := e.turn(t, r, name)
	turn.whole(t)
	// Who may not read it makes one try at most.
	reader, _ := e.fresh(t)
	r = e.rotator(t, map[string]string{"bind": dn(reader)})
	if got := e.look(t, r, name); got.MayTry != 1 || got.MinLength != 0 {
		t.Errorf("%+v, want one try", got)
	}
}

// kerberos looks by a client of others that the keys of Kerberos change with the password, in
// the hour in which LDAP takes the old one.
func (e *estate) kerberos(t *testing.T) {
	name, first := e.fresh(t)
	turn := e.turn(t, e.rotator(t, nil), name)
	if !e.kinit(t, name, first) {
		t.Fatal("the first password gets no ticket")
	}
	if _, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil {
		t.Fatal(err)
	}
	if e.kinit(t, name, turn.Old) || !e.kinit(t, name, turn.New) {
		t.Error("after a set, Kerberos takes the new password alone")
	}
	tested := turn.outcomes(t, "accepted refused", "accepted accepted")
	if answer := tested.Old[1].Answer; !strings.Contains(answer, "no proof while LDAP takes the password") {
		t.Errorf("a refusal that nobody has signed is told as %q", answer)
	}
	if _, err := turn.DropSecret(t.Context(), turn.SecretRequest); err != nil {
		t.Fatal(err)
	}
	tested = turn.outcomes(t, "refused refused", "accepted accepted")
	if answer := tested.Old[1].Answer; strings.Contains(answer, "proof") {
		t.Errorf("a refusal that LDAP confirms is told as %q", answer)
	}
	if e.kinit(t, name, turn.Old) || !e.kinit(t, name, turn.New) {
		t.Error("after a drop, Kerberos takes the new password alone")
	}
}

// kinit says whether a password gets a ticket.
func (e *estate) kinit(t *testing.T, name string, secret driver.Secret) bool {
	t.Helper()
	cmd := exec.Command(lab.Program(t, "kinit"), "-c", filepath.Join(t.TempDir(), "tickets"), name+"@"+lab.SambaRealm)
	cmd.Env = []string{"KRB5_CONFIG=" + e.samba.ClientConfig, "PATH=/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(secret.Reveal() + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Password incorrect") && !strings.Contains(string(out), "Preauthentication failed") {
		t.Fatalf("%v: %s", err, out)
	}
	return err == nil
}

// kindsOfKeys rotates accounts whose KDC is told of other keys, and of no proof. Samba has keys of AES for
// that of RC4 as well, and takes them.
func (e *estate) kindsOfKeys(t *testing.T) {
	for name, edit := range map[string]func(*ldap.ModifyRequest){
		"rc4":    func(r *ldap.ModifyRequest) { r.Replace("msDS-SupportedEncryptionTypes", []string{"4"}) },
		"aes128": func(r *ldap.ModifyRequest) { r.Replace("msDS-SupportedEncryptionTypes", []string{"8"}) },
		"none":   func(r *ldap.ModifyRequest) { r.Replace("userAccountControl", []string{"4194816"}) },
	} {
		t.Run(name, func(t *testing.T) {
			account, _ := e.fresh(t)
			e.modify(t, account, edit)
			turn := e.turn(t, e.rotator(t, nil), account)
			turn.whole(t)
			withdraw := turn.SecretRequest
			withdraw.Withdraw = true
			if _, err := turn.SetSecret(t.Context(), withdraw); err != nil || !e.signsIn(t, account, turn.Old) {
				t.Errorf("withdrawn: %v", err)
			}
		})
	}
}

// otherWays rotates over StartTLS, and as root at the socket of Samba.
func (e *estate) otherWays(t *testing.T) {
	for _, options := range []map[string]string{
		{"url": "ldap://" + e.samba.LDAP},
		{"url": "ldapi://" + e.samba.Socket, "bind": "", "password-file": "", "write-bind": "", "write-password-file": ""},
	} {
		account, _ := e.fresh(t)
		e.turn(t, e.rotator(t, options), account).whole(t)
	}
}

// withoutKDC rotates where LDAP alone says who gets in.
func (e *estate) withoutKDC(t *testing.T) {
	r := e.rotator(t, map[string]string{"kdc": "none"})
	name, first := e.fresh(t)
	turn := e.turn(t, r, name)
	if got := e.look(t, r, name); len(got.Listeners) != 1 {
		t.Errorf("%+v", got.Listeners)
	}
	for i, want := range []bool{true, false} {
		if set, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil || set.Changed.Changed != want {
			t.Fatalf("set %d: %+v, %v", i, set, err)
		}
	}
	turn.outcomes(t, "accepted", "accepted")
	withdraw := turn.SecretRequest
	withdraw.Withdraw = true
	if set, err := turn.SetSecret(t.Context(), withdraw); err != nil || !set.Changed.Changed {
		t.Fatalf("withdraw: %+v, %v", set, err)
	}
	if e.signsIn(t, name, turn.New) || !e.signsIn(t, name, first) {
		t.Error("what is withdrawn gets in: it would be taken for what is set")
	}
	if set, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil || !set.Changed.Changed {
		t.Fatalf("set after it: %+v, %v", set, err)
	}
	if _, err := turn.DropSecret(t.Context(), turn.SecretRequest); err != nil {
		t.Fatal(err)
	}
	turn.outcomes(t, "refused", "accepted")
}

// ownChange has accounts change their passwords themselves.
func (e *estate) ownChange(t *testing.T) {
	r := e.rotator(t, map[string]string{"write-bind": "", "write-password-file": ""})
	name, _ := e.fresh(t)
	turn := e.turn(t, r, name)
	set, err := turn.SetSecret(t.Context(), turn.SecretRequest)
	if d := cmp.Diff([]string{"change"}, set.How); err != nil || d != "" {
		t.Fatalf("%v\n%s", err, d)
	}
	if set, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil || set.Changed.Changed {
		t.Errorf("again: %+v, %v", set, err)
	}
	turn.outcomes(t, "accepted refused", "accepted accepted")
	if _, err := turn.DropSecret(t.Context(), turn.SecretRequest); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("drop: %v, want ErrUnavailable", err)
	}
	withdraw := turn.SecretRequest
	withdraw.Withdraw = true
	if _, err := turn.SetSecret(t.Context(), withdraw); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("withdraw: %v, want ErrInvalid: it is in the history", err)
	}
	e.policy(t, map[string]string{"minPwdAge": "-864000000000"})
	next := turn
	next.Old, next.New = turn.New, driver.NewSecret("Zz9"+rand.Text())
	if _, err := next.SetSecret(t.Context(), next.SecretRequest); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("too early: %v, want ErrUnavailable", err)
	}
	e.policy(t, map[string]string{"minPwdAge": "0"})
	next.Old = driver.NewSecret("not-The-one-7")
	if _, err := next.SetSecret(t.Context(), next.SecretRequest); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("with what is not its password: %v, want ErrDenied", err)
	}
}

// dropLeavesTheirs drops nothing where an administrator has set another password since: a reset would
// put New in the place of theirs. After one of theirs New gets in for a while as the password before it,
// and after two no more.
func (e *estate) dropLeavesTheirs(t *testing.T) {
	for resets, want := range map[int]error{1: nil, 2: tallystick.ErrConflict} {
		name, _ := e.fresh(t)
		turn := e.turn(t, e.rotator(t, nil), name)
		if _, err := turn.SetSecret(t.Context(), turn.SecretRequest); err != nil {
			t.Fatal(err)
		}
		var theirs driver.Secret
		for range resets {
			theirs = driver.NewSecret("Zz9" + rand.Text())
			e.modify(t, name, func(r *ldap.ModifyRequest) { r.Replace("unicodePwd", []string{adbytes.UnicodePwd(theirs.Reveal())}) })
		}
		if dropped, err := turn.DropSecret(t.Context(), turn.SecretRequest); !errors.Is(err, want) || dropped.Changed.Changed {
			t.Errorf("after %d resets: %+v, %v, want %v", resets, dropped, err, want)
		}
		if !e.signsIn(t, name, theirs) || e.signsIn(t, name, turn.Old) || e.signsIn(t, name, turn.New) != (want == nil) {
			t.Errorf("after %d resets others get in than before the drop", resets)
		}
	}
}

// noSecondWrong has accounts of which neither password is right, and that two more wrong ones
// lock. After one was wrong the other is not tried.
func (e *estate) noSecondWrong(t *testing.T) {
	itself := e.rotator(t, map[string]string{"write-bind": "", "write-password-file": ""})
	for name, try := range map[string]func(turn) error{
		"set, by itself": func(r turn) error { r.AD = itself; _, err := r.SetSecret(t.Context(), r.SecretRequest); return err },
		"set, refused by the policy": func(r turn) error {
			r.New = driver.NewSecret("short1")
			_, err := r.SetSecret(t.Context(), r.SecretRequest)
			return err
		},
		"drop": func(r turn) error { _, err := r.DropSecret(t.Context(), r.SecretRequest); return err },
		"test": func(r turn) error { r.TryOld = true; _, err := r.TestSecret(t.Context(), r.SecretRequest); return err },
	} {
		t.Run(name, func(t *testing.T) {
			account, right := e.fresh(t)
			for range lockedAfter - 2 {
				e.signsIn(t, account, driver.NewSecret("not-The-one-7"))
			}
			r := e.turn(t, e.rotator(t, nil), account)
			r.Old = driver.NewSecret("not-The-one-8")
			if err := try(r); err == nil && name != "test" {
				t.Error("there is no error")
			}
			if n := e.wrong(t, account); n != lockedAfter-1 {
				t.Errorf("%d wrong ones are counted, want %d", n, lockedAfter-1)
			}
			if !e.signsIn(t, account, right) {
				t.Error("the holder does not get in any more")
			}
		})
	}
}

// administrators are not rotated, whether the domain has marked them already or not.
func (e *estate) administrators(t *testing.T) {
	marked, _ := e.fresh(t)
	e.modify(t, marked, func(r *ldap.ModifyRequest) { r.Replace("adminCount", []string{"1"}) })
	nested, _ := e.fresh(t)
	group := ldap.NewAddRequest(dn("Nested"), nil)
	group.Attribute("objectClass", []string{"group"})
	group.Attribute("sAMAccountName", []string{"Nested"})
	group.Attribute("member", []string{dn(nested)})
	if err := e.admin.Add(group); err != nil {
		t.Fatal(err)
	}
	e.modify(t, "Domain Admins", func(r *ldap.ModifyRequest) { r.Add("member", []string{dn("Nested")}) })
	r, may := e.rotator(t, nil), e.rotator(t, map[string]string{"admins": "true"})
	for _, account := range []string{marked, nested} {
		_, err := r.LookAccount(t.Context(), driver.AccountRequest{Account: account, Now: time.Now})
		if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "option admins") {
			t.Errorf("%s: %v, want ErrDenied", account, err)
		}
		turn := e.turn(t, r, account)
		if _, err := turn.SetSecret(t.Context(), turn.SecretRequest); !errors.Is(err, tallystick.ErrDenied) || !e.signsIn(t, account, turn.Old) {
			t.Errorf("%s: %v, want ErrDenied, and the password as it was", account, err)
		}
		e.turn(t, may, account).whole(t)
	}
	for _, own := range []string{"Administrator", `LAB\administrator`, strings.ToUpper(lab.SambaAdmin)} {
		if _, err := may.LookAccount(t.Context(), driver.AccountRequest{Account: own, Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid: the driver signs in as that", own, err)
		}
	}
	outside, _ := e.fresh(t)
	r = e.rotator(t, map[string]string{"url": "ldaps://" + e.samba.LDAPS + "/OU=Services," + lab.SambaBase})
	if _, err := r.LookAccount(t.Context(), driver.AccountRequest{Account: dn(outside), Now: time.Now}); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("outside of the base: %v, want ErrDenied", err)
	}
}

// plain sends no password without TLS.
func (e *estate) plain(t *testing.T) {
	name, _ := e.fresh(t)
	r := e.rotator(t, map[string]string{"url": "ldap://" + e.samba.LDAP, "plain": "true"})
	turn := e.turn(t, r, name)
	_, set := turn.SetSecret(t.Context(), turn.SecretRequest)
	_, tested := turn.TestSecret(t.Context(), turn.SecretRequest)
	for _, err := range []error{set, tested} {
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

// A post is an estate with a Dovecot that asks its slapd by a bind, and remembers for an hour who
// was right.
type post struct {
	*estate
	dovecot *lab.Dovecot
}

// bindsAs has Dovecot sign in to the directory as whoever signs in to it.
const bindsAs = "uris = ldap://%[1]s\nauth_bind = yes\nauth_bind_userdn = uid=%%u,%[2]s\nbase = %[2]s\nldap_version = 3\n"

func newPost(t *testing.T, rules ...string) *post {
	t.Helper()
	if _, err := os.Stat("/usr/lib/dovecot/modules/auth/libauthdb_ldap.so"); err != nil {
		t.Fatal("Dovecot cannot ask a directory here: install dovecot-ldap (scripts/test-tools)")
	}
	e := newRotation(t, mayWrite, rules...)
	asks := filepath.Join(lab.OpenDir(t), "ldap.conf")
	lab.Write(t, asks, fmt.Sprintf(bindsAs, e.slapd.LDAP, e.slapd.People))
	main := "passdb {\n  driver = ldap\n  args = " + asks + "\n}\nauth_cache_size = 1M\nauth_cache_ttl = 1 hour\n"
	p := &post{e, lab.StartDovecot(t, lab.DovecotSettings{PKI: e.pki, NoLists: true, Main: main})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("Dovecot's log:\n" + lab.Read(t, p.dovecot.LogFile))
		}
	})
	return p
}

// mailer are the options with who sets passwords, and with the Dovecot.
func (p *post) mailer() map[string]string {
	options := p.writer()
	options["mail-listeners"] = "imaps://" + p.dovecot.IMAPS + ",pop3s://" + p.dovecot.POP3S
	options["mail-ca"] = filepath.Join(p.dir, "ca.pem")
	return options
}

func mailSecrets(account string) driver.SecretRequest {
	request := secrets(account)
	request.Host = host.Local()
	return request
}

// takes says whether Dovecot lets somebody in by USER and PASS of POP3 (RFC 1939 section 7) and, the
// same, by LOGIN of IMAP (RFC 9051 section 6.2.3).
func (p *post) takes(t *testing.T, user, password string) bool {
	t.Helper()
	pop := p.says(t, p.dovecot.POP3S, "+OK", "USER "+user, "PASS "+password)
	imap := p.says(t, p.dovecot.IMAPS, "a OK", fmt.Sprintf("a LOGIN %s %q", user, password))
	if pop != imap {
		t.Fatalf("%s gets in by POP3: %v, by IMAP: %v", user, pop, imap)
	}
	return pop
}

// says sends lines, and says whether the answer to the last one is good.
func (p *post) says(t *testing.T, address, good string, lines ...string) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", address, p.dovecot.PKI.ClientConfig(driver.Material{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	in := bufio.NewReader(conn)
	answer := func() string {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			if len(lines) == 2 || !strings.HasPrefix(line, "* ") { // of IMAP, what answers nothing
				return line
			}
		}
	}
	if good == "+OK" {
		answer()
	}
	said := ""
	for i := range lines {
		fmt.Fprintf(conn, "%s\r\n", lines[i])
		said = answer()
	}
	return strings.HasPrefix(said, good)
}

// rotates rotates an account that Dovecot has let in with its old password just before, and looks who
// gets in then.
func (p *post) rotates(t *testing.T, d *ldap.LDAP, name string) {
	t.Helper()
	dn := p.dn(name)
	p.add(t, dn, oldText)
	standing := look(t, d, dn)
	if listeners := standing.Listeners; len(listeners) != 3 || listeners[1].Protocol != "imaps" || listeners[2].Address != p.dovecot.POP3S {
		t.Fatalf("it is tried at %+v", listeners)
	}
	if !slices.Contains(standing.Notes, "it signs in to mail as "+name) {
		t.Errorf("the notes are %q", standing.Notes)
	}
	request := mailSecrets(dn)
	if _, err := d.SetSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if standing.Overlap == driver.OverlapTwo && !p.takes(t, name, oldText) { // and is remembered
		t.Error("the old one does not get in beside the new one")
	}
	dropped, err := d.DropSecret(t.Context(), request)
	if err != nil {
		t.Fatalf("%+v, %v", dropped, err)
	}
	if standing.Overlap == driver.OverlapTwo && p.takes(t, name, oldText) {
		t.Error("the old one that was dropped is remembered")
	}
	request.TryOld = true
	tested, err := d.TestSecret(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	came(t, tested.Old, driver.OutcomeRefused, 3)
	came(t, tested.New, driver.OutcomeAccepted, 3)
	if p.takes(t, name, oldText) || !p.takes(t, name, newText) {
		t.Error("the old one gets in, or the new one does not")
	}
}

func came(t *testing.T, attempts []driver.Attempt, want string, n int) {
	t.Helper()
	if len(attempts) != n || slices.ContainsFunc(attempts, func(a driver.Attempt) bool { return a.Outcome != want }) {
		t.Errorf("want %s %d times: %+v", want, n, attempts)
	}
}

// A Dovecot that remembers the old password lets it in, whatever the directory says, until it has
// heard another one that is right.
func TestMailOfTheDirectory(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	d := p.open(t, p.mailer())
	p.rotates(t, d, "svc1")
	p.add(t, p.dn("svc2"), oldText)
	tested, err := d.TestSecret(t.Context(), mailSecrets(p.dn("svc2"))) // of which the new one was never set
	if err != nil || len(tested.New) != 3 || tested.New[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v, %v", tested, err)
	}
	came(t, tested.New[1:], driver.OutcomeFailed, 2) // nobody counts in the directory, and a mail server may
	if log := lab.Read(t, p.dovecot.LogFile); strings.Contains(log, "svc2") || !strings.Contains(log, "svc1") {
		t.Error("Dovecot was asked")
	}
}

// Where two wrong ones lock the account, the old one is tried at each listener, and never twice in a
// row as the directory counts: Dovecot does not ask it about the new one, which it remembers.
func TestMailCountsInTheDirectory(t *testing.T) {
	t.Parallel()
	p := newPost(t, "pwdLockout: TRUE", "pwdMaxFailure: 2")
	options := p.mailer()
	options["policy"] = policyDN
	d := p.open(t, options)
	p.rotates(t, d, "svc1")
	if n := p.wrong(t, p.dn("svc1")); n > 1 { // by takes, which no right one followed that slapd was asked about
		t.Errorf("%d wrong ones in a row are counted", n)
	}
	p.add(t, p.dn("svc2"), oldText)
	request := mailSecrets(p.dn("svc2")) // of which the new one was never set
	tested, err := d.TestSecret(t.Context(), request)
	if err != nil || len(tested.New) != 3 || tested.New[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v, %v", tested, err)
	}
	came(t, tested.New[1:], driver.OutcomeFailed, 2)
	if n := p.wrong(t, p.dn("svc2")); n != 1 {
		t.Errorf("%d wrong ones were tried", n)
	}
}

// Who signs in to mail by something that the directory does not say is not begun with.
func TestMailNames(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite)
	options := e.writer()
	options["mail-listeners"] = "smtp://" + lab.Loopback(lab.FreePort(t))
	options["mail-user"] = "mail"
	d := e.open(t, options)
	_, err := d.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: "alice", Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "mail-user") {
		t.Errorf("an account without an address gives %v", err)
	}
	e.modify(t, "alice", func(r *wire.ModifyRequest) { r.Add("mail", []string{"alice@lab.test", "a@lab.test"}) })
	if notes := look(t, d, "alice").Notes; !slices.Contains(notes, "it signs in to mail as alice@lab.test") {
		t.Errorf("the notes are %q", notes)
	}
	options["mail-user"] = "dn"
	if notes := look(t, e.open(t, options), "alice").Notes; !slices.Contains(notes, "it signs in to mail as "+e.dn("alice")) {
		t.Errorf("the notes are %q", notes)
	}
	for option, value := range map[string]string{"mail-listeners": "https://mail.lab.test:443", "mail-user": "cn", "mail-ca": "ca.pem"} {
		edits := e.writer()
		edits[option] = value
		if _, err := ldap.Driver().Open(e.options(edits)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("option %s: %v, want ErrInvalid", option, err)
		}
	}
}

// A plan is not begun that would send passwords without TLS, and be taken back then.
func TestNoRotationWithoutTLS(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite)
	options := e.writer()
	options["url"], options["plain"], options["ca"], options["server-name"] = "ldap://"+e.slapd.LDAP, "true", "", ""
	_, err := e.open(t, options).LookAccount(t.Context(), driver.AccountRequest{Account: "alice", Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option plain") {
		t.Errorf("without TLS it is %v", err)
	}
	_, port, _ := net.SplitHostPort(e.slapd.LDAP)
	options["url"], options["plain"], options["ca"] = "ldap://localhost:"+port, "", filepath.Join(e.dir, "ca.pem")
	look(t, e.open(t, options), "alice")
}

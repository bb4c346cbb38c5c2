// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/uses"
)

// signIns counts sign-ins by kind of server, account, and whether it was let in.
type signIns struct {
	of     []string // accounts
	at     string   // the server, "" is any
	counts map[string]int
}

func (s *signIns) Use(u *tallystick.Use) {
	kind, _, _ := strings.Cut(u.RelyingParty, ":")
	for _, name := range u.Credential {
		if name = tallystick.NormalName(name); slices.Contains(s.of, name) && (s.at == "" || s.at == u.RelyingParty) {
			s.counts[fmt.Sprint(kind, " ", name, " ", u.Outcome == tallystick.OutcomeSuccess)]++
		}
	}
}
func (*signIns) Close(tallystick.ClosingMark) {}
func (*signIns) Lost(*tallystick.Use)         {}

func (s *signIns) read(t *testing.T, format, log string) {
	t.Helper()
	stream, err := uses.NewStream(format, uses.Settings{Side: tallystick.SideRelying, Near: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log[:strings.LastIndexByte(log, '\n')+1]) { // it may be in the middle of a line
		if err := stream.Read(strings.TrimSpace(line), s); err != nil {
			t.Fatal(err)
		}
	}
}

// Each sign-in of a rotation is told once, by the names that the logs of a directory and of the mail
// servers that ask it have for it, so that nobody takes one for a thief's.
func TestSignInsOfARotationAreTold(t *testing.T) {
	pki := lab.NewPKI(t)
	slapd := lab.StartSlapd(t, lab.SlapdSettings{PKI: pki, Entries: "dn: " + mailAccount + "\nobjectClass: inetOrgPerson\ncn: svc\nsn: svc\nmail: svc@lab.test\nuserPassword: " + mailOld + "\n"})
	asks := filepath.Join(lab.OpenDir(t), "ldap.conf")
	lab.Write(t, asks, fmt.Sprintf(byMail, slapd.LDAP, slapd.Admin, lab.SlapdPassword, slapd.People))
	dovecot := lab.StartDovecot(t, lab.DovecotSettings{PKI: pki, NoLists: true, Main: "passdb {\n  driver = ldap\n  args = " + asks + "\n}\n"})
	postfix := lab.StartPostfix(t, lab.PostfixSettings{PKI: pki, SASL: dovecot.Auth})
	dir := t.TempDir()
	lab.Write(t, filepath.Join(dir, "ca.pem"), lab.CertificatePEM(pki.Root.Raw))
	lab.Write(t, filepath.Join(dir, "password"), lab.SlapdPassword)
	c := ldapDoor(t, map[string]string{
		"url": "ldaps://" + slapd.LDAPS, "server-name": "localhost", "ca": filepath.Join(dir, "ca.pem"), "bind": slapd.Admin, "password-file": filepath.Join(dir, "password"),
		"mail-listeners": "imaps://" + dovecot.IMAPS + ",pop3://" + dovecot.POP3 + ",submission://" + postfix.SMTP, "mail-ca": filepath.Join(dir, "ca.pem"), "mail-user": "mail",
	})
	accounts := []string{tallystick.NormalName("account:ldap/" + mailAccount), "account:mail/svc@lab.test"}
	told, unnamed := signIns{of: accounts, counts: map[string]int{}}, 0
	var mu sync.Mutex // of both
	c.Used = func(_ driver.Public, u tallystick.Use) {
		mu.Lock()
		defer mu.Unlock()
		told.Use(&u)
		if !slices.ContainsFunc(u.Credential, func(name string) bool { return slices.Contains(accounts, name) }) || !strings.HasSuffix(u.RelyingParty, ":") {
			unnamed++
		}
	}
	rotated(t, c)
	if unnamed > 0 {
		t.Errorf("%d are told by names or at parties that no log has", unnamed)
	}
	// What is right is written down by Postfix with the first mail, and none is sent here.
	const sent = "smtp account:mail/svc@lab.test true"
	if told.counts[sent] == 0 {
		t.Errorf("nothing is told of Postfix: %v", told.counts)
	}
	delete(told.counts, sent)
	var logged signIns
	for end := time.Now().Add(20 * time.Second); !cmp.Equal(logged.counts, told.counts) && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		logged = signIns{of: accounts, counts: map[string]int{}}
		logged.read(t, "dovecot", lab.Read(t, dovecot.LogFile))
		logged.read(t, "postfix", lab.Read(t, postfix.LogFile))
		logged.at = "ldap:" + slapd.LDAPS // Dovecot signs in as the account at the other one, when it is asked
		logged.read(t, "openldap", slapd.Log())
	}
	if d := cmp.Diff(logged.counts, told.counts); d != "" || len(told.counts) < 7 {
		t.Errorf("the logs have -, told is +:\n%s", d)
	}
}

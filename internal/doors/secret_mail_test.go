// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/uses"
	"github.com/tallystick/tallystick/internal/vault"
	"github.com/tallystick/tallystick/internal/vault/vaulttest"
)

// nobody reads what is on record.
type nobody struct{}

func (nobody) Append(context.Context, audit.Record) error { return nil }

// failed takes what a log says of passwords that were wrong.
type failed struct{ ledger.Batch }

func (f *failed) Use(u *tallystick.Use) {
	if strings.Contains(u.Detail, "wrong password") {
		f.Uses = append(f.Uses, *uses.Keep(u))
	}
}
func (*failed) Close(tallystick.ClosingMark) {}
func (*failed) Lost(*tallystick.Use)         {}

const (
	mailAccount = "uid=svc,ou=people,dc=lab,dc=test"
	mailOld     = "the old one of svc"
	// byMail has Dovecot look for who signs in by the address, and sign in to the directory as that.
	byMail = "uris = ldap://%s\ndn = %s\ndnpass = %s\nauth_bind = yes\nbase = %s\npass_filter = (mail=%%u)\npass_attrs = mail=user\nldap_version = 3\n"
)

// Who goes on with an old password of the directory is known by the name that mail servers write
// down, whatever the directory calls the account.
func TestNamesOfAnAccountInMailLogs(t *testing.T) {
	pki := lab.NewPKI(t)
	slapd := lab.StartSlapd(t, lab.SlapdSettings{PKI: pki, Entries: "dn: " + mailAccount + "\nobjectClass: inetOrgPerson\ncn: svc\nsn: svc\nmail: svc@lab.test\nuserPassword: " + mailOld + "\n"})
	asks := filepath.Join(lab.OpenDir(t), "ldap.conf")
	lab.Write(t, asks, fmt.Sprintf(byMail, slapd.LDAP, slapd.Admin, lab.SlapdPassword, slapd.People))
	dovecot := lab.StartDovecot(t, lab.DovecotSettings{PKI: pki, NoLists: true, Main: "passdb {\n  driver = ldap\n  args = " + asks + "\n}\nauth_verbose_passwords = sha1:6\n"})
	dir := t.TempDir()
	lab.Write(t, filepath.Join(dir, "ca.pem"), lab.CertificatePEM(pki.Root.Raw))
	lab.Write(t, filepath.Join(dir, "password"), lab.SlapdPassword)
	options := map[string]string{
		"url": "ldaps://" + slapd.LDAPS, "server-name": "localhost", "ca": filepath.Join(dir, "ca.pem"), "bind": slapd.Admin, "password-file": filepath.Join(dir, "password"),
		"mail-listeners": "imaps://" + dovecot.IMAPS, "mail-ca": filepath.Join(dir, "ca.pem"), "mail-user": "mail",
	}
	one := rotated(t, ldapDoor(t, options))
	if !slices.Contains(one.OldNames, "account:mail/svc@lab.test") || !slices.Contains(one.OldNames, "account:mail/svc") || one.OldMark == "" {
		t.Errorf("its names are %q, and it has the mark %q", one.OldNames, one.OldMark)
	}
	signInTo(t, pki, dovecot.IMAPS, "svc@lab.test", mailOld)
	log := ""
	for end := time.Now().Add(20 * time.Second); strings.Count(log, "(auth failed") < 2; time.Sleep(50 * time.Millisecond) { // that of the proof, and that of the thief
		if log = lab.Read(t, dovecot.LogFile); time.Now().After(end) {
			t.Fatalf("Dovecot does not tell of two wrong passwords:\n%s", log)
		}
	}
	stream, err := uses.NewStream("dovecot", uses.Settings{Near: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var said failed
	for line := range strings.Lines(log) {
		if err := stream.Read(strings.TrimSpace(line), &said); err != nil {
			t.Fatal(err)
		}
	}
	if len(said.Uses) != 2 {
		t.Errorf("Dovecot tells of %d wrong passwords:\n%s", len(said.Uses), log)
	}
	for _, use := range said.Uses {
		if !slices.Contains(one.OldNames, use.Credential[0]) || !slices.Contains(strings.Fields(use.Detail), one.OldMark) {
			t.Errorf("Dovecot tells of %q: %s", use.Credential, use.Detail)
		}
	}
}

// ldapDoor is a directory in the configuration.
func ldapDoor(t *testing.T, options map[string]string) doors.Config {
	t.Helper()
	keys, err := doors.OpenFileKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	opened := driver.New("ldap", "a directory", func(struct{}) (any, error) { return ldap.Driver().Open(options) })
	return doors.Config{Doors: []config.Door{{Name: "directory", Driver: "ldap"}}, Drivers: []driver.Driver{opened}, Keys: keys, Now: time.Now}
}

// rotated rotates the account as a recall does, and returns the proof.
func rotated(t *testing.T, c doors.Config) doors.Result {
	t.Helper()
	entrusted := vaulttest.New(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), gate.New(nobody{}, time.Now), time.Now)
	kept, err := entrusted.Entrust(t.Context(), gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}, vault.Entrust{
		Name: vault.Name{Customer: "acme", System: "directory", Account: mailAccount, Kind: vault.Password}, Value: driver.NewSecret(mailOld),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Vault = entrusted
	set, err := doors.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var last doors.Result
	for i, act := range []tallystick.Act{tallystick.ActKey, tallystick.ActInstall, tallystick.ActProbe, tallystick.ActBlock, tallystick.ActProve} {
		task := doors.Task{
			Act: act, Door: "directory", Name: fmt.Sprint("recall/7/", i), KeyName: "recall/7/new/1", OldKeyName: "recall/7/old/1", Active: true,
			Old: driver.Public{Account: "entrusted:" + kept.ID}, RelyingParty: "ldaps:directory",
			Secret: &doors.Entrusted{ID: kept.ID, Version: kept.Version, Customer: "acme", System: "directory", Account: mailAccount, Overlap: driver.OverlapTwo},
		}
		if last, err = set.Do(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// signInTo signs in to an IMAP server, which must refuse that.
func signInTo(t *testing.T, pki *lab.PKI, address, user, password string) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, pki.ClientConfig(driver.Material{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "a LOGIN %s %q\r\nb LOGOUT\r\n", user, password)
	said, err := io.ReadAll(conn)
	if !strings.Contains(string(said), "a NO ") {
		t.Fatalf("the server says %q, %v", said, err)
	}
}

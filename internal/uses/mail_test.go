// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// signIn signs in by IMAP with one password after the other, and leaves.
func signIn(t *testing.T, d *lab.Dovecot, passwords ...string) {
	t.Helper()
	conn, err := tls.Dial("tcp", d.IMAPS, d.PKI.ClientConfig(driver.Material{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	in := bufio.NewReader(conn)
	for i, password := range append(passwords, "") {
		say := fmt.Sprintf("%d LOGIN alice %q", i, password)
		if password == "" {
			say = fmt.Sprintf("%d LOGOUT", i)
		}
		fmt.Fprintf(conn, "%s\r\n", say)
		for line := ""; !strings.HasPrefix(line, fmt.Sprint(i)); {
			if line, err = in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// lines waits until Dovecot has written down the ends of some sessions.
func lines(t *testing.T, d *lab.Dovecot, sessions int) []string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		all := strings.Split(strings.TrimRight(lab.Read(t, d.LogFile), "\n"), "\n")
		n := 0
		for _, line := range all {
			if strings.Contains(line, "user=<alice>") {
				n++
			}
		}
		if n == sessions {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d sessions in\n%s", n, sessions, strings.Join(all, "\n"))
		}
	}
}

// A refused use says which password it was, as far as Dovecot does (printf old | sha1sum). One that
// is right at the second place where Dovecot looks is not wrong.
func TestWrongPasswordsOfDovecot(t *testing.T) {
	second := filepath.Join(lab.OpenDir(t), "second")
	lab.Write(t, second, "alice:{PLAIN}second\n")
	if err := os.Chmod(second, 0o644); err != nil { // Dovecot reads it as somebody else
		t.Fatal(err)
	}
	main := "auth_verbose_passwords = sha1:6\npassdb {\n  driver = passwd-file\n  mechanisms = plain login\n  args = " + second + "\n}\n"
	d := lab.StartDovecot(t, lab.DovecotSettings{NoLists: true, Main: main, Users: map[string]string{"alice": "right"}})
	signIn(t, d, "second")
	signIn(t, d, "old")
	signIn(t, d, "old", "older", "old")
	signIn(t, d, "older", "right")
	signIn(t, d, "right")
	stream, err := NewStream("dovecot", Settings{Near: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var got kept
	for _, line := range lines(t, d, 5) {
		if err := stream.Read(line, &got); err != nil {
			t.Fatal(err)
		}
	}
	const old, older = "sha1:c00dbb", "sha1:6fa5fb"
	want := []string{"success ", "attempt auth failed; wrong password " + old, "attempt auth failed; wrong password " + old + " " + older, "success wrong password " + older, "success "}
	var said []string
	for _, u := range got.uses {
		said = append(said, string(u.Outcome)+" "+u.Detail)
		if u.IDs.Session == "" || u.Credential[0] != "account:mail/alice" {
			t.Errorf("%+v", u)
		}
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
}

// What the name of a user says is not what Dovecot says.
func TestMarksAreNotForged(t *testing.T) {
	failed := func(session string) string {
		return "2026-11-22T04:50:49+0000 imap-login: Info: Disconnected (auth failed, 1 attempts): user=<a>, method=PLAIN, rip=::1, lip=::1, TLS, session=<" + session + ">"
	}
	for _, c := range []struct{ record, detail string }{
		{"auth: Info: passwd-file(a,::1,<S>): Password mismatch (SHA1 of given password: 76272d)", "auth failed; wrong password sha1:76272d"},
		{"auth: Info: cache(a,::1,<S>): Password mismatch (SHA1 of given password: 76272d26cbc3ae4e44a84cba3c1ea6e26fcc6d5b)", "auth failed; wrong password sha1:76272d"},
		{"auth: Info: ldap(a,::1,<S>): Password mismatch (for LDAP bind) (SHA1 of given password: 76272d)", "auth failed; wrong password sha1:76272d"},
		{"auth: Info: passwd-file(a,::1,<S>): Password mismatch (SHA1 of given password: 76272d) - trying the next passdb", "auth failed"},
		{"auth: Info: passwd-file(a,::1,<S>): Password mismatch (SHA1 of given password: 7627)", "auth failed"},
		{"auth: Info: passwd-file(a,::1,<S>): Password mismatch (given password: secret)", "auth failed"},
		{"auth: Info: passwd-file(a,::1,<S>): Password mismatch (SHA1 of given password: 111111),::1,<T>): Password mismatch (SHA1 of given password: 76272d)", "auth failed"},
		{"imap-login: Info: Disconnected (auth failed, 1 attempts): user=<a,::1,<S>): Password mismatch (SHA1 of given password: 76272d)>, method=PLAIN, rip=::1, session=<T>", "auth failed"},
	} {
		stream, err := NewStream("dovecot", Settings{})
		if err != nil {
			t.Fatal(err)
		}
		var got kept
		_ = stream.Read("2026-11-22T04:50:47+0000 "+c.record, &kept{})
		if err := stream.Read(failed("S"), &got); err != nil || len(got.uses) != 1 || got.uses[0].Detail != c.detail || got.uses[0].Outcome != tallystick.OutcomeAttempt {
			t.Errorf("%s is %+v, %v; want %q", c.record, got.uses, err, c.detail)
		}
	}
}

// A log of sessions that never end does not fill the memory.
func TestMarksAreBounded(t *testing.T) {
	l := &dovecotLog{wrong: map[string][]string{}}
	for i := range 3 * maxWrongSessions {
		_ = l.read(fmt.Sprintf("auth: Info: passwd-file(a,::1,<%d>): Password mismatch (SHA1 of given password: 76272d)", i), &kept{})
		_ = l.read(fmt.Sprintf("auth: Info: passwd-file(a,::1,<same>): Password mismatch (SHA1 of given password: %06x)", i), &kept{})
	}
	if len(l.wrong) > maxWrongSessions || len(l.wrong["same"]) > maxWrong {
		t.Errorf("%d sessions and %d passwords of one", len(l.wrong), len(l.wrong["same"]))
	}
}

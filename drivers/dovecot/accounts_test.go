// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// Of a passwd-file only the line of the account changes.
func TestWithEntry(t *testing.T) {
	const text = "# alice:comment\nbob:{PLAIN}x:1:2::/home::extra=y\r\nalice2:{PLAIN}a\n:none\nalice:{PLAIN}a::::::allow_nets=10.0.0.0/8\nalice:second"
	line, _, _ := entryOf([]byte(text), "alice")
	got := string(withEntry([]byte(text), "alice", withPassword(line, "{X}new")))
	if d := cmp.Diff(strings.Replace(text, "\nalice:{PLAIN}a:", "\nalice:{X}new:", 1), got); d != "" {
		t.Errorf("one line changed (-want +got):\n%s", d)
	}
	line, _, _ = entryOf([]byte(text), "bob")
	if d := cmp.Diff("bob:{X}:1:2::/home::extra=y", string(withPassword(line, "{X}"))); d != "" {
		t.Errorf("the fields behind the password (-want +got):\n%s", d)
	}
	if got := string(withEntry([]byte(text), "carol", []byte("carol:{X}"))); got != text+"\ncarol:{X}\n" {
		t.Errorf("one added: %q", got)
	}
	if got := string(withEntry([]byte(text), "bob", nil)); got != strings.Replace(text, "bob:{PLAIN}x:1:2::/home::extra=y\r\n", "", 1) {
		t.Errorf("one taken out: %q", got)
	}
}

func FuzzWithEntry(f *testing.F) {
	f.Add([]byte("# x\nbob:{PLAIN}x:1\r\nalice:a\n\nalice:b"), "alice", "{X}h")
	f.Add([]byte(":\n#alice:\nalice:"), "alice", "")
	f.Fuzz(func(t *testing.T, text []byte, name, hash string) {
		if name == "" || name[0] == '#' || strings.ContainsAny(name+hash, ":\r\n\x00") {
			return
		}
		line, start, there := entryOf(text, name)
		if !there {
			return
		}
		after := withEntry(bytes.Clone(text), name, withPassword(line, hash))
		next, at, there := entryOf(after, name)
		if !there || at != start || passwordIn(next) != strings.TrimRight(hash, "\r") {
			t.Fatalf("%q with %q becomes %q", text, hash, after)
		}
		if !bytes.Equal(after[:at], text[:start]) || !bytes.Equal(after[at+len(next):], text[start+len(line):]) {
			t.Fatalf("more than a line of %q has changed: %q", text, after)
		}
	})
}

// passdbsOf is what doveconf says of some.
func passdbsOf(texts ...string) *block {
	return parse("auth_username_format = %Lu\npassdb {\n" + strings.Join(texts, "\n}\npassdb {\n") + "\n}\n")
}

func TestWhichFile(t *testing.T) {
	const (
		users    = "args = scheme=PLAIN username_format=%Ln /etc/dovecot/users\ndriver = passwd-file\nresult_failure = continue"
		old      = "args = username_format=%Ln /etc/dovecot/old\ndriver = passwd-file\nskip = never"
		denied   = "args = /etc/dovecot/denied\ndriver = passwd-file\ndeny = yes"
		byCert   = "args = /etc/dovecot/certs\ndriver = passwd-file\nmechanisms = external"
		domains  = "args = /etc/dovecot/%d/users\ndriver = passwd-file"
		elsewere = "args = /etc/dovecot/ldap.conf\ndriver = ldap"
	)
	d := &door{Options: Options{PasswdFileOld: "/etc/dovecot/old"}}
	c := passdbsOf(denied, byCert, users, old, elsewere)
	at, err := d.accountsAt(c)
	if err != nil || at == nil || at.path != "/etc/dovecot/users" || at.nameOf("Ann@lab.test") != "ann" {
		t.Fatalf("it is %+v, %v", at, err)
	}
	if why := asks(c, at, d.PasswdFileOld); why != "" {
		t.Errorf("two passwords do not get in: %s", why)
	}
	for what, c := range map[string]*block{
		"result_failure":   passdbsOf(strings.Replace(users, "continue", "return-fail", 1), old),
		"skip":             passdbsOf(users, strings.Replace(old, "never", "unauthenticated", 1)),
		"no passdb":        passdbsOf(users),
		"username_format ": passdbsOf(users, strings.Replace(old, "%Ln", "%u", 1)),
	} {
		if why := asks(c, &passwdFile{path: at.path, format: at.format}, d.PasswdFileOld); !strings.Contains(why+" ", what) {
			t.Errorf("%s: %q", what, why)
		}
	}
	if at, err := d.accountsAt(passdbsOf(elsewere, denied)); at != nil || err != nil {
		t.Errorf("accounts of a directory are in %+v, %v", at, err)
	}
	for what, c := range map[string]*block{"two files": passdbsOf(users, strings.Replace(users, "users", "more", 1)), "a file of each domain": passdbsOf(domains)} {
		if at, err := d.accountsAt(c); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %+v, %v; want ErrInvalid", what, at, err)
		}
	}
	named := &door{Options: Options{PasswdFile: "/etc/dovecot/lab.test/users"}}
	if at, err := named.accountsAt(passdbsOf(domains)); at == nil || err != nil {
		t.Errorf("a file of a domain that is named: %+v, %v", at, err)
	}
	if _, err := named.accountsAt(passdbsOf(users)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a file that Dovecot does not read: %v, want ErrInvalid", err)
	}
}

func TestLockedOut(t *testing.T) {
	for field, want := range map[string]bool{"": true, "{PLAIN}": true, "*": true, "{CRYPT}!$6$x": true, "{PLAIN}x": false, "x": false} {
		if got := lockedOut(field) != ""; got != want {
			t.Errorf("%q: locked out %v", field, got)
		}
	}
}

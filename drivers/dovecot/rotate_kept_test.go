// SPDX-License-Identifier: Apache-2.0

package dovecot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/internal/lab"
)

// knows looks which passwords get in.
func (m *mailer) knows(t *testing.T, name string, want map[string]bool) {
	t.Helper()
	for password, in := range want {
		if m.signIn(t, name, driver.NewSecret(password)) != in {
			t.Errorf("%s gets in with %q: %v, want %v", name, password, !in, in)
		}
	}
}

// Names that doveadm reads as patterns or options are rotated like others: what Dovecot has
// cached of them is forgotten too.
func TestOddNames(t *testing.T) {
	t.Parallel()
	names := []string{`acme\alice`, "st*r", "-bob"}
	users := map[string]string{}
	for _, name := range names {
		users[strings.ReplaceAll(name, `\`, `\\`)] = "old password" // so it stands in a passwd-file
	}
	m := &mailer{Dovecot: lab.StartDovecot(t, lab.DovecotSettings{Users: users, NoLists: true, Main: "auth_cache_size = 1M\nauth_username_chars =\n"})}
	m.rotator = drivertest.Open[driver.Rotator](t, dovecot.Driver(), map[string]string{"config": m.Config})
	for _, name := range names {
		m.knows(t, name, map[string]bool{"old password": true}) // and caches it
		r := driver.SecretRequest{Host: host.Local(), Account: name, Old: driver.NewSecret("old password"), New: driver.NewSecret("new password"), Now: time.Now}
		if set, err := m.rotator.SetSecret(t.Context(), r); err != nil || !set.Changed.Changed {
			t.Errorf("%s: %+v, %v", name, set, err)
		}
		m.knows(t, name, map[string]bool{"old password": false, "new password": true})
		if _, err := m.rotator.DropSecret(t.Context(), r); err != nil {
			t.Errorf("%s: drop: %v", name, err)
		}
		r.Withdraw = true
		if _, err := m.rotator.SetSecret(t.Context(), r); err != nil {
			t.Errorf("%s: withdraw: %v", name, err)
		}
		m.knows(t, name, map[string]bool{"old password": true})
	}
}

// What fails once the line is written does not say that nothing was changed, and the next call
// completes it.
func TestFailuresAfterTheWrite(t *testing.T) {
	t.Parallel()
	m := startMailer(t, false, "auth_cache_size = 1M\n", map[string]string{})
	after := func(doing string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDenied) || errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%s gives %v", doing, err)
		}
	}
	for _, kind := range []error{tallystick.ErrInvalid, tallystick.ErrDenied} {
		name, old := m.fresh(t)
		m.knows(t, name, map[string]bool{old.Reveal(): true})
		good := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("the next"), Now: time.Now}
		bad := good
		bad.Host = drivertest.ClosedHost{Host: good.Host, Word: "flush", Kind: kind}
		_, err := m.rotator.SetSecret(t.Context(), bad)
		after("set without a flush", err)
		bad.Again, good.Again = true, true
		_, err = m.rotator.SetSecret(t.Context(), bad)
		after("set again without a flush", err)
		if _, err := m.rotator.SetSecret(t.Context(), good); err != nil {
			t.Error(err)
		}
		m.knows(t, name, map[string]bool{old.Reveal(): false, "the next": true})
		for _, word := range []string{"flush", "who"} {
			bad.Host = drivertest.ClosedHost{Host: good.Host, Word: word, Kind: kind}
			_, err = m.rotator.DropSecret(t.Context(), bad)
			after("drop without "+word, err)
		}
		if _, err := m.rotator.DropSecret(t.Context(), good); err != nil {
			t.Error(err)
		}
	}
}

// A line that an earlier rotation has left in the file of old passwords is not what a withdrawal
// brings back.
func TestWithdrawGivesOld(t *testing.T) {
	t.Parallel()
	stale := lab.File(t, "old", "")
	m := startMailer(t, false, "", map[string]string{"passwd-file-old": stale}) // which Dovecot does not ask
	name, old := m.fresh(t)
	r := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("the next"), Now: time.Now}
	lab.Write(t, stale, name+":{PLAIN}a third\n")
	if _, err := m.rotator.SetSecret(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if text := lab.Read(t, stale); text != "" {
		t.Errorf("what an earlier rotation has left is still there: %q", text)
	}
	lab.Write(t, stale, name+":{PLAIN}a third\n")
	r.Withdraw = true
	if _, err := m.rotator.SetSecret(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	m.knows(t, name, map[string]bool{old.Reveal(): true, "the next": false, "a third": false})
}

// Where Dovecot asks a file of old passwords, that keeps the old line whatever is done in between,
// and lines of others are left.
func TestKeptLine(t *testing.T) {
	t.Parallel()
	m := startMailer(t, true, "", map[string]string{})
	set := func(r driver.SecretRequest) {
		t.Helper()
		if _, err := m.rotator.SetSecret(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	// put makes a file hold one line of an account; Dovecot sees it by the time of its change.
	put := func(path, name, password string) {
		t.Helper()
		var lines []string
		for line := range strings.Lines(lab.Read(t, path)) {
			if !strings.HasPrefix(line, name+":") {
				lines = append(lines, line)
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(filepath.Dir(path), "next")
		lab.Write(t, next, strings.Join(append(lines, name+":{PLAIN}"+password+"\n"), ""))
		later := info.ModTime().Add(2 * time.Second)
		for _, err := range []error{os.Chmod(next, info.Mode()), os.Chtimes(next, later, later), os.Rename(next, path)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, third := range map[string]string{"the same one": "the next", "another": "a third"} {
		name, old := m.fresh(t)
		r := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("the next"), Now: time.Now}
		set(r)
		put(m.users, name, third) // by a person
		r.Again = true
		set(r)
		m.knows(t, name, map[string]bool{old.Reveal(): true, "the next": true, "a third": false})
		if _, err := m.rotator.DropSecret(t.Context(), r); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		m.knows(t, name, map[string]bool{old.Reveal(): false, "the next": true})
	}
	name, old := m.fresh(t)
	r := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("the next"), Now: time.Now}
	set(r)
	put(m.old, name, "of a later rotation")
	if _, err := m.rotator.DropSecret(t.Context(), r); err != nil {
		t.Error(err)
	}
	m.knows(t, name, map[string]bool{"of a later rotation": true, "the next": true})
	r.Withdraw = true
	set(r)
	m.knows(t, name, map[string]bool{"of a later rotation": true, old.Reveal(): true, "the next": false})
}

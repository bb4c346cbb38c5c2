// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// Every length around the sizes of blocks hashes as Dovecot does.
func TestCryptIsDovecots(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 15, 16, 63, 64, 65, 128, 200} {
		password := strings.Repeat("pässwörd and more ", 20)[:n]
		command := exec.Command(lab.Program(t, "doveadm"), "pw", "-s", "SHA512-CRYPT")
		command.Stdin = bytes.NewReader([]byte(password + "\n" + password + "\n"))
		theirs, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		if !holds(strings.TrimSpace(string(theirs)), driver.NewSecret(password)) {
			t.Errorf("%d bytes: the hash of doveadm is not taken for one", n)
		}
		if holds(strings.TrimSpace(string(theirs)), driver.NewSecret(password+"x")) {
			t.Errorf("%d bytes: another password is taken for it", n)
		}
		if out, err := exec.Command(lab.Program(t, "doveadm"), "pw", "-t", hashed(password), "-p", password).CombinedOutput(); err != nil {
			t.Errorf("%d bytes: doveadm does not take the hash: %v\n%s", n, err, out)
		}
	}
}

// The example with rounds of the specification of the scheme.
func TestCryptRounds(t *testing.T) {
	t.Parallel()
	const example = "{SHA512-CRYPT}$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"
	if !holds(example, driver.NewSecret("a very much longer text to encrypt.  This one even stretches over morethan one line.")) {
		t.Error("the example is not taken")
	}
}

// FuzzHolds looks that no field makes it panic, nor is of a password that nobody has.
func FuzzHolds(f *testing.F) {
	for _, seed := range []string{"{SHA512-CRYPT}$6$salt$x", "{SHA512-CRYPT}$6$rounds=1000$$", "{SHA512-CRYPT}$6$rounds=99999999999$a$b", "{PLAIN}x", "{SHA512-CRYPT}$6$"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if strings.Contains(field, "rounds=") && len(field) > 40 {
			return // as slow as it says
		}
		if holds(field, driver.NewSecret("a password that nobody has")) {
			t.Errorf("%q holds it", field)
		}
	})
}

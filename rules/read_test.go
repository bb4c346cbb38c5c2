// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
)

// read reads a certificate as drivers do.
func read(t testing.TB, der []byte) *tallystick.Credential {
	t.Helper()
	c, err := parse.Certificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// sshCertificate has ssh-keygen sign a user's key: for how long, by a CA key of
// which type, and with which signature algorithm where the type has several.
func sshCertificate(validity, caType, algorithm string) func(testing.TB) rule.Subject {
	return func(t testing.TB) rule.Subject {
		dir := t.TempDir()
		keygen := func(args ...string) {
			t.Helper()
			cmd := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("ssh-keygen (Debian package openssh-client) %v: %v\n%s", args, err, out)
			}
		}
		keygen("-t", caType, "-N", "", "-f", "ca")
		keygen("-t", "ed25519", "-N", "", "-f", "user")
		sign := []string{"-s", "ca", "-I", "eve", "-n", "eve", "-V", validity}
		if algorithm != "" {
			sign = append(sign, "-t", algorithm)
		}
		keygen(append(sign, "user.pub")...)
		data, err := os.ReadFile(filepath.Join(dir, "user-cert.pub"))
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range parse.Bytes("user-cert.pub", data, nil).Items {
			if item.Credential.Kind == tallystick.KindSSHCertificate {
				return subject(&item.Credential)
			}
		}
		t.Fatalf("no certificate in %q", data)
		return rule.Subject{}
	}
}

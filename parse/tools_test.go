// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// tool runs a program in dir and returns what it prints.
func tool(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: install openssl, openssh-client and default-jre-headless", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.Bytes()
}

// openssl splits a command at blanks.
func openssl(t *testing.T, dir, command string) []byte {
	t.Helper()
	return tool(t, dir, "openssl", strings.Fields(command)...)
}

// readFile reads a file with parse.Bytes and sees that no private byte got out.
func readFile(t *testing.T, path string, passphrases ...string) parse.Result {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".csr") && !parse.Sniff(data[:min(len(data), parse.SniffLength)], filepath.Base(path)) {
		t.Errorf("Sniff passes over %s", filepath.Base(path))
	}
	result := parse.Bytes(filepath.Base(path), data, passphrases)
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range passphrases {
		if strings.Contains(string(text), passphrase) {
			t.Errorf("%s: a passphrase is in the result", path)
		}
	}
	return result
}

// A seen is what the tests look at in an Item.
type seen struct {
	Kind                      tallystick.Kind
	Role                      tallystick.Role
	Key                       tallystick.KeyID
	Algorithm, Format, Alias  string
	Private, Passphrase, Weak bool
}

func seenIn(result parse.Result) []seen {
	var all []seen
	for _, i := range result.Items {
		c := i.Credential
		all = append(all, seen{c.Kind, i.Role, c.Key.ID, c.Key.Algorithm, i.Format, i.Alias, i.Private, i.Passphrase, i.WeakPassphrase})
	}
	return all
}

// wantSeen compares what a file holds, and that nothing in it is a problem.
func wantSeen(t *testing.T, path string, passphrases []string, want ...seen) {
	t.Helper()
	result := readFile(t, path, passphrases...)
	if d := cmp.Diff(want, seenIn(result)); d != "" {
		t.Errorf("%s with %d passphrases:\n%s", filepath.Base(path), len(passphrases), d)
	}
	if len(result.Problems) > 0 {
		t.Errorf("%s: %v", filepath.Base(path), result.Problems)
	}
}

// keyID is the identity that openssl gives a private key in dir/key.pem.
func keyID(t *testing.T, dir string) tallystick.KeyID {
	t.Helper()
	return tallystick.KeyIDOf(openssl(t, dir, "pkey -in key.pem -pubout -outform DER"))
}

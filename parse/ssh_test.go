// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// sshKeygen runs ssh-keygen with arguments as they are.
func sshKeygen(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	return tool(t, dir, "ssh-keygen", append([]string{"-q"}, args...)...)
}

// The private and the public half, and what OpenSSL makes of the public one,
// have one KeyID.
func TestSSHKeys(t *testing.T) {
	for algorithm, flags := range map[string]string{
		"rsa-2048":   "-t rsa -b 2048",
		"ecdsa-p256": "-t ecdsa -b 256",
		"ecdsa-p384": "-t ecdsa -b 384",
		"ecdsa-p521": "-t ecdsa -b 521",
		"ed25519":    "-t ed25519",
		"dsa-1024":   "-t dsa -b 1024",
	} {
		for secret, protected := range map[string]struct{ passphrase, weak bool }{
			"": {false, false}, "changeit": {true, true}, passphrase: {true, false},
		} {
			dir := t.TempDir()
			sshKeygen(t, dir, append(strings.Fields(flags), "-a", "1", "-C", "a comment", "-N", secret, "-f", "id")...)
			public := readFile(t, filepath.Join(dir, "id.pub")).Items
			if len(public) != 1 || public[0].Credential.Subject != "a comment" || public[0].SSH.Comment != "a comment" {
				t.Fatalf("%s: %+v", algorithm, public)
			}
			id := public[0].Credential.Key.ID
			wantSeen(t, filepath.Join(dir, "id"), nil, seen{
				tallystick.KindKey, tallystick.RoleHolds, id, algorithm, "openssh", "", true, protected.passphrase, protected.weak && algorithm != "dsa-1024"})
			if algorithm == "ed25519" { // ssh-keygen writes it in no other form
				continue
			}
			pem := sshKeygen(t, dir, "-e", "-m", "PKCS8", "-f", "id.pub")
			if other := parse.Bytes("pem", pem, nil).Items; len(other) != 1 || other[0].Credential.Key.ID != id {
				t.Errorf("%s: the key has another identity as PKCS#8", algorithm)
			}
		}
	}
}

func TestSSHCertificate(t *testing.T) {
	dir := t.TempDir()
	sshKeygen(t, dir, "-t", "ed25519", "-N", "", "-f", "ca")
	sshKeygen(t, dir, "-t", "ecdsa", "-N", "", "-f", "id")
	sshKeygen(t, dir, "-s", "ca", "-I", "alice@desk", "-n", "alice,root", "-z", "4660",
		"-V", "20260101000000Z:20270101000000Z", "-O", "force-command=uptime", "-O", "no-pty", "id.pub")
	issuer := strings.Fields(string(tool(t, dir, "ssh-keygen", "-l", "-f", "ca.pub")))[1]
	items := readFile(t, filepath.Join(dir, "id-cert.pub")).Items
	if len(items) != 1 {
		t.Fatalf("%d items", len(items))
	}
	key := readFile(t, filepath.Join(dir, "id.pub")).Items[0].Credential.Key
	want := tallystick.Credential{
		Kind: tallystick.KindSSHCertificate, Key: key, Subject: "alice@desk", Issuer: issuer, Serial: "1234",
		Names: []string{"alice", "root"}, Usages: []string{"user"}, Signature: "ed25519",
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	if d := cmp.Diff(want, items[0].Credential, cmpopts.IgnoreFields(tallystick.Credential{}, "ID", "Raw")); d != "" {
		t.Error(d)
	}
	options := []string{"force-command=uptime", "permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-user-rc"}
	if d := cmp.Diff(options, items[0].SSH.Options); d != "" {
		t.Error(d)
	}
	sshKeygen(t, dir, "-s", "ca", "-h", "-I", "a host", "-n", "host.example", "id.pub")
	host := readFile(t, filepath.Join(dir, "id-cert.pub")).Items[0].Credential
	if d := cmp.Diff([]string{"host"}, host.Usages); d != "" || !host.NotAfter.IsZero() || !host.NotBefore.IsZero() {
		t.Errorf("a host certificate for ever: %s %v %v", d, host.NotBefore, host.NotAfter)
	}
}

func publicLine(t *testing.T, dir, name, comment string) string {
	t.Helper()
	sshKeygen(t, dir, "-t", "ed25519", "-N", "", "-C", comment, "-f", name)
	line, err := os.ReadFile(filepath.Join(dir, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line))
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// factsOf returns what the lines of a file say.
func factsOf(result parse.Result) (facts []tallystick.SSHFacts, roles []tallystick.Role) {
	for _, item := range result.Items {
		facts = append(facts, *item.SSH)
		roles = append(roles, item.Role)
	}
	return facts, roles
}

func TestAuthorizedKeys(t *testing.T) {
	dir := t.TempDir()
	a, b := publicLine(t, dir, "a", "a@desk with blanks"), publicLine(t, dir, "b", "b")
	path := writeFile(t, dir, "authorized_keys", "# comment\n\n"+a+"\r\n"+
		`from="10.0.0.0/8,192.0.2.1",command="echo \"a, b\" x",no-pty `+b+"\n"+
		"cert-authority "+a+"\nnonsense\nssh-ed25519 AAAA broken\n")
	result := readFile(t, path)
	facts, roles := factsOf(result)
	want := []tallystick.SSHFacts{
		{Line: 3, Comment: "a@desk with blanks"},
		{Line: 4, Comment: "b", Options: []string{`from="10.0.0.0/8,192.0.2.1"`, `command="echo \"a, b\" x"`, "no-pty"}},
		{Line: 5, Comment: "a@desk with blanks", Options: []string{"cert-authority"}, CertAuth: true},
	}
	if d := cmp.Diff(want, facts); d != "" {
		t.Error(d)
	}
	accepts := tallystick.RoleAccepts
	if d := cmp.Diff([]tallystick.Role{accepts, accepts, accepts}, roles); d != "" {
		t.Error(d)
	}
	if len(result.Problems) != 2 {
		t.Errorf("problems: %v", result.Problems)
	}
}

func TestKnownHosts(t *testing.T) {
	dir := t.TempDir()
	a := publicLine(t, dir, "a", "a")
	path := writeFile(t, dir, "known_hosts", "host.example,192.0.2.1 "+a+"\n@cert-authority *.example "+a+"\n@revoked * "+a+"\n")
	facts, roles := factsOf(readFile(t, path))
	want := []tallystick.SSHFacts{
		{Line: 1, Hosts: []string{"host.example", "192.0.2.1"}, Comment: "a"},
		{Line: 2, Hosts: []string{"*.example"}, Comment: "a", CertAuth: true},
		{Line: 3, Hosts: []string{"*"}, Comment: "a", Options: []string{"@revoked"}},
	}
	if d := cmp.Diff(want, facts); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]tallystick.Role{"accepts", "accepts", "presents"}, roles); d != "" {
		t.Error(d)
	}
	writeFile(t, dir, "known_hosts", "host.example "+a+"\n")
	sshKeygen(t, dir, "-H", "-f", "known_hosts")
	facts, _ = factsOf(readFile(t, path))
	if len(facts) != 1 || !strings.HasPrefix(facts[0].Hosts[0], "|1|") {
		t.Errorf("hashed: %+v", facts)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sshca_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/sshca"
)

// tool runs a program of OpenSSH and returns what it wrote.
func tool(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install the Debian package openssh-client", err)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tool(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newKey makes a key pair by ssh-keygen and returns its path and public half.
func newKey(t *testing.T, dir, name, kind string, more ...string) (path, public string) {
	t.Helper()
	path = filepath.Join(dir, name)
	must(t, "ssh-keygen", append([]string{"-q", "-t", kind, "-N", "", "-C", name + "@lab", "-f", path}, more...)...)
	text, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return path, string(text)
}

// An sshd is OpenSSH's server with a host certificate, which accepts the
// certificates of a CA unless a list says no.
type sshd struct {
	port           int
	config, log    string
	user           string
	known, revoked string
}

func newSSHD(t *testing.T, dir, hostKey string, authority ca.Authority) *sshd {
	t.Helper()
	port := lab.FreePort(t)
	if os.Geteuid() == 0 { // where sshd locks its unprivileged half in; the path is compiled in
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{port: port, config: filepath.Join(dir, "sshd_config"), log: filepath.Join(dir, "sshd.log"), user: me.Username,
		known: filepath.Join(dir, "known_hosts"), revoked: filepath.Join(dir, "revoked")}
	trusted := filepath.Join(dir, "ca.pub")
	write(t, trusted, []byte(authority.PEM()))
	write(t, s.known, []byte("@cert-authority * "+authority.PEM()))
	write(t, s.config, fmt.Appendf(nil, `Port %d
ListenAddress 127.0.0.1
HostKey %s
HostCertificate %s-cert.pub
TrustedUserCAKeys %s
RevokedKeys %s
AuthorizedKeysFile none
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
LogLevel VERBOSE
`, port, hostKey, hostKey, trusted, s.revoked))
	return s
}

// start starts the server until the test ends.
func (s *sshd) start(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		t.Fatalf("%v: install the Debian package openssh-server", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "/usr/sbin/sshd", "-D", "-f", s.config, "-E", s.log)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for range 100 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port)); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(s.log)
	t.Fatalf("sshd does not answer: %s", text)
}

// login signs in with a key and its certificate and runs a command.
func (s *sshd) login(t *testing.T, key, command string) (string, error) {
	t.Helper()
	return tool(t, "ssh", "-F", "none", "-p", fmt.Sprint(s.port), "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+s.known, "-o", "GlobalKnownHostsFile=none", s.user+"@127.0.0.1", command)
}

func sign(t *testing.T, s *sshca.SSH, key string, r sshca.SignRequest) sshca.Signed {
	t.Helper()
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	r.Key = string(public)
	signed, err := s.Sign(t.Context(), catest.Admin, r)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key+"-cert.pub", []byte(signed.Line))
	return signed
}

// publish writes the list where the server reads it.
func publish(t *testing.T, s *sshca.SSH, path string) sshca.List {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, list.Bytes)
	return list
}

// The whole way with OpenSSH: a host that proves itself by a certificate, a user who
// signs in with one, and one who is turned away once it is revoked.
func TestOpenSSH(t *testing.T) {
	lab := catest.New(t)
	authority := lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH})
	clock := &clock{}
	s := sshca.New(lab, lab.DB, clock.now)
	dir := t.TempDir()
	host, _ := newKey(t, dir, "host", "ed25519")
	sign(t, s, host, sshca.SignRequest{Host: true, Names: []string{"127.0.0.1"}})
	server := newSSHD(t, dir, host, authority)
	publish(t, s, server.revoked)
	server.start(t)

	ada, _ := newKey(t, dir, "ada", "ecdsa")
	eve, _ := newKey(t, dir, "eve", "rsa", "-b", "2048")
	other, _ := newKey(t, dir, "other", "ed25519")
	signed := sign(t, s, ada, sshca.SignRequest{Names: []string{server.user}, SourceAddress: "127.0.0.0/8,::1"})
	stays := sign(t, s, eve, sshca.SignRequest{Names: []string{server.user}, ForceCommand: "echo forced"})
	sign(t, s, other, sshca.SignRequest{Names: []string{"somebody-else"}})
	if out, err := server.login(t, ada, "echo hello"); err != nil || !strings.Contains(out, "hello") {
		t.Fatalf("%v: %s\n%s", err, out, logOf(t, server))
	}
	if out, err := server.login(t, eve, "echo hello"); err != nil || !strings.Contains(out, "forced") {
		t.Fatalf("%v: %s\n%s", err, out, logOf(t, server))
	}
	if out, err := server.login(t, other, "echo hello"); err == nil {
		t.Errorf("a certificate for somebody else signs in: %s", out)
	}
	if text := logOf(t, server); !strings.Contains(text, "ID ada/"+string(signed.Certificate.Serial)) {
		t.Errorf("the log does not say who asked for the certificate: %s", text)
	}

	if _, err := lab.Revoke(t.Context(), catest.Admin, ca.RevokeRequest{Serials: []ca.Serial{signed.Certificate.Serial}, Reason: ca.PrivilegeWithdrawn}); err != nil {
		t.Fatal(err)
	}
	clock.pass(2 * time.Second)
	list := publish(t, s, server.revoked)
	if list.Number != 2 || list.Entries != 1 {
		t.Errorf("list %d with %d entries", list.Number, list.Entries)
	}
	if out, err := server.login(t, ada, "echo hello"); err == nil {
		t.Errorf("a revoked certificate signs in: %s", out)
	}
	if text := logOf(t, server); !strings.Contains(text, "revoked by file") {
		t.Error(text)
	}
	if out, err := server.login(t, eve, "x"); err != nil || !strings.Contains(out, "forced") {
		t.Errorf("%v: %s: another certificate must go on", err, out)
	}
	_ = stays
}

// The list as ssh-keygen reads it: certificates by serial number, and keys that are
// blocked, also without their certificates.
func TestListInTheWordsOfSSHKeygen(t *testing.T) {
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH})
	clock := &clock{}
	s := sshca.New(lab, lab.DB, clock.now)
	dir := t.TempDir()
	file := filepath.Join(dir, "krl")
	stolen, _ := newKey(t, dir, "stolen", "ed25519")
	left, _ := newKey(t, dir, "left", "ed25519")
	good, _ := newKey(t, dir, "good", "ed25519")
	var serials []ca.Serial
	for _, key := range []string{stolen, left, good} {
		signed := sign(t, s, key, sshca.SignRequest{Names: []string{"root"}})
		serials = append(serials, signed.Certificate.Serial)
	}
	if list := publish(t, s, file); list.Number != 1 || list.Entries != 0 {
		t.Errorf("%+v", list)
	}
	for i, reason := range []ca.Reason{ca.KeyCompromise, ca.CessationOfOperation} {
		if _, err := lab.Revoke(t.Context(), catest.Admin, ca.RevokeRequest{Serials: serials[i : i+1], Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	clock.pass(2 * time.Second)
	first := publish(t, s, file)
	for name, revoked := range map[string]bool{
		"stolen-cert.pub": true, "stolen.pub": true, // the key is stolen, not only the certificate
		"left-cert.pub": true, "left.pub": false, "good-cert.pub": false, "good.pub": false,
	} {
		out, err := tool(t, "ssh-keygen", "-Q", "-f", file, filepath.Join(dir, name))
		if (err != nil) != revoked || strings.Contains(out, "REVOKED") != revoked {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
	out := must(t, "ssh-keygen", "-Q", "-l", "-f", file)
	if !strings.Contains(out, "# KRL version 2\n") {
		t.Error(out)
	}
	clock.pass(time.Hour)
	if again := publish(t, s, file); again.Number != first.Number || !bytes.Equal(again.Bytes, first.Bytes) {
		t.Error("the list changed though nothing had happened")
	}
	clock.pass(30 * 24 * time.Hour)
	if later := publish(t, s, file); later.Number != 3 || later.Entries != 1 {
		t.Errorf("what has ended stays on the list, or the stolen key does not: %d entries", later.Entries)
	}
}

// A CA whose key is lost takes everything that it signed with it.
func TestCompromisedAuthority(t *testing.T) {
	lab := catest.New(t)
	authority := lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH, Key: custody.RSA2048})
	s := sshca.New(withState{lab, ca.Compromised}, lab.DB, time.Now)
	dir := t.TempDir()
	key, _ := newKey(t, dir, "ada", "ed25519")
	sign(t, s, key, sshca.SignRequest{Names: []string{"root"}})
	if out := must(t, "ssh-keygen", "-L", "-f", key+"-cert.pub"); !strings.Contains(out, "using rsa-sha2-") {
		t.Errorf("%s is not signed with SHA-2: %s", authority.Name, out)
	}
	publish(t, s, filepath.Join(dir, "krl"))
	if out, err := tool(t, "ssh-keygen", "-Q", "-f", filepath.Join(dir, "krl"), key+"-cert.pub"); err == nil {
		t.Error(out)
	}
}

// withState shows all authorities in one state.
type withState struct {
	*catest.Lab
	state string
}

func (w withState) Authorities(ctx context.Context) ([]ca.Authority, error) {
	list, err := w.Lab.Authorities(ctx)
	for i := range list {
		list[i].State = w.state
	}
	return list, err
}

// What ssh-keygen shows of a certificate of each sort.
func TestWhatIsInACertificate(t *testing.T) {
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "ssh", Kind: ca.KindSSH, Key: custody.P256})
	s := sshca.New(lab, lab.DB, time.Now)
	key, _ := newKey(t, t.TempDir(), "deploy", "ed25519")
	sign(t, s, key, sshca.SignRequest{Names: []string{"deploy", "backup"}, Lifetime: time.Hour, SourceAddress: "10.0.0.0/8", ForceCommand: "/usr/bin/rsync --server", Extensions: "permit-pty"})
	out := must(t, "ssh-keygen", "-L", "-f", key+"-cert.pub")
	for _, want := range []string{"user certificate", "Key ID: \"ada/", "backup\n", "deploy\n", "source-address 10.0.0.0/8", "force-command /usr/bin/rsync --server", "permit-pty\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "permit-agent-forwarding") {
		t.Errorf("more than was asked for: %s", out)
	}
	sign(t, s, key, sshca.SignRequest{Host: true, Names: []string{"DB1.example.com."}})
	out = must(t, "ssh-keygen", "-L", "-f", key+"-cert.pub")
	for _, want := range []string{"host certificate", "db1.example.com\n", "Critical Options: (none)", "Extensions: (none)"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	text, err := os.ReadFile(key + "-cert.pub")
	if err != nil {
		t.Fatal(err)
	}
	if _, comment, _, _, err := ssh.ParseAuthorizedKey(text); err != nil || comment != "deploy@lab" {
		t.Errorf("%q %v", comment, err)
	}
}

func logOf(t *testing.T, s *sshd) string {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A clock shows the time, and later times when it is told to.
type clock struct{ ahead time.Duration }

func (c *clock) now() time.Time       { return time.Now().Add(c.ahead) }
func (c *clock) pass(d time.Duration) { c.ahead += d }

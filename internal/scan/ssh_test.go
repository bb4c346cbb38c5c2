// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
)

// A host key that a server shows, that known_hosts believes, and that opens an
// account elsewhere is one key.
func TestAHostKeyIsOneKeyWhereverItIs(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "host_key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen (Debian package openssh-client): %v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	address := sshd(t, dir, key)
	_, port, _ := net.SplitHostPort(address)
	for name, text := range map[string]string{
		"known_hosts": "[127.0.0.1]:" + port + " " + string(public), "authorized_keys": string(public),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newScan()
	if err := s.Look(t.Context(), sorted(t, s, "ssh://"+address, filepath.Join(dir, "known_hosts"), filepath.Join(dir, "authorized_keys"), key)); err != nil {
		t.Fatal(err)
	}
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[tallystick.KeyID]bool{}
	roles := map[tallystick.Place]tallystick.Role{}
	for f := range result.All() {
		keys[f.Credential.Key.ID] = true
		roles[f.Place] = f.Role
	}
	want := map[tallystick.Place]tallystick.Role{
		tallystick.SSHPlace(address):                                tallystick.RolePresents,
		tallystick.FilePlace(filepath.Join(dir, "known_hosts")):     tallystick.RoleAccepts,
		tallystick.FilePlace(filepath.Join(dir, "authorized_keys")): tallystick.RoleAccepts,
		tallystick.FilePlace(key):                                   tallystick.RoleHolds,
	}
	if diff := cmp.Diff(want, roles); diff != "" || len(keys) != 1 {
		t.Errorf("%d keys, roles (-want +got):\n%s", len(keys), diff)
	}
}

// sshd starts OpenSSH's server with one host key.
func sshd(t *testing.T, dir, key string) (address string) {
	t.Helper()
	free := lab.FreePort(t)
	address, port := lab.Loopback(free), strconv.Itoa(free)
	config := filepath.Join(dir, "sshd_config")
	text := strings.Join([]string{"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + key, "PidFile none", "UsePAM no", "LogLevel QUIET", ""}, "\n")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command("/usr/sbin/sshd", "-D", "-f", config)
	if err := server.Start(); err != nil {
		t.Fatalf("sshd (Debian package openssh-server): %v", err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd does not listen: %v", err)
		}
	}
}

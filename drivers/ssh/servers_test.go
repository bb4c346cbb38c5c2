// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// find looks at targets.
func find(t *testing.T, options map[string]string, targets ...string) *drivertest.Recorder {
	t.Helper()
	return drivertest.Find(t, Driver(), options, targets...)
}

// An openSSH is a running sshd.
type openSSH struct {
	dir, address, config string
}

// keyKinds are what the host keys of newOpenSSH are made of.
var keyKinds = map[string][]string{
	"rsa": {"-t", "rsa", "-b", "2048"}, "dsa": {"-t", "dsa"}, "ed25519": {"-t", "ed25519"},
	"p256": {"-t", "ecdsa", "-b", "256"}, "p384": {"-t", "ecdsa", "-b", "384"}, "p521": {"-t", "ecdsa", "-b", "521"},
}

// newOpenSSH starts an sshd with host keys of some kinds and further lines of
// configuration.
func newOpenSSH(t *testing.T, kinds []string, lines ...string) openSSH {
	t.Helper()
	dir := t.TempDir()
	port := strconv.Itoa(lab.FreePort(t))
	config := []string{
		"ListenAddress 127.0.0.1", "Port " + port, "PidFile " + filepath.Join(dir, "pid"), "UsePAM no", "LogLevel QUIET",
		"MaxStartups 100",
	}
	for _, kind := range kinds {
		key := filepath.Join(dir, kind)
		lab.Run(t, "ssh-keygen", append([]string{"-q", "-N", "", "-C", "", "-f", key}, keyKinds[kind]...)...)
		config = append(config, "HostKey "+key)
	}
	for _, line := range lines {
		config = append(config, strings.ReplaceAll(line, "DIR", dir))
	}
	file := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Where sshd locks its unprivileged half in; the path is compiled in.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return openSSH{dir: dir, address: "127.0.0.1:" + port, config: file}
}

// serve starts it; keys and certificates are in place by then.
func (s openSSH) serve(t *testing.T) {
	t.Helper()
	// sshd insists on being called by its whole path.
	lab.Start(t, s.dir, nil, []string{lab.Program(t, "sshd"), "-D", "-e", "-f", s.config}, s.address)
}

// sign makes a certificate of a host key of s, by a new CA.
func (s openSSH) sign(t *testing.T, kind string) {
	t.Helper()
	ca := filepath.Join(s.dir, "ca")
	lab.Run(t, "ssh-keygen", "-q", "-N", "", "-C", "", "-t", "ed25519", "-f", ca)
	lab.Run(t, "ssh-keygen", "-q", "-s", ca, "-I", "host-17", "-h", "-n", "a.example,b.example", "-V", "-1d:+90d", filepath.Join(s.dir, kind+".pub"))
}

// listOf returns one setting of the running configuration.
func (s openSSH) listOf(t *testing.T, setting string) []string {
	t.Helper()
	for line := range strings.Lines(lab.Run(t, "sshd", "-T", "-f", s.config)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), setting+" "); ok {
			return strings.Split(rest, ",")
		}
	}
	t.Fatalf("sshd does not tell its %s", setting)
	return nil
}

// handler serves one connection.
type handler func(net.Conn)

// listen serves every connection with h, at a free port of loopback.
func listen(t *testing.T, h handler) string {
	t.Helper()
	return lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err == nil {
			h(conn)
		}
	})
}

func place(address string) tallystick.Place { return tallystick.SSHPlace(address) }

func describe(misses []tallystick.Miss) string {
	var text strings.Builder
	for _, m := range misses {
		fmt.Fprintf(&text, "%s %s (%s)\n", m.Place, m.Error, m.Detail)
	}
	return text.String()
}

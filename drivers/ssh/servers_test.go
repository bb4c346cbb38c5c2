// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// recorder is a sink that keeps everything.
type recorder struct {
	mu        sync.Mutex
	sightings []tallystick.Sighting
	misses    []tallystick.Miss
}

func (r *recorder) Saw(s tallystick.Sighting) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sightings = append(r.sightings, s)
	return nil
}

func (r *recorder) Missed(m tallystick.Miss) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.misses = append(r.misses, m)
	return nil
}

func (r *recorder) Progress(int64, int64) {}

// find looks at targets.
func find(t *testing.T, options map[string]string, targets ...string) *recorder {
	t.Helper()
	opened, err := Driver().Open(options)
	if err != nil {
		t.Fatal(err)
	}
	var sink recorder
	request := driver.FindRequest{Targets: targets, Now: func() time.Time { return now }}
	if err := opened.(driver.Finder).Find(t.Context(), request, &sink); err != nil {
		t.Fatal(err)
	}
	return &sink
}

// run runs a program of the package and returns what it prints.
func run(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, debianPackage)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// freePort returns a port of 127.0.0.1 that is free.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start starts a server and returns when it listens.
func start(t *testing.T, address string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("%s does not listen at %s: %v\n%s", command[0], address, err, log.String())
		}
	}
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
	port := freePort(t)
	config := []string{
		"ListenAddress 127.0.0.1", "Port " + port, "PidFile " + filepath.Join(dir, "pid"), "UsePAM no", "LogLevel QUIET",
		"MaxStartups 100",
	}
	for _, kind := range kinds {
		key := filepath.Join(dir, kind)
		run(t, "openssh-client", "ssh-keygen", append([]string{"-q", "-N", "", "-C", "", "-f", key}, keyKinds[kind]...)...)
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
	const path = "/usr/sbin/sshd"
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: install the Debian package openssh-server", path)
	}
	start(t, s.address, path, "-D", "-e", "-f", s.config)
}

// sign makes a certificate of a host key of s, by a new CA.
func (s openSSH) sign(t *testing.T, kind string) {
	t.Helper()
	ca := filepath.Join(s.dir, "ca")
	run(t, "openssh-client", "ssh-keygen", "-q", "-N", "", "-C", "", "-t", "ed25519", "-f", ca)
	run(t, "openssh-client", "ssh-keygen", "-q", "-s", ca, "-I", "host-17", "-h", "-n", "a.example,b.example", "-V", "-1d:+90d", filepath.Join(s.dir, kind+".pub"))
}

// listOf returns one setting of the running configuration.
func (s openSSH) listOf(t *testing.T, setting string) []string {
	t.Helper()
	for line := range strings.Lines(run(t, "openssh-server", "/usr/sbin/sshd", "-T", "-f", s.config)) {
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err == nil {
					h(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		connections.Wait()
	})
	return l.Addr().String()
}

func place(address string) tallystick.Place { return tallystick.SSHPlace(address) }

func describe(misses []tallystick.Miss) string {
	var text strings.Builder
	for _, m := range misses {
		fmt.Fprintf(&text, "%s %s (%s)\n", m.Place, m.Error, m.Detail)
	}
	return text.String()
}

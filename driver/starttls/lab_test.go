// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	servers "github.com/tallystick/tallystick/internal/lab"
)

// A lab is a private directory with a certificate for localhost in it, in which
// a test starts one server.
type lab struct {
	*testing.T
	dir  string
	leaf []byte // DER
}

// newLab makes a lab below /tmp, whose path is short enough for UNIX sockets and
// can be entered by the users that servers change to.
func newLab(t *testing.T) lab {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "starttls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := lab{T: t, dir: dir}
	l.check(os.Chmod(dir, 0o755))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	l.check(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	l.check(err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: t.Name()},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(0, 0, -1), NotAfter: time.Now().AddDate(0, 0, 9),
	}
	l.leaf, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	l.check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	l.check(err)
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.leaf})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	l.write("cert.pem", string(certText))
	l.write("key.pem", string(keyText))
	l.write("both.pem", string(keyText)+string(certText))
	return l
}

func (l lab) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// write writes a file in which DIR stands for the directory of the lab.
func (l lab) write(name, text string) {
	l.Helper()
	path := filepath.Join(l.dir, name)
	l.check(os.MkdirAll(filepath.Dir(path), 0o755))
	l.check(os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", l.dir)), 0o600))
}

// mkdir makes a directory that belongs to a user, where there is such a user and
// the test may give things away.
func (l lab) mkdir(name, owner string) string {
	l.Helper()
	path := filepath.Join(l.dir, name)
	l.check(os.MkdirAll(path, 0o755))
	l.give(name, owner)
	return path
}

func (l lab) give(name, owner string) {
	l.Helper()
	if os.Getuid() != 0 || owner == "" {
		return
	}
	who, err := user.Lookup(owner)
	l.check(err)
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	l.check(os.Chown(filepath.Join(l.dir, name), uid, gid))
}

// command makes a command of a program that a Debian package brings. A user is
// taken on when the test runs as root.
func (l lab) command(user_, debian, name string, arguments ...string) *exec.Cmd {
	l.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			l.Fatalf("install the Debian package %s: %v", debian, err)
		}
	}
	for i := range arguments {
		arguments[i] = strings.ReplaceAll(arguments[i], "DIR", l.dir)
	}
	c := exec.Command(path, arguments...)
	c.Dir = l.dir
	c.Env = append(os.Environ(), "HOME="+l.dir, "LC_ALL=C")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if os.Getuid() == 0 && user_ != "" {
		who, err := user.Lookup(user_)
		l.check(err)
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return c
}

// do runs a command to its end.
func (l lab) do(c *exec.Cmd) {
	l.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		l.Fatalf("%s: %v\n%s", c, err, out)
	}
}

// start runs a command until the test ends, and waits until it listens at the
// given addresses.
func (l lab) start(c *exec.Cmd, addresses ...string) {
	l.Helper()
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	c.WaitDelay = 3 * time.Second
	l.check(c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	l.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			c.Process.Kill()
			<-ended
		}
		if l.Failed() {
			l.Logf("%s said:\n%s", c, output.String())
		}
	})
	for _, address := range addresses {
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				break
			}
			if len(ended) > 0 || time.Since(begin) > 20*time.Second {
				l.Fatalf("%s does not listen at %s", c, address)
			}
		}
	}
}

// port returns a free port of 127.0.0.1 and its address.
func (l lab) port() (port, address string) {
	l.Helper()
	n := servers.FreePort(l)
	return strconv.Itoa(n), servers.Loopback(n)
}

// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab"
)

// These tests show, at real servers, that a certificate is let in, is revoked, and is refused after a pull.

// A server asks clients for certificates.
type server struct {
	enter  func(c tls.Certificate) error // as a client with a certificate
	reload func(ctx context.Context) error
}

// comesAndGoes is what each server has to show.
func comesAndGoes(h *house, c Config, start func() server) {
	h.Helper()
	alice, bob := h.issue("alice"), h.issue("bob")
	h.issue("server")
	var s server
	c.Changed = func(ctx context.Context) error {
		if s.reload == nil {
			return nil
		}
		return s.reload(ctx)
	}
	h.pull(c)
	s = start()
	h.await("both are let in", func() error { return errors.Join(s.enter(alice), s.enter(bob)) })
	h.revoke(bob)
	if err := s.enter(bob); err != nil {
		h.Errorf("the revoked one is refused before anything was pulled, so this test shows nothing: %v", err)
	}
	if r := h.pull(c); !r.Changed {
		h.Fatal("nothing was new")
	}
	h.await("the revoked one is refused, and the other let in", func() error {
		if err := s.enter(alice); err != nil {
			return fmt.Errorf("the other: %w", err)
		}
		if s.enter(bob) == nil {
			return errors.New("the revoked one is let in")
		}
		return nil
	})
}

// await tries until it succeeds.
func (h *house) await(what string, try func() error) {
	h.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	h.Fatalf("%s: %v", what, err)
}

// program finds a server's program.
func program(t testing.TB, pattern, pkg string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("this test needs %s: apt-get install -y --no-install-recommends %s", pattern, pkg)
	}
	return found[len(found)-1]
}

// run starts a program until the test ends.
func (h *house) run(cmd *exec.Cmd) *exec.Cmd {
	h.Helper()
	log, err := os.OpenFile(h.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(h, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(h, cmd.Start())
	h.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says how it was ended
		if h.Failed() {
			text, _ := os.ReadFile(h.path("log"))
			h.Logf("the log: %s", text)
		}
	})
	return cmd
}

func (h *house) client(c tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(h.root.cert)
	return &tls.Config{Certificates: []tls.Certificate{c}, RootCAs: roots, ServerName: "localhost"}
}

const nginxConf = `daemon off; pid %[1]s/nginx.pid; error_log %[1]s/log; worker_processes 1; events { worker_connections 64; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen 127.0.0.1:%[2]d ssl; ssl_certificate %[1]s/server.pem; ssl_certificate_key %[1]s/server.key;
ssl_client_certificate %[1]s/ca.pem; ssl_crl %[1]s/crl.pem; ssl_verify_client on; ssl_verify_depth 2; location / { return 204; } } }`

func TestNginx(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	comesAndGoes(h, h.config(nil), func() server {
		port := lab.FreePort(t)
		must(t, os.WriteFile(h.path("nginx.conf"), fmt.Appendf(nil, nginxConf, h.dir, port), 0o600))
		args := []string{"-c", h.path("nginx.conf"), "-e", h.path("log")}
		if os.Getuid() == 0 {
			args = append(args, "-g", "user root;")
		}
		cmd := h.run(exec.Command(program(t, "/usr/sbin/nginx", "nginx-light"), args...))
		return server{
			reload: func(context.Context) error { return cmd.Process.Signal(syscall.SIGHUP) },
			enter: func(c tls.Certificate) error {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: h.client(c), DisableKeepAlives: true}, Timeout: 5 * time.Second}
				answer, err := client.Get("https://127.0.0.1:" + strconv.Itoa(port))
				if err != nil {
					return err
				}
				if answer.StatusCode != http.StatusNoContent {
					err = errors.New(answer.Status)
				}
				return errors.Join(err, answer.Body.Close())
			},
		}
	})
}

const slapdConf = `include /etc/ldap/schema/core.schema
pidfile %[1]s/slapd.pid
argsfile %[1]s/slapd.args
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
TLSCRLFile %[1]s/crl.pem
TLSVerifyClient demand
`

// anonymousBind is an LDAP message.
const anonymousBind = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"

// Debian's slapd, with GnuTLS, has to be started again.
func TestSlapd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	comesAndGoes(h, h.config(nil), func() server {
		port := lab.FreePort(t)
		must(t, os.WriteFile(h.path("slapd.conf"), fmt.Appendf(nil, slapdConf, h.dir), 0o600))
		slapd := program(t, "/usr/sbin/slapd", "slapd")
		start := func() *exec.Cmd {
			return h.run(exec.Command(slapd, "-f", h.path("slapd.conf"), "-h", fmt.Sprintf("ldaps://127.0.0.1:%d/", port), "-d", "0"))
		}
		cmd := start()
		return server{
			reload: func(context.Context) error {
				err := cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
				cmd = start()
				return err
			},
			enter: func(c tls.Certificate) error { return bind(h.client(c), port) },
		}
	})
}

func bind(config *tls.Config, port int) error {
	dialer := &tls.Dialer{Config: config, NetDialer: &net.Dialer{Timeout: 5 * time.Second}}
	conn, err := dialer.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, anonymousBind); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 2))
	return err
}

const postgresConf = `listen_addresses = '127.0.0.1'
port = %[2]d
unix_socket_directories = ''
ssl = on
ssl_cert_file = '%[1]s/server.pem'
ssl_key_file = '%[1]s/server.key'
ssl_ca_file = '%[1]s/ca.pem'
%[3]s
fsync = off
`

// PostgreSQL reads a file when it is told to, and a directory at each connection.
func TestPostgreSQL(t *testing.T) {
	for _, directory := range []bool{false, true} {
		t.Run(map[bool]string{false: "file", true: "directory"}[directory], func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			c := h.config(nil)
			line := "ssl_crl_file = '" + c.Out + "'"
			if directory {
				c.Out, c.Dir = "", h.path("crls")
				must(t, os.Mkdir(c.Dir, 0o755))
				line = "ssl_crl_dir = '" + c.Dir + "'"
			}
			comesAndGoes(h, c, func() server { return h.postgres(line, !directory) })
		})
	}
}

func (h *house) postgres(line string, reloads bool) server {
	h.Helper()
	bin := filepath.Dir(program(h, "/usr/lib/postgresql/*/bin/initdb", "postgresql"))
	port, data := lab.FreePort(h), h.path("data")
	var attr *syscall.SysProcAttr
	must(h, os.Mkdir(data, 0o700))
	if os.Getuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup("postgres")
		must(h, err)
		uid, err := strconv.Atoi(u.Uid)
		must(h, err)
		gid, err := strconv.Atoi(u.Gid)
		must(h, err)
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		for _, name := range []string{"data", "server.key", "server.pem", "ca.pem"} {
			must(h, os.Chown(h.path(name), uid, gid))
		}
	}
	initdb := exec.Command(bin+"/initdb", "-D", data, "-U", "alice", "-A", "trust", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = attr, h.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		h.Fatalf("initdb: %v\n%s", err, out)
	}
	must(h, errors.Join(os.WriteFile(data+"/postgresql.conf", fmt.Appendf(nil, postgresConf, h.dir, port, line), 0o644),
		os.WriteFile(data+"/pg_hba.conf", []byte("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n"), 0o644)))
	cmd := exec.Command(bin+"/postgres", "-D", data)
	cmd.SysProcAttr, cmd.Dir = attr, h.dir
	h.run(cmd)
	s := server{enter: func(c tls.Certificate) error {
		name := c.Leaf.Subject.CommonName
		url := fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres user=alice sslmode=verify-ca sslrootcert=%s sslcert=%s sslkey=%s connect_timeout=5",
			port, h.path("ca.pem"), h.path(name+".pem"), h.path(name+".key"))
		out, err := exec.Command(bin+"/psql", "-Atc", "select 7*6", url).CombinedOutput()
		if err == nil && strings.TrimSpace(string(out)) != "42" || err != nil {
			return fmt.Errorf("psql: %w: %s", err, out)
		}
		return nil
	}}
	if reloads {
		s.reload = func(context.Context) error { return cmd.Process.Signal(syscall.SIGHUP) }
	}
	return s
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/store"
)

const nginxConf = `
daemon off; pid %[1]s/nginx.pid; error_log %[1]s/error.log; worker_processes 2;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  log_format tally escape=json '{"ts":"$time_iso8601","msec":$msec,"remote":"$remote_addr:$remote_port","conn":$connection,'
    '"req":"$request","request_id":"$request_id","status":$status,"sni":"$ssl_server_name","port":"$server_port",'
    '"reused":"$ssl_session_reused","verify":"$ssl_client_verify","sdn":"$ssl_client_s_dn","serial":"$ssl_client_serial",'
    '"fp_sha1":"$ssl_client_fingerprint","ua":"$http_user_agent","cert":"$ssl_client_escaped_cert"}';
  server { listen 127.0.0.1:%[2]d ssl; ssl_certificate %[1]s/s.pem; ssl_certificate_key %[1]s/s.key; ssl_verify_client optional_no_ca;
    access_log %[3]s tally; location / { return 204; } }
}`

// nginx starts a server that logs to a file, and returns its port and process.
func (h *house) nginx(log string) (int, *os.Process) {
	h.Helper()
	program, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		h.Fatal("this test needs nginx: apt-get install -y --no-install-recommends nginx-light")
	}
	own, _ := certificate(h.TB)
	key, err := x509.MarshalECPrivateKey(own.PrivateKey.(*ecdsa.PrivateKey))
	must(h.TB, err)
	dir := h.TempDir()
	port := lab.FreePort(h.TB)
	must(h.TB, errors.Join(
		os.WriteFile(dir+"/s.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}), 0o600),
		os.WriteFile(dir+"/s.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}), 0o600),
		os.WriteFile(dir+"/nginx.conf", fmt.Appendf(nil, nginxConf, dir, port, log), 0o600)))
	// As root the workers would be another user, who may not read the directory.
	arguments := []string{"-p", dir, "-c", dir + "/nginx.conf"}
	if os.Getuid() == 0 {
		arguments = append(arguments, "-g", "user root;")
	}
	cmd := exec.Command(program, arguments...)
	must(h.TB, cmd.Start())
	h.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says how it was ended
	})
	h.await("nginx listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return port, cmd.Process
}

// Requests go on while a real server's log is rotated as logrotate does it, in
// both of its ways, and while we stop and start: each is in the ledger, once.
func TestTheLogOfNginxIsRotated(t *testing.T) {
	h := newHouse(t)
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log"), Format: "nginx", Settle: time.Second})
	port, server := h.nginx(h.path("log"))
	shown, _ := certificate(t)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{shown}}, // the server is our own
	}}
	defer client.CloseIdleConnections()
	sent := 0
	ask := func(n int) {
		t.Helper()
		for range n {
			sent++
			answer, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/%d", port, sent))
			must(t, err)
			must(t, answer.Body.Close())
		}
	}
	stop := h.run()
	defer func() { stop() }()
	for round := range 3 {
		ask(50)
		// logrotate: rename, and a signal at which nginx opens the log anew.
		if round > 0 {
			must(t, os.Rename(h.path("log.1"), h.path("log.2")))
		}
		must(t, os.Rename(h.path("log"), h.path("log.1")))
		ask(20)
		must(t, server.Signal(syscall.SIGUSR1))
		ask(20)
		h.await("the log is opened anew", func() bool { _, err := os.Stat(h.path("log")); return err == nil })
		if round == 1 { // we are away for a rotation that compresses
			stop()
			ask(20)
			h.pack("log.2", "log.2.gz")
			must(t, os.Rename(h.path("log.1"), h.path("log.3")))
			stop = h.run()
			must(t, os.Rename(h.path("log.3"), h.path("log.1")))
		}
		ask(10)
	}
	// logrotate with copytruncate; nothing is written between the two: nginx writes a line
	// after it has answered, so the last one is waited for.
	last := regexp.MustCompile(fmt.Sprintf(`/%d\b`, sent))
	var text []byte
	h.await("nginx has written all lines", func() bool {
		var err error
		text, err = os.ReadFile(h.path("log"))
		return err == nil && last.Match(text)
	})
	must(t, errors.Join(os.WriteFile(h.path("log.0"), text, 0o600), os.Truncate(h.path("log"), 0)))
	ask(50)
	h.age()
	h.await("all requests are in the ledger", func() bool { return int(h.source("edge").Records) >= sent })
	stop()
	paths := map[string]int{}
	for _, u := range h.uses() {
		paths[u.Operation+u.Resource]++
	}
	if one := h.source("edge"); len(h.uses()) != sent || len(paths) != sent || one.Malformed != 0 || one.Error != "" {
		t.Errorf("%d requests, %d uses, %d paths, %+v", sent, len(h.uses()), len(paths), one)
	}
	if u := h.uses()[0]; u.Source != "edge" || !strings.Contains(strings.Join(u.Credential, " "), "cert-sha256:") {
		t.Errorf("%+v", u)
	}
	if closed := h.ledger.Books()[0].Closed; time.Since(closed) > time.Minute {
		t.Errorf("the book is closed up to %s only", closed)
	}
}

// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

// services are HTTPS servers of net/http, in this process, and the program by which their
// doors are worked at: it passes what it is asked on to them (docs/exec-driver.md).
type services struct {
	dir     string
	root    *x509.Certificate
	control net.Listener
	command string // of option command; the number of a service follows

	mu  sync.Mutex
	all []*service // guarded by mu
}

// A service lets in whom the CA has signed, but for those on its list.
type service struct {
	number  int
	root    *x509.Certificate
	address string
	file    string // certificate and key

	mu     sync.Mutex
	pair   *tls.Certificate // guarded by mu
	denied map[string]bool  // guarded by mu; fingerprints
}

func startServices(t testing.TB, root *x509.Certificate) *services {
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	s := &services{dir: lab.OpenDir(t), root: root, control: control}
	_, port, _ := net.SplitHostPort(control.Addr().String())
	script := filepath.Join(s.dir, "ask.sh")
	if err := os.WriteFile(script, []byte("exec 3<>/dev/tcp/127.0.0.1/"+port+"\necho $1 >&3\ncat >&3\nexec cat <&3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.command = "bash " + script
	go s.listen()
	return s
}

// add starts one more.
func (s *services) add(t testing.TB, shown driver.Material) *service {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	one := &service{number: len(s.all), root: s.root, address: listener.Addr().String(), denied: map[string]bool{}}
	s.all = append(s.all, one)
	s.mu.Unlock()
	one.file = filepath.Join(s.dir, fmt.Sprint(one.number)+".pem")
	chain, key := lab.MaterialPEM(t, shown)
	if err := one.install(chain, key); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.root)
	server := &http.Server{
		Handler: one, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			one.mu.Lock()
			defer one.mu.Unlock()
			return one.pair, nil
		}},
	}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends with the test
	return one
}

// ServeHTTP answers who gets in, in a session that is resumed as well.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refused := len(r.TLS.PeerCertificates) == 0 || s.denied[fingerprint(r.TLS.PeerCertificates[0].Raw)]
	s.mu.Unlock()
	if refused {
		http.Error(w, "no", http.StatusForbidden)
	}
}

func fingerprint(der []byte) string { return "cert-sha256:" + string(tallystick.FingerprintOf(der)) }

// install writes a certificate with its key, and shows it.
func (s *service) install(chain, key string) error {
	pair, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file+".new", []byte(chain+key), 0o600); err != nil {
		return err
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pair = &pair
	return nil
}

// listen answers the program, until the test ends.
func (s *services) listen() {
	for {
		conn, err := s.control.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			line, err := in.ReadString('\n')
			number, wrong := strconv.Atoi(strings.TrimSpace(line))
			var r asked
			if err != nil || wrong != nil || json.NewDecoder(in).Decode(&r) != nil {
				return
			}
			s.mu.Lock()
			one := s.all[number]
			s.mu.Unlock()
			answer, err := one.answer(r)
			if err != nil {
				answer = map[string]any{"error": map[string]string{"kind": "unavailable", "text": err.Error()}}
			}
			answer["v"] = 1
			_ = json.NewEncoder(conn).Encode(answer) // who asked asks again
		}()
	}
}

// asked is a request of the driver exec, as far as a service needs it.
type asked struct {
	Verb     string
	New, Old struct{ Certificates string }
	Key      string
	Lift     bool
}

func (s *service) answer(r asked) (map[string]any, error) {
	switch r.Verb {
	case "look":
		return s.look()
	case "read":
		text, err := os.ReadFile(s.file)
		if err != nil {
			return nil, err
		}
		chain, key, _ := strings.Cut(string(text), "-----BEGIN PRIVATE KEY")
		return map[string]any{"held": map[string]string{"certificates": chain, "key": "-----BEGIN PRIVATE KEY" + key}}, nil
	case "install":
		return map[string]any{"changed": true, "how": []string{"files"}}, s.install(r.New.Certificates, r.Key)
	case "trust":
		return map[string]any{"detail": "it lets in whom its CA has signed"}, nil
	case "block":
		m, err := installing.ReadPEM([]byte(r.Old.Certificates))
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		before, name := s.denied[fingerprint(m.Chain[0])], fingerprint(m.Chain[0])
		s.denied[name] = !r.Lift
		return map[string]any{"changed": before == r.Lift, "how": []string{"deny-list"}}, nil
	}
	return nil, fmt.Errorf("%q is not done here", r.Verb)
}

func (s *service) look() (map[string]any, error) {
	text, err := os.ReadFile(s.file)
	if err != nil {
		return nil, err
	}
	inFile, _, _ := strings.Cut(string(text), "-----BEGIN PRIVATE KEY")
	s.mu.Lock()
	defer s.mu.Unlock()
	var denies []string
	for name, denied := range s.denied {
		if denied {
			denies = append(denies, name)
		}
	}
	return map[string]any{"view": map[string]any{
		"shown": []any{
			map[string]any{"certificates": inFile, "at": s.file, "key": true},
			map[string]any{"certificates": lab.CertificatePEM(s.pair.Certificate...), "at": s.address, "live": true},
		},
		"authorities": []string{lab.CertificatePEM(s.root.Raw)}, "denies": denies,
	}}, nil
}

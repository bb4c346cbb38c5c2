// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// A closer ends a listener and what it serves.
type closer func()

// A desk answers the CA as long as there are orders that wait for it: several
// orders share one listener, which stands from the first to the last of them.
type desk[V comparable] struct {
	open    func(look func(string) (V, bool)) (closer, error)
	mu      sync.Mutex
	answers map[string]V // guarded by mu
	close   closer       // guarded by mu; nil while nobody waits
}

// add puts answers on the desk, and opens it when it is closed.
func (d *desk[V]) add(answers map[string]V) (remove func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.close == nil {
		if d.close, err = d.open(d.look); err != nil {
			d.close = nil
			return nil, fmt.Errorf("couldn't listen for the CA: %w: %w; set the option listen", tallystick.ErrUnavailable, err)
		}
		d.answers = map[string]V{}
	}
	for name, answer := range answers {
		d.answers[name] = answer
	}
	return func() { d.remove(answers) }, nil
}

func (d *desk[V]) remove(answers map[string]V) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, answer := range answers {
		if d.answers[name] == answer { // and not what another order has put there since
			delete(d.answers, name)
		}
	}
	if len(d.answers) == 0 && d.close != nil {
		d.close()
		d.close = nil
	}
}

func (d *desk[V]) look(name string) (V, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer, ok := d.answers[name]
	return answer, ok
}

// An httpSolver answers http-01 (RFC 8555 section 8.3).
type httpSolver struct{ desk[string] }

func (h *httpSolver) kind() string { return acme.ChallengeTypeHTTP01 }

func (h *httpSolver) present(_ context.Context, challenges []acme.Challenge) (func(), error) {
	answers := map[string]string{}
	for _, c := range challenges {
		answers[c.HTTP01ResourcePath()] = c.KeyAuthorization
	}
	return h.add(answers)
}

// listen waits for an address, for a quarter of a second at most: a process that another part of this one starts
// just then has a copy of the listener that the last order closed, until its program runs. The CA is not
// asked for anything yet, so that this is no second try of anything.
func listen(address string) (net.Listener, error) {
	for end := time.Now().Add(250 * time.Millisecond); ; time.Sleep(10 * time.Millisecond) {
		listener, err := net.Listen("tcp", address)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return listener, err
		}
	}
}

// serveHTTP serves the answers by their paths, and nothing else.
func serveHTTP(address string, look func(string) (string, bool)) (closer, error) {
	listener, err := listen(address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer, ok := look(r.URL.Path)
			if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			io.WriteString(w, answer)
		}),
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go server.Serve(listener)
	return func() { server.Close() }, nil
}

// A tlsSolver answers tls-alpn-01 (RFC 8737).
type tlsSolver struct{ desk[*tls.Certificate] }

func (s *tlsSolver) kind() string { return acme.ChallengeTypeTLSALPN01 }

func (s *tlsSolver) present(_ context.Context, challenges []acme.Challenge) (func(), error) {
	answers := map[string]*tls.Certificate{}
	for _, c := range challenges {
		certificate, err := acmez.TLSALPN01ChallengeCert(c)
		if err != nil {
			return nil, fmt.Errorf("couldn't make the answer to tls-alpn-01 for %s: %w", network.Quote(c.Identifier.Value), err)
		}
		answers[indication(c.Identifier)] = certificate
	}
	return s.add(answers)
}

// indication is what the CA names by SNI: the name, or that of the reverse DNS of
// an address (RFC 8738 section 6).
func indication(id acme.Identifier) string {
	if address, err := netip.ParseAddr(id.Value); err == nil {
		reverse, _ := dns.ReverseAddr(address.String())
		return strings.TrimSuffix(reverse, ".")
	}
	return strings.ToLower(id.Value)
}

// serveTLS makes handshakes of acme-tls/1 for the names that there are answers
// for, and none other.
func serveTLS(address string, look func(string) (*tls.Certificate, bool)) (closer, error) {
	inner, err := listen(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if certificate, ok := look(strings.ToLower(hello.ServerName)); ok {
				return certificate, nil
			}
			return nil, errors.New("no order waits for this name")
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	slots := make(chan struct{}, 64) // handshakes at once
	go func() {
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			select {
			case slots <- struct{}{}:
			default:
				conn.Close()
				continue
			}
			go func() {
				defer func() { conn.Close(); <-slots }()
				within, done := context.WithTimeout(ctx, 10*time.Second)
				defer done()
				tls.Server(conn, config).HandshakeContext(within) // that is all there is to it
			}()
		}
	}()
	return func() { cancel(); inner.Close() }, nil
}

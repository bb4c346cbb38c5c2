// SPDX-License-Identifier: Apache-2.0

package probing_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/internal/lab"
)

// serve is an HTTPS server in Go that wants certificates of the PKI.
func serve(t *testing.T, pki *lab.PKI, handler http.HandlerFunc, config *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	clients := x509.NewCertPool()
	clients.AddCert(pki.Root)
	config.ClientCAs = clients
	if config.Certificates == nil {
		config.Certificates = []tls.Certificate{pair(pki.Localhost(t))}
	}
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func pair(m driver.Material) tls.Certificate {
	return tls.Certificate{Certificate: m.Chain, PrivateKey: m.Key}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// A server of TLS 1.3 says no after the client has finished, here by an alert.
func TestAnAlertAfterTheHandshakeIsARefusal(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	address := serve(t, pki, status(200), &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	listeners := []driver.Listener{at("https", address), at("tls", address)}
	held := probe(t, pki.Client(t, "alice"), nil, true, listeners...)
	want(t, "alice", held.Attempts, append(times(2, "fresh-tls1.2 accepted"), times(2, "fresh-tls1.3 accepted")...)...)
	resumed := probe(t, pki.Client(t, "alice"), held.Sessions, false, listeners[0])
	want(t, "alice, resumed", resumed.Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted", "resumed-tls1.2 accepted", "resumed-tls1.3 accepted")
	want(t, "a stranger", probe(t, lab.NewPKI(t).Client(t, "alice"), nil, false, listeners...).Attempts,
		append(times(2, "fresh-tls1.2 refused"), times(2, "fresh-tls1.3 refused")...)...)
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice := pki.Client(t, "alice")
	var code int
	address := serve(t, pki, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/private" {
			code = 599
		}
		w.WriteHeader(code)
	}, &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13})
	for c, outcome := range map[int]string{
		200: "accepted", 302: "accepted", 404: "accepted", 400: "refused", 401: "refused", 403: "refused", 495: "refused", 429: "failed", 503: "failed",
	} {
		code = c
		want(t, fmt.Sprint(c), probe(t, alice, nil, false, at("https", address, "path=/private")).Attempts, "fresh-tls1.3 "+outcome)
	}
}

func TestVersionsThatAreNotSpoken(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	address := serve(t, pki, status(200), &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
	want(t, "1.2 alone", probe(t, pki.Client(t, "alice"), nil, false, at("https", address)).Attempts, "fresh-tls1.2 accepted")
	address = serve(t, pki, status(200), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	want(t, "older ones", probe(t, pki.Client(t, "alice"), nil, false, at("https", address)).Attempts, "fresh-tls1.2 failed", "fresh-tls1.3 failed")
}

func TestWhatCannotBeTried(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice, key := pki.Client(t, "alice"), lab.SSHKey(t)
	good := at("https", "127.0.0.1:1")
	for what, r := range map[string]driver.ProbeRequest{
		"a password":      {Credential: driver.Material{Public: driver.Public{Account: "account:ldap/uid=a"}}},
		"no key":          {Credential: driver.Material{Public: alice.Public}},
		"another key":     {Credential: driver.Material{Public: alice.Public, Key: lab.NewKey(t)}},
		"nothing":         {Credential: driver.Material{Key: alice.Key}},
		"no certificate":  {Credential: driver.Material{Public: driver.Public{Chain: [][]byte{{1}}}, Key: alice.Key}},
		"another SSH key": {Credential: driver.Material{Public: key.Public, Key: alice.Key}, Listeners: []driver.Listener{at("ssh", "127.0.0.1:1")}},
		"no protocol":     {Credential: alice, Listeners: []driver.Listener{at("gopher", "127.0.0.1:1")}},
		"SSH by X.509":    {Credential: alice, Listeners: []driver.Listener{good, at("ssh", "127.0.0.1:1")}},
		"TLS by SSH":      {Credential: key, Listeners: []driver.Listener{good}},
		"sessions of no":  {Credential: alice, Sessions: []byte("{"), Listeners: []driver.Listener{good}},
		"sessions of old": {Credential: alice, Sessions: []byte(`{"version":9}`), Listeners: []driver.Listener{good}},
	} {
		r.Host, r.Now = host.Local(), time.Now
		if _, err := probing.Probe(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	want(t, "nobody listens", probe(t, alice, nil, true, good, at("https", "localhost")).Attempts, "fresh failed", "fresh-tls1.2 failed", "fresh-tls1.3 failed")
}

// Both addresses of localhost are tried, and so is what only one of them answers.
func TestEveryAddressBehindAName(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	address := serve(t, pki, status(200), &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
	_, port, _ := net.SplitHostPort(address)
	probed := probe(t, pki.Client(t, "alice"), nil, false, at("https", net.JoinHostPort("localhost", port)))
	accepted := map[string]bool{}
	for _, a := range probed.Attempts {
		if a.Outcome == driver.OutcomeAccepted {
			accepted[a.Address] = true
		}
	}
	if !accepted[address] {
		t.Errorf("127.0.0.1 is not among %+v", probed.Attempts)
	}
}

func TestBothCertificatesAreShown(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	key := lab.NewRSAKey(t, 2048)
	older := driver.Material{Key: key, Public: driver.Public{Chain: [][]byte{pki.Sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}, key.Public()).Raw, pki.Sub.Raw}}}
	newer := pki.Localhost(t)
	address := serve(t, pki, status(200), &tls.Config{Certificates: []tls.Certificate{pair(newer), pair(older)}, ClientAuth: tls.RequireAnyClientCert})
	shown, attempts := probing.Look(t.Context(), host.Local(), []driver.Listener{at("https", address)}, time.Now)
	if len(shown) != 2 || len(attempts) != 2 || shown[0].Is(shown[1].Public) {
		t.Errorf("it shows %+v", attempts)
	}
	for algorithm, m := range map[string]driver.Material{"RSA": older, "ECDSA": newer} {
		attempts := probing.Show(t.Context(), host.Local(), []driver.Listener{at("https", address, "algorithm="+algorithm)}, time.Now)
		if len(attempts) != 1 || attempts[0].Served != string(tallystick.FingerprintOf(m.Chain[0])) {
			t.Errorf("of %s it shows %+v", algorithm, attempts)
		}
	}
}

// Words of servers that are none, or that mean harm, fail in time and are quoted
// within bounds.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	for what, say := range map[string]func(net.Conn){
		"no TLS":  func(c net.Conn) { fmt.Fprintf(c, "220 \x1b[31mhello\r\n") },
		"silence": func(c net.Conn) { time.Sleep(5 * time.Second) },
		"a close": func(c net.Conn) {},
	} {
		address := lab.Serve(t, "127.0.0.1:0", say)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		probed, err := probing.Probe(ctx, driver.ProbeRequest{Host: host.Local(), Credential: pki.Client(t, "alice"), Listeners: []driver.Listener{at("https", address)}, Now: time.Now})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		want(t, what, probed.Attempts, "fresh-tls1.2 failed", "fresh-tls1.3 failed")
	}
	endless := serve(t, pki, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("\x1b no ", 1000))); err != nil {
				return
			}
		}
	}, &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
	probed := probe(t, pki.Client(t, "alice"), nil, false, at("https", endless))
	want(t, "no end", probed.Attempts, "fresh-tls1.3 refused")
	if answer := probed.Attempts[0].Answer; len(answer) > 1<<10 || strings.Contains(answer, "\x1b") {
		t.Errorf("%d bytes of an answer: %q", len(answer), answer[:20])
	}
}

// A session is as secret as the key: it says nothing of itself but to whom it belongs.
func TestSessionsHoldNoPrivateKey(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice := pki.Client(t, "alice")
	address := serve(t, pki, status(200), &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	held := probe(t, alice, nil, true, at("https", address))
	private, err := alice.Key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if len(held.Sessions) == 0 || strings.Contains(string(held.Sessions), string(private)) {
		t.Errorf("%d bytes of sessions", len(held.Sessions))
	}
	other := at("https", "127.0.0.1:1")
	want(t, "sessions of elsewhere", probe(t, alice, held.Sessions, false, other).Attempts, "fresh-tls1.2 failed", "fresh-tls1.3 failed")
}

// A POP3 server in trouble says nothing about a credential; that it hangs up then, says
// that the connection is over.
func TestTroubleOnOpenConnections(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	for what, one := range map[string]struct {
		answers  []string // to NOOP; after the last one the server hangs up
		outcomes []string
	}{
		"it passes":   {[]string{"-ERR [SYS/TEMP] wait", "+OK"}, []string{"failed", "accepted"}},
		"it hangs up": {[]string{"+OK", "-ERR [SYS/TEMP] shutting down"}, []string{"accepted", "refused", "refused"}},
	} {
		config := &tls.Config{Certificates: []tls.Certificate{pair(pki.Localhost(t))}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
		address := lab.Serve(t, "127.0.0.1:0", func(c net.Conn) {
			conn := tls.Server(c, config)
			defer conn.Close()
			in := bufio.NewReader(conn)
			fmt.Fprint(conn, "+OK hello\r\n")
			for _, answer := range append([]string{"+ ", "+OK"}, one.answers...) {
				if _, err := in.ReadString('\n'); err != nil {
					return
				}
				fmt.Fprintf(conn, "%s\r\n", answer)
			}
		})
		held := probe(t, pki.Client(t, "alice"), nil, true, at("pop3s", address))
		if len(held.Open) != 1 {
			t.Fatalf("%s: %d connections are open: %+v", what, len(held.Open), held.Attempts)
		}
		for i, outcome := range one.outcomes {
			if a := held.Open[0].Try(t.Context()); a.Outcome != outcome {
				t.Errorf("%s, try %d: %s (%s), want %s", what, i+1, a.Outcome, a.Answer, outcome)
			}
		}
	}
}

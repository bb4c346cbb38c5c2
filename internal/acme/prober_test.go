// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/lab"
)

// attempt orders a name, tries one challenge of it, and returns what came of it.
func (c *raw) attempt(kind, name string, before func(token string)) (status, errorType, detail string) {
	c.t.Helper()
	payload := orderText(name)
	if _, err := netip.ParseAddr(name); err == nil {
		payload = strings.Replace(payload, `"dns"`, `"ip"`, 1)
	}
	var o orderView
	c.must(http.StatusCreated, "new-order", payload).into(c.t, &o)
	for _, challenge := range c.authorization(o.Authorizations[0]).Challenges {
		if challenge.Type == kind {
			before(challenge.Token)
			c.must(200, challenge.URL, "{}")
		}
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		view := c.authorization(o.Authorizations[0])
		if view.Status == "pending" {
			continue
		}
		for _, challenge := range view.Challenges {
			if challenge.Error != nil {
				return view.Status, strings.TrimPrefix(challenge.Error.Type, "urn:ietf:params:acme:error:"), challenge.Error.Detail
			}
		}
		return view.Status, "", ""
	}
	c.t.Fatal("the challenge is not over")
	return "", "", ""
}

// Nothing is connected to that the operator did not allow.
func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	closed := newSite(t, func(c *acme.Config) { c.Allow = nil })
	wide := newSite(t, func(c *acme.Config) { c.Allow = []string{"0.0.0.0/0", "::/0"} })
	own := newSite(t, func(c *acme.Config) {
		c.Allow = []string{"127.0.0.1"}
		c.Listeners = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(c.HTTPPort))}
	})
	later := newSite(t, func(c *acme.Config) { c.Allow = []string{"127.0.0.0/8", "2002::/16"} })
	later.acme.Avoid(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(later.httpPort)), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(later.httpPort)))
	for _, s := range []*site{closed, wide, own, later} {
		s.serveHTTP01(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
		for name, ip := range map[string]string{
			"metadata": "169.254.169.254", "linklocal": "fe80::1", "any": "0.0.0.0", "many": "224.0.0.1", "loop6": "::1", "mapped": "::ffff:127.0.0.1", "nat": "64:ff9b::a9fe:a9fe",
			"nat-loop": "64:ff9b::7f00:1", "sixtofour": "2002:7f00:1::", "broadcast": "255.255.255.255", "ec2": "fd00:ec2::254",
			"alibaba": "100.100.100.200", "oracle": "192.0.0.192", "google": "fd20:ce::254", "nat-local": "64:ff9b:1::a00:1", "teredo": "2001:0:a00:1::1", "teredo-end": "2001:0:ffff::1",
			"isatap": "2001:db8::5efe:a9fe:a9fe", "isatap-u": "2001:db8::200:5efe:169.254.169.254", "isatap-loop": "2001:db8::5efe:127.0.0.1", "sixtofour-meta": "2002:a9fe:a9fe::1",
			"sixtofour-alibaba": "2002:6464:64c8::1", "sixtofour-own": "2002:c000:201::1",
		} {
			s.dns.a[name+".lab.test."] = []netip.Addr{netip.MustParseAddr(ip)}
		}
	}
	for _, test := range []struct {
		site *site
		name string
		why  string
	}{
		{closed, "a.lab.test", "connection to 127.0.0.1 is not allowed by the operator: it is this machine; issuing.acme.allow in the configuration may name a loopback network"},
		{closed, "127.0.0.1", "connection to 127.0.0.1 is not allowed"},
		{closed, "10.1.2.3", "connection to 10.1.2.3 is not allowed by the operator: issuing.acme.allow in the configuration does not name its network"},
		{wide, "a.lab.test", "it is this machine"},
		{wide, "loop6.lab.test", "it is this machine"},
		{wide, "nat-loop.lab.test", "it is this machine"},
		{wide, "sixtofour.lab.test", "it is this machine"},
		{wide, "metadata.lab.test", "it is not an address of a host"},
		{wide, "169.254.169.254", "it is not an address of a host"},
		{wide, "nat.lab.test", "it is not an address of a host"},
		{wide, "linklocal.lab.test", "it is not an address of a host"},
		{wide, "any.lab.test", "it is not an address of a host"},
		{wide, "many.lab.test", "it is not an address of a host"},
		{wide, "broadcast.lab.test", "it is not an address of a host"},
		{wide, "ec2.lab.test", "it is not an address of a host"},
		{wide, "alibaba.lab.test", "it is not an address of a host"},
		{wide, "oracle.lab.test", "it is not an address of a host"},
		{wide, "google.lab.test", "it is not an address of a host"},
		{wide, "nat-local.lab.test", "it is not an address of a host"},
		{wide, "teredo.lab.test", "it is not an address of a host"},
		{wide, "teredo-end.lab.test", "it is not an address of a host"},
		{wide, "isatap.lab.test", "it is not an address of a host"},
		{wide, "isatap-u.lab.test", "it is not an address of a host"},
		{wide, "isatap-loop.lab.test", "it is this machine"},
		{wide, "sixtofour-meta.lab.test", "it is not an address of a host"},
		{wide, "sixtofour-alibaba.lab.test", "it is not an address of a host"},
		{own, "a.lab.test", "this server listens there itself"},
		{later, "a.lab.test", "this server listens there itself"},
		{later, "sixtofour-own.lab.test", "this server listens there itself"},
	} {
		c := newRaw(t, test.site)
		for _, kind := range []string{"http-01", "tls-alpn-01"} {
			if (test.site == own || test.site == later) && kind == "tls-alpn-01" {
				continue
			}
			status, problem, detail := c.attempt(kind, test.name, func(string) {})
			if status != "invalid" || problem != "connection" || !strings.Contains(detail, test.why) {
				t.Errorf("%s %s: %s %s %q; want %q", kind, test.name, status, problem, detail, test.why)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the server connected %d times to where it must not", n)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *acme.Config) {
		c.Timeout = 2 * time.Second
		c.Listeners = []netip.AddrPort{netip.MustParseAddrPort(fmt.Sprintf("127.0.0.2:%d", c.TLSPort))}
	})
	c := newRaw(t, s)
	at := fmt.Sprintf("http://a.lab.test:%d", s.httpPort)
	target, proof := "", ""
	s.serveHTTP01(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/.well-known/"):
			http.Redirect(w, r, target, http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/again/"):
			n := len(r.URL.Path) - len("/again/")
			if n == 0 {
				fmt.Fprint(w, proof)
				return
			}
			http.Redirect(w, r, r.URL.Path[:len(r.URL.Path)-1], http.StatusMovedPermanently)
		case r.URL.Path == "/large":
			w.Write(make([]byte, 1<<20))
		case r.URL.Path == "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		case r.URL.Path == "/header":
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			fmt.Fprint(w, proof)
		case r.URL.Path == "/missing":
			http.NotFound(w, r)
		}
	}))
	for _, test := range []struct {
		name, target, status, problem, why string
	}{
		{"ten", at + "/again/xxxxxxxxx", "valid", "", ""},
		{"eleven", at + "/again/xxxxxxxxxx", "invalid", "unauthorized", "more than 10 times"},
		{"metadata", "http://169.254.169.254/latest/meta-data/", "invalid", "connection", "connection to 169.254.169.254 is not allowed"},
		{"own", fmt.Sprintf("https://127.0.0.2:%d/", s.tlsPort), "invalid", "connection", "this server listens there itself"},
		{"elsewhere", "http://10.0.0.1/", "invalid", "connection", "connection to 10.0.0.1 is not allowed"},
		{"port", "http://a.lab.test:22/", "invalid", "unauthorized", "a port that is not of the web"},
		{"scheme", "file:///etc/passwd", "invalid", "unauthorized", "something else than http"},
		{"user", fmt.Sprintf("http://x:y@a.lab.test:%d/", s.httpPort), "invalid", "unauthorized", "a user name"},
		{"large", at + "/large", "invalid", "incorrectResponse", "not the key authorization"},
		{"slow", at + "/slow", "invalid", "connection", "no answer in time"},
		{"header", at + "/header", "invalid", "connection", ""},
		{"missing", at + "/missing", "invalid", "unauthorized", "status 404"},
	} {
		target = test.target
		status, problem, detail := c.attempt("http-01", test.name+".lab.test", func(token string) { proof = c.keyAuthorization(token) })
		if status != test.status || problem != test.problem || !strings.Contains(detail, test.why) {
			t.Errorf("%s: %s %s %q; want %s %s %q", test.name, status, problem, detail, test.status, test.problem, test.why)
		}
	}
}

// A name that answers with another address the second time leads nowhere: what was
// looked at is what is connected to.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *acme.Config) { c.Allow = []string{"127.0.0.1/32"} })
	c := newRaw(t, s)
	var reached atomic.Int64
	secret, err := net.Listen("tcp", fmt.Sprintf("127.0.0.9:%d", s.httpPort))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	go func() {
		for {
			conn, err := secret.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = conn.Close()
		}
	}()
	proof := ""
	s.serveHTTP01(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, proof) }))
	good, bad := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9")
	s.dns.a["first.lab.test."] = []netip.Addr{good, bad, bad}
	s.dns.a["second.lab.test."] = []netip.Addr{bad}
	if status, problem, detail := c.attempt("http-01", "first.lab.test", func(token string) { proof = c.keyAuthorization(token) }); status != "valid" {
		t.Errorf("%s %s %s", status, problem, detail)
	}
	if n := s.dns.counts["first.lab.test."]; n != 1 {
		t.Errorf("the name was looked up %d times", n)
	}
	if _, problem, detail := c.attempt("http-01", "second.lab.test", func(string) {}); problem != "connection" || !strings.Contains(detail, "127.0.0.9 is not allowed") {
		t.Errorf("%s %s", problem, detail)
	}
	if reached.Load() != 0 {
		t.Error("an address that was not allowed was connected to")
	}
}

// proofCertificate is that of RFC 8737 section 3, with what a test wants wrong.
func proofCertificate(t *testing.T, names []string, digest []byte, critical bool) tls.Certificate {
	t.Helper()
	key := newKey(t)
	value, err := asn1.Marshal(digest)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "x"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: critical, Value: value}},
	}
	if digest == nil {
		template.ExtraExtensions = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLSProofs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newRaw(t, s)
	for _, test := range []struct {
		name     string
		names    []string
		wrong    bool
		none     bool
		critical bool
		protocol string
		problem  string
	}{
		{"good", []string{"good.lab.test"}, false, false, true, "acme-tls/1", ""},
		{"wrong-digest", []string{"wrong-digest.lab.test"}, true, false, true, "acme-tls/1", "incorrectResponse"},
		{"not-critical", []string{"not-critical.lab.test"}, false, false, false, "acme-tls/1", "incorrectResponse"},
		{"other-name", []string{"a.lab.test"}, false, false, true, "acme-tls/1", "incorrectResponse"},
		{"two-names", []string{"two-names.lab.test", "a.lab.test"}, false, false, true, "acme-tls/1", "incorrectResponse"},
		{"no-extension", []string{"no-extension.lab.test"}, false, true, true, "acme-tls/1", "incorrectResponse"},
		{"no-protocol", []string{"no-protocol.lab.test"}, false, false, true, "", "unauthorized"},
		{"other-protocol", []string{"other-protocol.lab.test"}, false, false, true, "h2", "tls"},
	} {
		var l net.Listener
		status, problem, detail := c.attempt("tls-alpn-01", test.name+".lab.test", func(token string) {
			digest := sha(c.keyAuthorization(token))
			if test.wrong {
				digest[0] ^= 1
			}
			if test.none {
				digest = nil
			}
			config := &tls.Config{Certificates: []tls.Certificate{proofCertificate(t, test.names, digest, test.critical)}}
			if test.protocol != "" {
				config.NextProtos = []string{test.protocol}
			}
			l = tls.NewListener(lab.Listen(t, lab.Loopback(s.tlsPort)), config)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					_ = conn.(*tls.Conn).HandshakeContext(ctx)
					cancel()
					_ = conn.Close()
				}
			}()
		})
		_ = l.Close()
		if (status == "valid") != (test.problem == "") || problem != test.problem {
			t.Errorf("%s: %s %s %q; want %q", test.name, status, problem, detail, test.problem)
		}
	}
}

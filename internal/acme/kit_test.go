// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/lab"
)

// A site is an ACME server on a real CA, reached over TLS, and a name server that
// says that everything under lab.test is this machine.
type site struct {
	*catest.Lab
	acme      *acme.Server
	http      *httptest.Server
	dns       *nameServer
	secrets   secrets
	directory string
	roots     string // a file with the certificate of the HTTPS server
	httpPort  int    // where http-01 is proven
	tlsPort   int    // where tls-alpn-01 is
}

// newSite starts everything until the test ends; change may alter the configuration.
func newSite(t testing.TB, change ...func(*acme.Config)) *site {
	t.Helper()
	s := &site{Lab: catest.New(t), dns: startDNS(t), httpPort: lab.FreePort(t), tlsPort: lab.FreePort(t), secrets: secrets{}}
	s.Init(t, ca.InitRequest{Name: "root", CommonName: "Lab Root"})
	s.Init(t, ca.InitRequest{Name: "lab", CommonName: "Lab CA", Parent: "root"})
	c := acme.Config{
		ACME: config.ACME{On: true, Allow: []string{"127.0.0.0/8"}, Resolver: s.dns.address, HTTPPort: s.httpPort, TLSPort: s.tlsPort, Timeout: 5 * time.Second},
		DB:   s.DB, CA: s.CA, Secrets: s.secrets, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, f := range change {
		f(&c)
	}
	s.acme = acme.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.acme.Run(ctx) }()
	s.http = httptest.NewTLSServer(s.acme)
	t.Cleanup(func() { s.http.Close(); cancel(); <-done })
	s.directory = s.http.URL + "/acme/lab/directory"
	s.roots = filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(s.roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// secrets are in memory.
type secrets map[string][]byte

func (s secrets) Get(_ context.Context, id string) ([]byte, error) {
	if secret, ok := s[id]; ok {
		return append([]byte(nil), secret...), nil
	}
	return nil, tallystick.ErrNotFound
}

func (s secrets) Put(_ context.Context, _ custody.Owner, secret []byte) (string, error) {
	id := fmt.Sprint("secret-", len(s))
	s[id] = append([]byte(nil), secret...)
	return id, nil
}

// A nameServer answers for lab.test, and takes updates (RFC 2136).
type nameServer struct {
	address string

	asked func() // is called when a TXT record is asked for; nil: nothing

	mu     sync.Mutex
	txt    map[string][]string     // by name with a final dot, lower case
	a      map[string][]netip.Addr // what a name answers, the next time first; others are 127.0.0.1
	counts map[string]int          // how often an address was asked for
}

func startDNS(t testing.TB) *nameServer {
	t.Helper()
	n := &nameServer{txt: map[string][]string{}, a: map[string][]netip.Addr{}, counts: map[string]int{}}
	n.address = lab.Loopback(lab.FreePort(t))
	packets, err := net.ListenPacket("udp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	streams := lab.Listen(t, n.address)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: n, MsgAcceptFunc: acceptAll}, {Listener: streams, Handler: n, MsgAcceptFunc: acceptAll}} {
		go func() { _ = server.ActivateAndServe() }()
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return n
}

func acceptAll(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }

// ServeDNS answers.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	if n.asked != nil && len(m.Question) == 1 && m.Question[0].Qtype == dns.TypeTXT {
		n.asked()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	reply := new(dns.Msg).SetReply(m)
	reply.Authoritative = true
	if m.Opcode == dns.OpcodeUpdate {
		n.update(m)
	} else if len(m.Question) == 1 {
		n.answer(reply, m.Question[0])
	}
	_ = w.WriteMsg(reply)
}

func (n *nameServer) update(m *dns.Msg) {
	for _, rr := range m.Ns {
		name := strings.ToLower(rr.Header().Name)
		if txt, ok := rr.(*dns.TXT); ok && rr.Header().Class == dns.ClassINET {
			n.txt[name] = append(n.txt[name], strings.Join(txt.Txt, ""))
		} else {
			delete(n.txt, name)
		}
	}
}

func (n *nameServer) answer(reply *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch q.Qtype {
	case dns.TypeSOA:
		reply.Answer = append(reply.Answer, &dns.SOA{Hdr: dns.RR_Header{Name: "lab.test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.lab.test.", Mbox: "x.lab.test.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1})
	case dns.TypeNS:
		reply.Answer = append(reply.Answer, &dns.NS{Hdr: dns.RR_Header{Name: "lab.test.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.lab.test."})
	case dns.TypeTXT:
		for _, text := range n.txt[name] {
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: head, Txt: []string{text}})
		}
	case dns.TypeA, dns.TypeAAAA:
		ip := netip.MustParseAddr("127.0.0.1")
		if list := n.a[name]; len(list) > 0 {
			ip = list[0]
			if q.Qtype == dns.TypeA && len(list) > 1 {
				n.a[name] = list[1:]
			}
		}
		if q.Qtype == dns.TypeA && ip.Is4() && strings.HasSuffix(name, "lab.test.") {
			n.counts[name]++
			reply.Answer = append(reply.Answer, &dns.A{Hdr: head, A: ip.AsSlice()})
		}
		if q.Qtype == dns.TypeAAAA && ip.Is6() {
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: head, AAAA: ip.AsSlice()})
		}
	}
}

func (n *nameServer) setTXT(name string, values ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.txt[strings.ToLower(name)+"."] = values
}

// serveHTTP01 answers at the site's port for http-01 until the test ends.
func (s *site) serveHTTP01(t testing.TB, h http.Handler) {
	t.Helper()
	l := lab.Listen(t, lab.Loopback(s.httpPort))
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func (n *nameServer) addTXT(name, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.txt[strings.ToLower(name)+"."] = append(n.txt[strings.ToLower(name)+"."], value)
}

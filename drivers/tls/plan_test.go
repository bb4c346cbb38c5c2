// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto"
	gotls "crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ocsp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/internal/lab"
)

// named makes a self-signed certificate for names.
func named(t *testing.T, key crypto.Signer, names ...string) gotls.Certificate {
	t.Helper()
	c := template(names[0], false)
	c.DNSNames = names
	return gotls.Certificate{Certificate: [][]byte{sign(t, c, c, key.Public(), key)}, PrivateKey: key}
}

// subjects returns what was seen, as "server name: subject".
func subjects(s *drivertest.Recorder) []string {
	var all []string
	for _, sighting := range s.Sightings {
		all = append(all, sighting.TLS.ServerName+": "+sighting.Credential.Subject)
	}
	slices.Sort(all)
	return all
}

// TestTwoKinds shows that an endpoint with an RSA and an ECDSA certificate
// shows both, each proven, and that what it accepts stands with the first.
func TestTwoKinds(t *testing.T) {
	one, other := named(t, lab.NewRSAKey(t, 2048), "rsa.example"), named(t, lab.NewKey(t), "ec.example")
	for _, maximum := range []uint16{gotls.VersionTLS12, gotls.VersionTLS13} {
		address := lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{one, other}, MaxVersion: maximum})
		s := look(t, nil, address)
		if len(s.Sightings) != 2 || s.Sightings[0].Place != s.Sightings[1].Place || s.Sightings[0].Credential.ID == s.Sightings[1].Credential.ID {
			t.Fatalf("%d sightings: %q", len(s.Sightings), subjects(s))
		}
		for n, sighting := range s.Sightings {
			if sighting.TLS.Evidence != tallystick.EvidenceProven || (len(sighting.TLS.Protocols) > 0) != (n == 0) {
				t.Errorf("%s: evidence %q, protocols %q", sighting.Credential.Subject, sighting.TLS.Evidence, sighting.TLS.Protocols)
			}
		}
	}
}

// TestNames shows that names are asked for at an address.
func TestNames(t *testing.T) {
	byName := map[string]gotls.Certificate{
		"": named(t, lab.NewKey(t), "default.example", "learnt.example", "*.example"), "listed.example": named(t, lab.NewKey(t), "listed.example"),
		"learnt.example": named(t, lab.NewKey(t), "learnt.example"),
	}
	address := lab.ServeTLS(t, &gotls.Config{GetCertificate: func(hello *gotls.ClientHelloInfo) (*gotls.Certificate, error) {
		c, ok := byName[hello.ServerName]
		if !ok {
			c = byName[""]
		}
		return &c, nil
	}})
	for _, c := range []struct {
		options map[string]string
		want    []string
	}{
		{nil, []string{"127.0.0.1: CN=default.example"}},
		{map[string]string{"names": "listed.example,nobody.example"}, []string{"127.0.0.1: CN=default.example", "listed.example: CN=listed.example"}},
		{map[string]string{"follow-names": "true"}, []string{"127.0.0.1: CN=default.example", "learnt.example: CN=learnt.example"}},
	} {
		if d := cmp.Diff(c.want, subjects(look(t, c.options, address))); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.options, d)
		}
	}
}

// TestAddresses shows that every address behind a name is asked: one listener
// of two is still on the old certificate.
func TestAddresses(t *testing.T) {
	fresh, old := named(t, lab.NewKey(t), "new.example"), named(t, lab.NewKey(t), "old.example")
	handle := func(c gotls.Certificate) func(net.Conn) {
		return func(conn net.Conn) {
			gotls.Server(conn, &gotls.Config{Certificates: []gotls.Certificate{c}}).Handshake()
		}
	}
	_, port, _ := net.SplitHostPort(lab.Serve(t, "127.77.0.1:0", handle(fresh)))
	lab.Serve(t, "127.77.0.2:"+port, handle(old))
	lab.Serve(t, "127.77.0.3:"+port, handle(fresh))
	opened, err := Driver().Open(map[string]string{"depth": "certificate", "timeout": "2s"})
	if err != nil {
		t.Fatal(err)
	}
	s := &drivertest.Recorder{}
	l := &lookout{Finder: opened.(*Finder), now: time.Now, sink: s, known: newCertificates(x509.NewCertPool()), dialer: &network.Dialer{
		Timeout: time.Second, Abort: true, Lookup: func(context.Context, string) ([]netip.Addr, error) {
			var all []netip.Addr
			for _, text := range []string{"127.77.0.1", "127.77.0.2", "127.77.0.3", "127.77.0.4"} {
				all = append(all, netip.MustParseAddr(text))
			}
			return all, nil
		},
	}}
	number, err := network.ParsePorts(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.endpoint(context.Background(), network.Endpoint{Scheme: "tls", Host: "www.example", Port: number[0]}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, sighting := range s.Sightings {
		got = append(got, sighting.TLS.Address+" "+sighting.Credential.Subject+" "+string(sighting.Place))
	}
	want := []string{"127.77.0.1 CN=new.example tls://www.example:" + port, "127.77.0.2 CN=old.example tls://www.example:" + port}
	if d := cmp.Diff(want, got); d != "" || len(s.Misses) != 0 {
		t.Errorf("misses %v, (-want +got):\n%s", s.Misses, d)
	}
}

// TestStartTLS speaks what comes before TLS on PostgreSQL.
func TestStartTLS(t *testing.T) {
	p := newPKI(t)
	address := lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) {
		conn.Read(make([]byte, 8))
		conn.Write([]byte("S"))
		gotls.Server(conn, &gotls.Config{Certificates: []gotls.Certificate{p.certificate}}).Handshake()
	})
	s := see(t, nil, "postgres://"+address)
	if s.TLS.StartTLS != "postgres" || s.Place != tallystick.TLSPlace(address) || s.TLS.Evidence != tallystick.EvidenceProven {
		t.Errorf("%s: spoke %q, evidence %q", s.Place, s.TLS.StartTLS, s.TLS.Evidence)
	}
	if missed := look(t, map[string]string{"timeout": "1s"}, "smtp://"+lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{p.certificate}})); len(missed.Misses) != 1 {
		t.Errorf("SMTP at a server of TLS: %d sightings, %d misses", len(missed.Sightings), len(missed.Misses))
	}
}

// TestDepths shows what each depth asks for.
func TestDepths(t *testing.T) {
	p := newPKI(t)
	address := lab.ServeTLS(t, &gotls.Config{
		Certificates: []gotls.Certificate{p.certificate}, MinVersion: gotls.VersionTLS11, NextProtos: []string{"h2"},
		CipherSuites:     []uint16{gotls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, gotls.TLS_RSA_WITH_AES_128_CBC_SHA},
		CurvePreferences: []gotls.CurveID{gotls.X25519, gotls.CurveP384, gotls.X25519MLKEM768},
	})
	f := see(t, map[string]string{"depth": "certificate"}, address).TLS
	if f.Evidence != tallystick.EvidenceSeen || !slices.Equal(f.Protocols, []string{"tls1.2"}) || f.Order != nil || f.ClientAuth != "none" || f.Staple != "none" {
		t.Errorf("certificate: %+v", f)
	}
	f = see(t, nil, address).TLS
	if d := cmp.Diff([]string{"tls1.1", "tls1.2", "tls1.3"}, f.Protocols); d != "" || f.Order != nil || !slices.Equal(f.ALPN, []string{"h2"}) || !slices.Contains(f.Groups, "X25519MLKEM768") {
		t.Errorf("versions: groups %q, protocols (-want +got):\n%s", f.Groups, d)
	}
	if !slices.Contains(f.Suites, "TLS_RSA_WITH_AES_128_CBC_SHA") {
		t.Errorf("versions: suites %q", f.Suites)
	}
	f = see(t, map[string]string{"depth": "suites"}, address).TLS
	old := []string{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"}
	want := map[string][]string{"tls1.1": old, "tls1.2": old, "tls1.3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}}
	if d := cmp.Diff(want, f.Order); d != "" {
		t.Errorf("suites (-want +got):\n%s", d)
	}
	slices.Sort(f.Groups)
	if d := cmp.Diff([]string{"X25519MLKEM768", "secp384r1", "x25519"}, f.Groups); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
}

// TestComplete makes whole handshakes, which see the same as far as crypto/tls goes.
func TestComplete(t *testing.T) {
	p := newPKI(t)
	address := opensslServer(t, "-cert", p.leaf, "-key", p.key, "-cert_chain", p.intermediate, "-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0")
	for _, depth := range []string{"certificate", "versions"} {
		f := see(t, map[string]string{"complete": "true", "depth": depth, "prove": "true", "roots": p.root}, address).TLS
		want := []string{"tls1.0", "tls1.1", "tls1.2", "tls1.3"}
		if depth == "certificate" {
			want = want[3:]
		}
		if d := cmp.Diff(want, f.Protocols); d != "" || f.Evidence != tallystick.EvidenceVerified || f.ClientAuth != "none" {
			t.Errorf("%s: evidence %q, client %q, protocols (-want +got):\n%s", depth, f.Evidence, f.ClientAuth, d)
		}
	}
}

// TestWhoIsLetIn shows whom an endpoint takes for a client.
func TestWhoIsLetIn(t *testing.T) {
	p := newPKI(t)
	for _, options := range []map[string]string{{"depth": "certificate"}, {"complete": "true"}} {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			address := opensslServer(t, "-cert", p.leaf, "-key", p.key, version, "-Verify", "1", "-CAfile", p.root)
			f := see(t, options, address).TLS
			if f.ClientAuth != "requested" || !slices.Equal(f.ClientCAs, []string{"CN=Test Root"}) {
				t.Errorf("%v %s: %q, issuers %q", options, version, f.ClientAuth, f.ClientCAs)
			}
		}
	}
}

// TestRefusedCertificate13 is TestRefusedCertificate at a server of TLS 1.3 alone.
func TestRefusedCertificate13(t *testing.T) {
	dir := t.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	output, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
		"-subj", "/CN=samba", "-set_serial", "-4660", "-days", "30").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, output)
	}
	address := opensslServer(t, "-cert", certificate, "-key", key, "-tls1_3")
	if whole := look(t, map[string]string{"complete": "true"}, address); len(whole.Misses) != 1 || whole.Misses[0].Error != "unsupported" {
		t.Errorf("with whole handshakes: %d sightings, misses %+v", len(whole.Sightings), whole.Misses)
	}
	s := see(t, nil, address)
	if s.Credential.Serial != "-1234" || s.TLS.Evidence != tallystick.EvidenceProven || !strings.Contains(s.TLS.VerifyError, "serial") {
		t.Errorf("serial %q, evidence %q, error %q", s.Credential.Serial, s.TLS.Evidence, s.TLS.VerifyError)
	}
}

// TestRSAKeyExchange shows that a server which never signs proves its key all the same.
func TestRSAKeyExchange(t *testing.T) {
	p := newPKI(t)
	address := opensslServer(t, "-cert", p.leaf, "-key", p.key, "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0")
	f := see(t, nil, address).TLS
	if f.Evidence != tallystick.EvidenceProven || !slices.Equal(f.Suites, []string{"TLS_RSA_WITH_AES_128_CBC_SHA"}) || f.Group != "" {
		t.Errorf("evidence %q, suites %q, group %q", f.Evidence, f.Suites, f.Group)
	}
}

func TestStaple(t *testing.T) {
	p := newPKI(t)
	key := lab.NewKey(t)
	issuer := template("Test Responder", true)
	issuerDER := sign(t, issuer, issuer, key.Public(), key)
	leaf := template("stapled.example", false)
	leafKey := lab.NewKey(t)
	leafDER := sign(t, leaf, issuer, leafKey.Public(), key)
	ca, err := x509.ParseCertificate(issuerDER)
	if err != nil {
		t.Fatal(err)
	}
	respond := func(status int, next time.Time, signer crypto.Signer) []byte {
		der, err := ocsp.CreateResponse(ca, ca, ocsp.Response{
			Status: status, SerialNumber: leaf.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: next, RevokedAt: now,
		}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	later := now.Add(time.Hour)
	for want, response := range map[string][]byte{
		"good": respond(ocsp.Good, later, key), "revoked": respond(ocsp.Revoked, later, key), "unknown": respond(ocsp.Unknown, later, key),
		"expired": respond(ocsp.Good, now.Add(-time.Minute), key), "malformed": respond(ocsp.Good, later, p.certificate.PrivateKey.(crypto.Signer)),
		"none": nil,
	} {
		c := gotls.Certificate{Certificate: [][]byte{leafDER, issuerDER}, PrivateKey: leafKey, OCSPStaple: response}
		f := see(t, map[string]string{"depth": "certificate"}, lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{c}})).TLS
		if f.Staple != want {
			t.Errorf("staple %q, want %q", f.Staple, want)
		}
	}
}

// A checkpointed sink remembers the last position, too.
type checkpointed struct {
	drivertest.Recorder
	last atomic.Pointer[string]
}

func (c *checkpointed) Checkpoint(position string) error {
	c.last.Store(&position)
	return nil
}

// TestResume shows that a look goes on behind what an earlier one has done.
func TestResume(t *testing.T) {
	opened, err := Driver().Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	find := func(resume string) *checkpointed {
		c := &checkpointed{}
		request := driver.FindRequest{Targets: []string{nobody, "127.99.0.0/29:2"}, Now: time.Now, Resume: resume}
		if err := opened.(driver.Finder).Find(context.Background(), request, c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := find("")
	if len(first.Misses) != 9 || first.last.Load() == nil {
		t.Fatalf("%d misses, position %v", len(first.Misses), first.last.Load())
	}
	if again := find(*first.last.Load()); len(again.Misses) != 0 {
		t.Errorf("%d endpoints were asked again", len(again.Misses))
	}
}

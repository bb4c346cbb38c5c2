// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver/host"
)

func TestWords(t *testing.T) {
	got, err := words(`bind  "a b"'c $d'\ e "${HOME}/x" f\#g # h`)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"bind", "a bc $d e", unknown, "f#g"}, got); d != "" {
		t.Error(d)
	}
	if _, err := words(`a "b`); err == nil {
		t.Error("an open quotation mark is taken")
	}
}

const severalFrontends = `
global
	crt-base DIR
	ca-base /ca
defaults
	mode http
frontend one
	bind *:443,[::]:443 ssl crt one.pem crt /other.pem ca-file clients.pem verify required crl-file /crl.pem tls-ticket-keys /keys
	bind :80
	acl denied ssl_c_der,sha2(256),hex -i -f /deny.lst
	http-request deny deny_status 403 if denied
frontend two
	mode tcp
	bind /run/two.sock ssl crt certs
	bind quic4@:443 ssl crt "${HERE}/x.pem"
	bind 127.0.0.1:1 ssl crt-list list.txt accept-proxy
	tcp-request content reject if { ssl_c_der,sha2(256),hex -f /deny.lst } { src 127.0.0.1 }
listen three
	bind ipv4@10.0.0.1:8443 ssl crt one.pem ca-file clients.pem verify optional
	http-request deny if { ssl_c_der,sha2(256),hex -f /another.lst }
	server a 127.0.0.1:2 ssl crt client.pem
`

func TestEvaluating(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(in("certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"haproxy.cfg": strings.ReplaceAll(severalFrontends, "DIR", dir), "list.txt": "# list\na.pem [alpn h2] *.a.test\n/b.pem\n\n", "certs/c.pem": "", "certs/c.pem.key": "",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened, err := Driver().Open(map[string]string{"config": in("haproxy.cfg"), "deny": "/deny.lst", "address": "edge.test"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := opened.(*Door).load(t.Context(), host.Local())
	if err != nil {
		t.Fatal(err)
	}
	want := &site{
		binds: []bind{
			{proxy: "one", http: true, addresses: []string{"edge.test:443", "edge.test:443"}, files: []string{in("one.pem"), "/other.pem"},
				verify: true, clientCA: "/ca/clients.pem", crl: "/crl.pem", ticketKey: true, denies: true},
			{proxy: "two", addresses: []string{"/run/two.sock"}, files: []string{in("certs/c.pem")}, denies: true},
			{proxy: "two", denies: true},
			{proxy: "two", files: []string{in("a.pem"), "/b.pem"}, denies: true},
			{proxy: "three", http: true, addresses: []string{"10.0.0.1:8443"}, files: []string{in("one.pem")}, verify: true, clientCA: "/ca/clients.pem"},
		},
		upstreams: []string{in("client.pem")},
		notes: []string{
			"a listener is not tried: quic4@:443", "a certificate of two is named by a variable, and is not looked at", "a listener is not tried: 127.0.0.1:1",
		},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(site{}, bind{})); d != "" {
		t.Error(d)
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add(severalFrontends)
	f.Add("global\n\nbind \"\nfrontend\nbind a ssl\nbind ssl\nacl\nhttp-request if\n")
	door := &Door{Options{Config: []string{"/etc/haproxy/haproxy.cfg"}, Deny: "/deny.lst"}}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := sections(text)
		if err != nil {
			return
		}
		p := &parser{door: door, ctx: t.Context(), host: host.Local(), site: &site{}}
		for _, one := range all {
			if strings.Contains(text, "crt") {
				p.denies(one.lines) // what reads files is not for hostile texts
			} else if err := p.section(one); err != nil {
				t.Fatal(err)
			}
		}
		p.site.files()
		relist([]byte(text), strings.Repeat("A", 64), len(text)%2 == 0)
	})
}

func FuzzAnswers(f *testing.F) {
	list := &x509.RevocationList{
		ThisUpdate:                time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(0x0a0b)}},
	}
	f.Add("Last Update: Nov  2 03:04:05 2026 GMT\nSerial Number: 0A0B\n")
	f.Add("0x1: proto=tcpv4 src=1:2 fe=a be=b\nPid: 99999999999999999999999\nSHA1 FingerPrint: 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		isList(text, list)
		entries(text)
		fingerprint.FindAllStringSubmatch(text, -1)
		stream.FindAllStringSubmatch(text, -1)
		infoPID.FindStringSubmatch(text)
	})
}

func TestShownLists(t *testing.T) {
	list := &x509.RevocationList{
		ThisUpdate:                time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(0x0a0b)}, {SerialNumber: big.NewInt(0xc)}},
	}
	const date = "Last Update: Nov  2 03:04:05 2026 GMT\n"
	for text, want := range map[string]bool{
		date + "    Serial Number: 0C\n    Serial Number: 0A0B\n":                         true,
		date + "Serial Number: 0C\n":                                                      false,
		date + "Serial Number: 0C\nSerial Number: 0D\n":                                   false,
		"Last Update: Nov  2 03:04:06 2026 GMT\nSerial Number: 0C\nSerial Number: 0A0B\n": false,
		strings.Repeat(" \n", 5000) + date + "Serial Number: 0A0B\nSerial Num":            true,
		"": false,
	} {
		if got := isList(text, list); got != want {
			t.Errorf("%q: %v", text[max(0, len(text)-80):], got)
		}
	}
}

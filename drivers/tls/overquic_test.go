// SPDX-License-Identifier: Apache-2.0

package tls

import (
	gotls "crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"

	"github.com/tallystick/tallystick"
)

// TestOverQUIC asks a server of HTTP/3, and a UDP port where nobody is.
func TestOverQUIC(t *testing.T) {
	p := newPKI(t)
	listener, err := quic.ListenAddr("127.0.0.1:0", &gotls.Config{Certificates: []gotls.Certificate{p.certificate}, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := see(t, nil, "quic://"+listener.Addr().String())
	if want := tallystick.QUICPlace(listener.Addr().String()); s.Place != want || s.Credential.ID != tallystick.FingerprintOf(p.certificate.Certificate[0]) {
		t.Errorf("at %s stands %s", s.Place, s.Credential.ID)
	}
	f := s.TLS
	if d := cmp.Diff([]string{"tls1.3", "h3"}, append(f.Protocols, f.ALPN...)); d != "" || f.Evidence != tallystick.EvidenceProven || f.Staple != "" || f.Suites != nil {
		t.Errorf("facts %+v\n%s", f, d)
	}
	missed := look(t, map[string]string{"timeout": "1s"}, "quic://"+nobody)
	if len(missed.Misses) != 1 || missed.Misses[0].Error != "refused" || missed.Misses[0].Place.Scheme() != "quic" {
		t.Errorf("where nobody is: %+v", missed.Misses)
	}
}

// Whom nobody named is not asked over QUIC either: Linux takes 0.0.0.0 for this
// machine.
func TestOverQUICToNoHost(t *testing.T) {
	asked, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	_, port, err := net.SplitHostPort(asked.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"0.0.0.0": "unreachable", "[::ffff:0.0.0.0]": "unreachable", "127.0.0.1": "excluded"} {
		s := look(t, map[string]string{"timeout": "500ms", "exclude": "127.0.0.0/8"}, "quic://"+host+":"+port)
		if len(s.Misses) != 1 || s.Misses[0].Error != want {
			t.Errorf("%s: %+v, want %s", host, s.Misses, want)
		}
	}
	if err := asked.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, from, err := asked.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("%s sent %d bytes to a server that nobody named", from, n)
	}
}

// SPDX-License-Identifier: Apache-2.0

package tls

import (
	gotls "crypto/tls"
	"testing"

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
	if len(missed.misses) != 1 || missed.misses[0].Error != "refused" || missed.misses[0].Place.Scheme() != "quic" {
		t.Errorf("where nobody is: %+v", missed.misses)
	}
}

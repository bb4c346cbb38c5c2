// SPDX-License-Identifier: Apache-2.0

package tls

import (
	gotls "crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

func TestListeners(t *testing.T) {
	every, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer every.Close()
	other := serve(t, "127.9.8.7:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	targets, err := listeners(os.DirFS("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(every.Addr().String())
	for _, want := range []string{"127.0.0.1:" + port, other} {
		i := slices.IndexFunc(targets, func(t target) bool { return t.hostport() == want })
		if i < 0 || targets[i].process != strings.TrimSpace(string(comm)) {
			t.Errorf("%s is not among %+v as a port of this process", want, targets)
		}
	}
	for _, target := range targets {
		if ip, err := netip.ParseAddr(target.host); err != nil || !ip.IsLoopback() {
			t.Errorf("%s is not loopback", target.hostport())
		}
	}
}

// TestProcessIsNamed looks at an endpoint that the driver found by itself.
func TestProcessIsNamed(t *testing.T) {
	p := newPKI(t)
	address := goServer(t, &gotls.Config{Certificates: []gotls.Certificate{p.certificate}})
	targets, err := listeners(os.DirFS("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	// The others are not ours to dial.
	targets = slices.DeleteFunc(targets, func(t target) bool { return t.hostport() != address })
	if len(targets) != 1 {
		t.Fatalf("%s is not listed", address)
	}
	s := &sink{}
	l := lookout{timeout: time.Second, now: func() time.Time { return now }, sink: s}
	if err := l.endpoint(t.Context(), targets[0]); err != nil {
		t.Fatal(err)
	}
	if len(s.sightings) != 1 || s.sightings[0].TLS.Process == "" || s.sightings[0].Place != tallystick.TLSPlace(address) {
		t.Errorf("sightings %+v, misses %+v", s.sightings, s.misses)
	}
}

func TestDialable(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:07E8":                         "127.0.0.1:2024",
		"0700017F:01BB":                         "127.1.0.7:443",
		"0500000A:01BB":                         "", // 10.0.0.5
		"00000000000000000000000001000000:0016": "[::1]:22",
		"00000000000000000000000000000000:0016": "[::1]:22",
		"0000000000000000FFFF00000100007F:0016": "127.0.0.1:22",
		"xx:0016":                               "",
		"0100007F":                              "",
		"0100007F:FFFFF":                        "",
	} {
		got, ok := dialable(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v %v, want %q", text, got, ok, want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/drivers/tls/hello"
	"github.com/tallystick/tallystick/internal/lab"
)

// TestMisses shows what becomes of servers that are no TLS servers, or bad ones.
func TestMisses(t *testing.T) {
	p := newPKI(t)
	long := gotls.Certificate{PrivateKey: p.certificate.PrivateKey}
	for range 250 {
		long.Certificate = append(long.Certificate, p.leafDER)
	}
	answer := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, text)
			io.Copy(io.Discard, conn)
		}
	}
	for name, c := range map[string]struct {
		target string
		want   string
	}{
		"nobody":     {nobody, "refused"},
		"no name":    {"no-such-host.invalid:443", "no-such-host"},
		"http":       {lab.Serve(t, "127.0.0.1:0", answer("HTTP/1.1 400 Bad Request\r\n\r\n")), "not-tls"},
		"ssh":        {lab.Serve(t, "127.0.0.1:0", answer("SSH-2.0-OpenSSH_9.2p1\r\n")), "not-tls"},
		"hangs up":   {lab.Serve(t, "127.0.0.1:0", func(c net.Conn) { c.Read(make([]byte, 4096)) }), "closed"},
		"alert":      {lab.Serve(t, "127.0.0.1:0", answer("\x15\x03\x03\x00\x02\x02\x28")), "alert-handshake-failure"},
		"tarpit":     {lab.Serve(t, "127.0.0.1:0", func(c net.Conn) { time.Sleep(5 * time.Second) }), "timeout"},
		"trickle":    {lab.Serve(t, "127.0.0.1:0", trickle), "timeout"},
		"reset":      {lab.Serve(t, "127.0.0.1:0", reset), "reset"},
		"bad hello":  {lab.Serve(t, "127.0.0.1:0", answer("\x16\x03\x03\x00\x08\x02\x00\x00\x04\xff\xff\xff\xff")), "malformed"},
		"endless":    {lab.Serve(t, "127.0.0.1:0", endless), "too-large"},
		"huge chain": {lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{long}}), "too-large"},
		"anonymous":  {opensslServer(t, "-nocert", "-cipher", "aNULL:@SECLEVEL=0", "-tls1_2"), "no-certificate"},
		"not in 1.2": {lab.Serve(t, "127.0.0.1:0", answer("\x15\x03\x01\x00\x02\x02\x46")), "alert-protocol-version"},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			s := look(t, map[string]string{"timeout": "1s"}, c.target)
			if len(s.Sightings) != 0 || len(s.Misses) != 1 || s.Misses[0].Error != c.want {
				t.Errorf("sightings %d, misses %+v, want %q", len(s.Sightings), s.Misses, c.want)
			}
			if elapsed := time.Since(started); elapsed > (patience+1)*time.Second {
				t.Errorf("took %v", elapsed)
			}
		})
	}
}

// trickle sends a handshake record one byte a while.
func trickle(conn net.Conn) {
	for _, b := range append([]byte("\x16\x03\x03\x40\x00"), make([]byte, 100)...) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func reset(conn net.Conn) {
	conn.Read(make([]byte, 1))
	conn.(*net.TCPConn).SetLinger(0)
}

// endless sends well-formed records for ever.
func endless(conn net.Conn) {
	conn.Read(make([]byte, 4096))
	record := append([]byte("\x16\x03\x03\x40\x00\x0b\xff\xff\xff"), make([]byte, 0x4000-4)...)
	for {
		if _, err := conn.Write(record); err != nil {
			return
		}
	}
}

// TestSlowAnswers shows that an endpoint which takes every suite, each late, is
// left in time.
func TestSlowAnswers(t *testing.T) {
	suites := hello.SuitesOf(hello.TLS12)
	var count atomic.Int64
	address := lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		time.Sleep(20 * time.Millisecond)
		suite := suites[int(count.Add(1)-1)%len(suites)]
		body := append([]byte{3, 3}, make([]byte, 33)...)
		body = append(body, byte(suite>>8), byte(suite), 0)
		message := append([]byte{2, 0, 0, byte(len(body))}, body...)
		conn.Write(append([]byte{22, 3, 3, 0, byte(len(message))}, message...))
	})
	opened, err := Driver().Open(map[string]string{"timeout": "100ms"})
	if err != nil {
		t.Fatal(err)
	}
	l := &lookout{Finder: opened.(*Finder), dialer: &network.Dialer{Timeout: time.Second}}
	d := &door{lookout: l, address: netip.MustParseAddrPort(address), protocol: "tls", began: time.Now()}
	found := d.peel(context.Background(), &accepted{}, l.hellos.all[hello.TLS12])
	if elapsed := time.Since(d.began); len(found) == 0 || len(found) == len(suites) || elapsed > 2*d.most() {
		t.Errorf("%d of %d suites after %v", len(found), len(suites), elapsed)
	}
}

// TestCancelInTheMiddle shows that what is being looked at when the caller
// gives up is neither seen nor missed.
func TestCancelInTheMiddle(t *testing.T) {
	tarpit := lab.Serve(t, "127.0.0.1:0", func(net.Conn) { time.Sleep(20 * time.Second) })
	opened, err := Driver().Open(map[string]string{"timeout": "20s"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	s, started := &drivertest.Recorder{}, time.Now()
	err = opened.(driver.Finder).Find(ctx, driver.FindRequest{Targets: slices.Repeat([]string{tarpit}, 40), Now: time.Now}, s)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 5*time.Second {
		t.Errorf("error %v after %v", err, time.Since(started))
	}
	if len(s.Sightings)+len(s.Misses) != 0 {
		t.Errorf("%d sightings and %d misses", len(s.Sightings), len(s.Misses))
	}
}

// TestMixedTargets looks at good and bad endpoints together.
func TestMixedTargets(t *testing.T) {
	p := newPKI(t)
	good := lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{p.certificate}})
	bad := nobody
	s := look(t, nil, bad, good, bad, good)
	if len(s.Sightings) != 1 || len(s.Misses) != 1 || s.Misses[0].Place != tallystick.TLSPlace(bad) {
		t.Errorf("%d sightings, misses %+v", len(s.Sightings), s.Misses)
	}
}

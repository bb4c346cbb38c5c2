// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// certificate makes a self-signed one.
func certificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	must(t, err)
	sum := sha256.Sum256(raw)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, hex.EncodeToString(sum[:])
}

// listen serves syslog until the test ends, and returns a function that connects.
func (h *house) listen() func(...tls.Certificate) (*tls.Conn, error) {
	h.Helper()
	own, _ := certificate(h.TB)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(h.TB, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.ServeSyslog(h.Context(), listener, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil },
			func(err error) { h.TB.Log(err) })
	}()
	h.Cleanup(func() { <-ended })
	return func(shown ...tls.Certificate) (*tls.Conn, error) {
		// Whom we are is not what is tested; the port is our own.
		return tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: shown})
	}
}

// framed puts its length before a message.
func framed(message string) string { return fmt.Sprintf("%d %s", len(message), message) }

func TestSyslog(t *testing.T) {
	h := newHouse(t)
	connect := h.listen()
	shown, print := certificate(t)
	_, _, err := h.Add(t.Context(), admin, store.Source{Name: "bastion", Kind: store.SourceSyslog, Side: tallystick.SideRelying, Format: "openssh"}, print)
	must(t, err)
	conn, err := connect(shown)
	must(t, err)
	const accepted = "Accepted publickey for root from 192.0.2.7 port 4711 ssh2: ED25519 SHA256:v4FAmj86e3aW84JPhJNXw3HLfyi2M8uqnQQ4DDvsWPM"
	long := "<13>1 - - - - - - " + strings.Repeat("x", 17<<20)
	_, err = io.WriteString(conn, framed("<38>1 2026-11-20T10:00:01Z host1 sshd 77 - - \ufeff"+accepted)+
		framed("<38>1 2026-11-20T10:00:02Z host1 sshd 77 - [a@1 b=\"\\\"]\"][c] "+accepted+"\n")+
		framed("<38>Nov 20 10:00:03 host1 sshd[77]: "+accepted)+framed("no syslog")+framed(long))
	must(t, err)
	_, err = io.WriteString(conn, framed("<38>1 2026-11-20T10:00:04Z host1 sshd 77 - - "+accepted)) // it goes on behind
	must(t, err)
	h.await("all messages are in", func() bool { one := h.source("bastion"); return one.Records == 4 && one.Malformed == 2 })
	for i, u := range h.uses() {
		if u.Source != "bastion" || u.RelyingParty != "ssh:host1" || u.Address != "192.0.2.7" || !u.Time.Equal(start.Add(time.Duration(i+1)*time.Second)) {
			t.Errorf("%+v", u)
		}
	}
	h.appends.fails(tallystick.ErrNoSpace, nil)
	_, err = io.WriteString(conn, framed("<38>1 2026-11-20T10:00:05Z host1 sshd 77 - - "+accepted))
	must(t, err)
	h.await("it shows that nothing can be taken in", func() bool { return h.source("bastion").Error != "" })
	h.appends.fails(nil, nil)
	h.await("what came meanwhile is taken in", func() bool { one := h.source("bastion"); return one.Records == 5 && one.Error == "" })
	must(t, h.Pause(t.Context(), admin, "bastion"))
	must(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, errTimeout(err)) {
		t.Errorf("a paused source is still connected: %v", err)
	}
}

// errTimeout returns err when it is a timeout.
func errTimeout(err error) error {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return err
	}
	return io.ErrNoProgress
}

func TestSyslogOfStrangers(t *testing.T) {
	h := newHouse(t)
	connect := h.listen()
	stranger, _ := certificate(t)
	for name, shown := range map[string][]tls.Certificate{"unknown": {stranger}, "none": nil} {
		conn, err := connect(shown...)
		if err == nil {
			_, _ = io.WriteString(conn, framed("<38>1 2026-11-20T10:00:01Z h a - - - x"))
			must(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || errors.Is(err, errTimeout(err)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSyslogHeads(t *testing.T) {
	for _, row := range []struct{ message, line, text string }{
		{`<134>Nov 22 05:00:00 haproxy[1]: {"a": 1}`, `Nov 22 05:00:00 haproxy[1]: {"a": 1}`, `{"a": 1}`},
		{`<134>Nov 22 05:00:00 lb1 haproxy[1]: {"a": 1}`, `Nov 22 05:00:00 lb1 haproxy[1]: {"a": 1}`, `{"a": 1}`},
		{`<134>Nov  2 05:00:00 {"a": 1}`, `Nov  2 05:00:00 {"a": 1}`, `{"a": 1}`},
		{`<0>2026-11-22T05:00:00.5+01:00 h p: x`, `2026-11-22T05:00:00.5+01:00 h p: x`, `x`},
		{"<191>1 - - - - - -", "- - -: ", ""},
		{"<1>1 t h a p m [x] y", "t h a[p]: y", "y"},
		{"<1>1 t h a p m [x y=\"]\\\\\"] z", "t h a[p]: z", "z"},
		{"<1>1 t h a p m [x", "", ""}, {"<1>1 t h a p m -x", "", ""}, {"<1>1 t h  p m - x", "", ""}, {"<1>", "", ""},
		{"<>x", "", ""}, {"<1234>x", "", ""}, {"<1a>x", "", ""}, {"x", "", ""}, {"", "", ""},
	} {
		head, err := parseSyslog([]byte(row.message))
		if row.line == "" {
			if err == nil {
				t.Errorf("%q: %+v", row.message, head)
			}
			continue
		}
		if diff := cmp.Diff([2]string{row.line, row.text}, [2]string{head.line, head.text}); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", row.message, err, diff)
		}
	}
}

func FuzzSyslog(f *testing.F) {
	for _, seed := range []string{
		framed("<38>1 2026-11-20T10:00:01Z h a p m [x y=\"]\\\"\"] \ufefftext") + framed("<1>Nov 22 05:00:00 h p[1]: x"),
		"0 ", "9999999999 x", "99999999999 ", "01 x", " ", "3 <1", "5 <1>1 ", "17000000 x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReader(strings.NewReader(string(stream)))
		taken := 0
		for {
			text, err := readFrame(r, func(bool) {})
			if err != nil && !errors.Is(err, errFrameLong) {
				return
			}
			if taken += len(text); taken > len(stream) {
				t.Fatal("more came out than went in")
			}
			if head, err := parseSyslog(text); err == nil && len(head.text) > len(text) {
				t.Fatalf("%q is longer than %q", head.text, text)
			}
		}
	})
}

// TestSyslogHoldsLittle sends messages of a mebibyte while nothing can be taken in.
func TestSyslogHoldsLittle(t *testing.T) {
	h := newHouse(t)
	shown, fingerprint := certificate(t)
	_, _, err := h.Add(t.Context(), admin, store.Source{Name: "edge", Kind: store.SourceSyslog, Side: tallystick.SideRelying, Format: "use"}, fingerprint)
	must(t, err)
	h.appends.fails(errors.New("not now"), nil)
	conn, err := h.listen()(shown)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
	message := []byte(framed("<13>1 2026-11-20T10:00:00Z host app - - - " + strings.Repeat("x", 1<<20)))
	sent := 0
	for range 60 {
		n, err := conn.Write(message)
		if sent += n; err != nil {
			break
		}
	}
	// A batch that could not be handed over, what waits, and what two sockets hold.
	if most := 20 << 20; sent > most {
		t.Errorf("%d bytes were read that nobody could take in; want less than %d", sent, most)
	}
}

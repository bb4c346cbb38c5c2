// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A stage is a connection whose other side has said everything already.
type stage struct {
	net.Conn
	says io.Reader
}

func (s stage) Read(p []byte) (int, error)  { return s.says.Read(p) }
func (s stage) Write(p []byte) (int, error) { return len(p), nil }

// FuzzDialogues lets a server say anything. Whatever it says, the dialogue ends, and
// its verdict is printable and short.
func FuzzDialogues(f *testing.F) {
	for protocol, says := range map[string]string{
		"https":    "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
		"imaps":    "* OK\r\n+\r\n* CAPABILITY\r\np OK in\r\n",
		"imap":     "p NO [UNAVAILABLE] later\r\n",
		"pop3s":    "+OK\r\n+ \r\n-ERR [AUTH] no\r\n",
		"smtps":    "220 a\r\n250-a\r\n250 b\r\n250 ok\r\n554 5.7.1 no\r\n250 ok\r\n",
		"ldaps":    "\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x31\x04\x00\x04\x00",
		"postgres": "E\x00\x00\x00\x14C28000\x00Mno\x00\x00",
	} {
		f.Add(protocol, []byte(says))
	}
	f.Fuzz(func(t *testing.T, protocol string, says []byte) {
		d, ok := dialogueOf(protocol)
		if !ok || protocol == "tls" {
			return
		}
		conn := stage{says: bytes.NewReader(says)}
		party := &talk{conn: conn, in: bufio.NewReaderSize(conn, lineLimit)}
		party.Listener = driver.Listener{Address: "127.0.0.1:1", Protocol: protocol, Details: map[string]string{"user": "alice", "recipient": "a@b.test"}}
		for _, step := range []func(*talk) (verdict, error){d.signIn, d.again} {
			v, err := step(party)
			if err != nil {
				v = party.failure(t.Context(), err)
			}
			if v.outcome == "" || len(v.answer) > answerLimit || strings.ContainsFunc(v.answer, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%s: %+v", protocol, v)
			}
		}
	})
}

// FuzzSessions reads sessions that somebody damaged: ErrInvalid, or something to try.
func FuzzSessions(f *testing.F) {
	good, err := writeSessions([]session{
		{Way: driver.WayResumed12, Made: time.Unix(0, 0), Numbered: &numbered{ID: make([]byte, numberLength), Secret: make([]byte, 48), Suite: 0xc02b}, Server: []byte{0x30, 0}},
		{Way: driver.WayResumed13, Ticket: []byte{1}, State: []byte{3, 4, 2}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"sessions":[{"way":"resumed-tls1.2","numbered":{}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		sessions, err := readSessions(text)
		if err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if state, err := s.resumption(); err == nil && state == nil {
				t.Fatal("neither a session nor an error")
			}
		}
	})
}

// FuzzServerHello reads what a server says first.
func FuzzServerHello(f *testing.F) {
	hello := "\x16\x03\x03\x00\x4e\x02\x00\x00\x4a\x03\x03" + strings.Repeat("r", 32) + "\x20" + strings.Repeat("i", 32) + "\xc0\x2b\x00\x00\x04\x00\x17\x00\x00"
	f.Add([]byte(hello))
	f.Add([]byte(hello[:50]))
	f.Fuzz(func(t *testing.T, heard []byte) {
		if n := readServerHello(heard); n != nil && (len(n.ID) != numberLength || !bytes.Contains(heard, n.ID)) {
			t.Fatalf("%+v", n)
		}
	})
}

func TestServerHello(t *testing.T) {
	hello := "\x16\x03\x03\x00\x50\x02\x00\x00\x4c\x03\x03" + strings.Repeat("r", 32) + "\x20" + strings.Repeat("i", 32) + "\xc0\x2b\x00\x00\x04\x00\x17\x00\x00"
	n := readServerHello([]byte(hello))
	if n == nil || string(n.ID) != strings.Repeat("i", 32) || n.Suite != 0xc02b || !n.EMS {
		t.Errorf("read %+v", n)
	}
}

func TestAddressesOfANameAreBounded(t *testing.T) {
	text := "127.0.0.1       STREAM localhost\n127.0.0.1       DGRAM\n::1 STREAM\n\nnonsense here\n::ffff:127.0.0.1 RAW\n"
	if got := addressesIn([]byte(text)); strings.Join(got, " ") != "127.0.0.1 ::1" {
		t.Errorf("got %v", got)
	}
}

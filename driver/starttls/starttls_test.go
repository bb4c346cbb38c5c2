// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// A script is the client's end of a connection whose other end says fixed texts,
// one for each read, and then closes.
type script struct {
	net.Conn
	says  []string
	heard bytes.Buffer
	read  int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.says) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.says[0])
	s.read += n
	if s.says[0] = s.says[0][n:]; s.says[0] == "" {
		s.says = s.says[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return s.heard.Write(p) }

func (s *script) SetDeadline(time.Time) error { return nil }

// wordOf says how Upgrade ended: "ready", the word of its error, or the error.
func wordOf(err error) string {
	var fault *Error
	switch {
	case err == nil:
		return "ready"
	case errors.As(err, &fault):
		return fault.Word
	}
	return err.Error()
}

// wantWord tests that an error is one of the dialogue with a word.
func wantWord(t *testing.T, want string, err error) {
	t.Helper()
	if got := wordOf(err); got != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
}

// A conversation is what a server says, a read's worth each, and how that ends.
type conversation struct {
	protocol string
	says     []string
	want     string
}

const (
	mysqlGreeting = "\x28\x00\x00\x00\x0a8.0\x00" + "\x01\x00\x00\x00" + "12345678\x00" + "\xff\xff" + "!\x02\x00\xff\xff\x15" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "1234"
	mysqlWithout  = "\x28\x00\x00\x00\x0a8.0\x00" + "\x01\x00\x00\x00" + "12345678\x00" + "\xff\xf7" + "!\x02\x00\xff\xff\x15" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "1234"
	xmppHead      = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' id='1' version='1.0'>"
	xmppOffer     = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
	xmppProceed   = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	rdpHead       = "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00"
)

var conversations = []conversation{
	{"smtp", []string{"220 mail\r\n", "250-mail\r\n250-SIZE 1\r\n250 starttls\r\n", "220 go\r\n"}, "ready"},
	{"smtp", []string{"220-a\r\n220-b\r\n220\r\n", "250-mail\n250 STARTTLS\n", "220 go\n"}, "ready"},
	{"smtp", []string{"220 mail\r\n", "250 STARTTLS\r\n"}, NoStartTLS}, // the first line is the greeting
	{"smtp", []string{"220 mail\r\n", "250-mail\r\n250 SIZE\r\n"}, NoStartTLS},
	{"smtp", []string{"220 mail\r\n", "502 what?\r\n"}, NoStartTLS},
	{"smtp", []string{"220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "454 no\r\n"}, NoStartTLS},
	{"smtp", []string{"554 go away\r\n"}, Declined},
	{"smtp", []string{"220 mail\r\n", "250-mail\r\n251 STARTTLS\r\n"}, BadDialogue},
	{"smtp", []string{"220 mail\r\n", "hello\r\n"}, BadDialogue},
	{"smtp", []string{"SSH-2.0-OpenSSH\r\n"}, "not-smtp"},
	{"smtp", []string{"* OK imap\r\n"}, "not-smtp"},
	{"smtp", []string{"\x16\x03\x01\x00\x00"}, "not-smtp"},
	{"smtp", []string{"220x\r\n"}, "not-smtp"},
	{"smtp", nil, "EOF"},
	{"smtp", []string{"220 ma"}, "unexpected EOF"},
	{"smtp", []string{"220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"}, Injected},
	{"smtp", []string{strings.Repeat("220-again\r\n", 9999)}, TooLarge},
	{"smtp", []string{strings.Repeat("2", 99999)}, TooLarge},
	{"lmtp", []string{"220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 go\r\n"}, "ready"},

	{"ftp", []string{"120 wait\r\n220-a\r\n free text\r\n331 text\r\n220 b\r\n", "234 go\r\n"}, "ready"},
	{"ftp", []string{"220 a\r\n", "530 first sign in\r\n"}, NoStartTLS},
	{"ftp", []string{"421 busy\r\n"}, Declined},
	{"ftp", []string{"free text\r\n"}, "not-ftp"},
	{"ftp", []string{"220 a\r\n", "234 go\r\n\x16\x03\x03"}, Injected},

	{"nntp", []string{"201 news\r\n", "382 go\r\n"}, "ready"},
	{"nntp", []string{"200 news\r\n", "580 no\r\n"}, NoStartTLS},
	{"nntp", []string{"502 no\r\n"}, Declined},

	{"pop3", []string{"+OK a\r\n", "+OK b\r\n"}, "ready"},
	{"pop3", []string{"+OK a\r\n", "-ERR no\r\n"}, NoStartTLS},
	{"pop3", []string{"-ERR busy\r\n"}, Declined},
	{"pop3", []string{"+OK a\r\n", "what\r\n"}, BadDialogue},
	{"pop3", []string{"220 a\r\n"}, "not-pop3"},
	{"pop3", []string{"+OK a\r\n", "+OK b\r\n+OK c\r\n"}, Injected},

	{"imap", []string{"* OK [CAPABILITY IMAP4rev1] a\r\n", "* CAPABILITY X\r\ntallystick OK go\r\n"}, "ready"},
	{"imap", []string{"* PREAUTH a\r\n"}, NoStartTLS},
	{"imap", []string{"* BYE a\r\n"}, Declined},
	{"imap", []string{"* OK a\r\n", "tallystick BAD no\r\n"}, NoStartTLS},
	{"imap", []string{"* OK a\r\n", "* BYE\r\n"}, Declined},
	{"imap", []string{"* OK a\r\n", "other OK\r\n"}, BadDialogue},
	{"imap", []string{"+OK a\r\n"}, "not-imap"},
	{"imap", []string{"* OK a\r\n", "tallystick OK go\r\n* CAPABILITY EVIL\r\n"}, Injected},
	{"imap", []string{"* OK a\r\n", strings.Repeat("* 1 EXISTS\r\n", 9999)}, TooLarge},

	{"sieve", []string{"\"SIEVE\" {3+}\r\nOK \r\n\"STARTTLS\"\r\nOK\r\n", "OK \"go\"\r\n"}, "ready"},
	{"sieve", []string{"\"SIEVE\" \"x\"\r\nOK\r\n"}, NoStartTLS},
	{"sieve", []string{"\"STARTTLS\"\r\nOK\r\n", "NO\r\n"}, NoStartTLS},
	{"sieve", []string{"BYE\r\n"}, Declined},
	{"sieve", []string{"\"A\" {x}\r\n"}, BadDialogue},
	{"sieve", []string{"\"A\" {2147483647}\r\n"}, TooLarge},
	{"sieve", []string{"hello\r\n"}, "not-sieve"},
	{"sieve", []string{"\"STARTTLS\"\r\nOK\r\n", "OK\r\n\"SASL\" \"EVIL\"\r\n"}, Injected},

	{"ldap", []string{"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}, "ready"},
	{"ldap", []string{"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"}, "ready"},
	{"ldap", []string{"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00"}, NoStartTLS},
	{"ldap", []string{"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00"}, Declined},
	{"ldap", []string{"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"}, BadDialogue},
	{"ldap", []string{"\x30\x03\x02\x01\x01"}, "not-ldap"},
	{"ldap", []string{"\x30\x80\x02\x01\x01"}, "not-ldap"},
	{"ldap", []string{"\x30\x89\x01\x02\x03\x04\x05\x06\x07\x08\x09"}, "not-ldap"},
	{"ldap", []string{"\x30\x84\x7f\xff\xff\xff"}, TooLarge},
	{"ldap", []string{"\x30\x84\xff\xff\xff\xff"}, TooLarge},
	{"ldap", []string{"HTTP/1.1 400 Bad Request\r\n"}, "not-ldap"},
	{"ldap", []string{"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30"}, Injected},

	{"postgres", []string{"S"}, "ready"},
	{"postgres", []string{"N"}, NoStartTLS},
	{"postgresql", []string{"E\x00\x00\x00"}, Declined},
	{"postgres", []string{"HTTP"}, "not-postgres"},
	{"postgres", []string{"SR\x00\x00\x00\x08"}, Injected}, // CVE-2021-23222

	{"mysql", []string{mysqlGreeting}, "ready"},
	{"mysql", []string{mysqlWithout}, NoStartTLS},
	{"mysql", []string{"\x0a\x00\x00\x00\xff\x10\x04Too many"}, Declined},
	{"mysql", []string{"\x04\x00\x00\x00\x0a8.0"}, "not-mysql"},
	{"mysql", []string{"\x04\x00\x00\x00\x098.0"}, "not-mysql"},
	{"mysql", []string{"220 mail\r\n"}, "not-mysql"},
	{"mysql", []string{mysqlGreeting + "\x00"}, Injected},

	{"xmpp-client", []string{xmppHead, xmppOffer, xmppProceed}, "ready"},
	{"xmpp-client", []string{xmppHead + "<stream:features><bind xmlns='x'><a><b/></a></bind></stream:features>"}, NoStartTLS},
	{"xmpp-client", []string{xmppHead, xmppOffer, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}, NoStartTLS},
	{"xmpp-client", []string{xmppHead + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}, HostUnknown},
	{"xmpp-client", []string{xmppHead + "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}, Declined},
	{"xmpp-client", []string{"<!DOCTYPE a [<!ENTITY b 'c'>]>"}, "not-xmpp-client"},
	{"xmpp-client", []string{xmppHead, "<stream:features>&b;</stream:features>"}, BadDialogue},
	{"xmpp-client", []string{xmppHead, "<stream:features>" + strings.Repeat("<a>", 20000)}, TooLarge},
	{"xmpp-client", []string{"<html>"}, "not-xmpp-client"},
	{"xmpp-client", []string{"HTTP/1.1 400 Bad Request\r\n"}, "not-xmpp-client"},
	{"xmpp-client", []string{xmppHead, xmppOffer, xmppProceed + "<stream:features>"}, Injected},
	{"xmpp-client", []string{"</stream:stream>"}, "not-xmpp-client"},
	{"xmpp-server", []string{xmppHead + "</stream:stream>"}, BadDialogue},

	{"irc", []string{":a NOTICE * :looking you up\r\nPING :12\r\n", ":a 670 * :go\r\n"}, "ready"},
	{"irc", []string{":a 421 * STARTTLS :unknown\r\n"}, NoStartTLS},
	{"irc", []string{"ERROR :banned\r\n"}, Declined},
	{"irc", []string{"220 mail\r\n"}, "not-irc"},
	{"irc", []string{":a 670 * :go\r\n:a 001 you :welcome\r\n"}, Injected},

	{"nats", []string{"INFO {\"tls_required\":true}\r\n"}, "ready"},
	{"nats", []string{"INFO {\"tls_available\":true} \r\n"}, "ready"},
	{"nats", []string{"INFO {}\r\n"}, NoStartTLS},
	{"nats", []string{"INFO {\r\n"}, "not-nats"},
	{"nats", []string{"-ERR 'busy'\r\n"}, "not-nats"},
	{"nats", []string{"INFO {\"tls_required\":true}\r\nPING\r\n"}, Injected},

	{"rdp", []string{rdpHead + "\x02\x00\x08\x00\x02\x00\x00\x00"}, "ready"},
	{"rdp", []string{rdpHead + "\x02\x00\x08\x00\x00\x00\x00\x00"}, NoStartTLS},
	{"rdp", []string{rdpHead + "\x03\x00\x08\x00\x02\x00\x00\x00"}, NoStartTLS},
	{"rdp", []string{"\x03\x00\x00\x0b\x06\xd0\x00\x00\x12\x34\x00"}, NoStartTLS},
	{"rdp", []string{"\x03\x00\x00\x0b\x06\xf0\x00\x00\x12\x34\x00"}, "not-rdp"},
	{"rdp", []string{"\x03\x00\x00\x05\x06"}, "not-rdp"},
	{"rdp", []string{"HTTP/1.1 400\r\n"}, "not-rdp"},
	{"rdp", []string{rdpHead + "\x02\x00\x08\x00\x02\x00\x00\x00\x16"}, Injected},
}

func TestConversations(t *testing.T) {
	for _, c := range conversations {
		conn := &script{says: append([]string(nil), c.says...)}
		if got := wordOf(Upgrade(context.Background(), conn, c.protocol, "localhost")); got != c.want {
			t.Errorf("%s %.200q: %s, want %s", c.protocol, c.says, got, c.want)
		}
		if conn.read > readLimit {
			t.Errorf("%s %.200q: read %d bytes", c.protocol, c.says, conn.read)
		}
	}
}

// Whoever reads the log of a server must be able to tell who came.
func TestVisitorNamesItself(t *testing.T) {
	for _, c := range []conversation{
		{"smtp", []string{"220 a\r\n"}, "EHLO tallystick.invalid\r\n"},
		{"lmtp", []string{"220 a\r\n"}, "LHLO tallystick.invalid\r\n"},
		{"imap", []string{"* OK a\r\n"}, "tallystick STARTTLS\r\n"},
		{"xmpp-server", nil, " to='localhost' from='tallystick.invalid' "},
		{"rdp", nil, "mstshash=tallystick\r\n"},
	} {
		conn := &script{says: c.says}
		if err := Upgrade(context.Background(), conn, c.protocol, "localhost"); err == nil {
			t.Errorf("%s: ready after half a dialogue", c.protocol)
		}
		if !strings.Contains(conn.heard.String(), c.want) {
			t.Errorf("%s said %q, want %q", c.protocol, conn.heard.String(), c.want)
		}
	}
}

func TestDirectProtocolsSayNothing(t *testing.T) {
	for _, p := range Protocols() {
		if _, spoken := dialogues[p.Dialogue]; spoken == p.Direct() {
			t.Errorf("%s: direct is %v, has a dialogue: %v", p.Scheme, p.Direct(), spoken)
		}
		if p.Direct() {
			if err := Upgrade(context.Background(), nil, p.Scheme, ""); err != nil { // a nil conn would panic
				t.Errorf("%s: %v", p.Scheme, err)
			}
		}
	}
}

func TestPorts(t *testing.T) {
	got := map[uint16]string{}
	for _, port := range []uint16{25, 587, 443, 389, 5432, 8883, 12345} {
		p, _ := ForPort(port)
		got[port] = p.Scheme
	}
	want := map[uint16]string{25: "smtp", 587: "smtp", 443: "https", 389: "ldap", 5432: "postgres", 8883: "mqtts", 12345: ""}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSenselessRequests(t *testing.T) {
	for _, c := range []struct{ protocol, host string }{
		{"gopher", "localhost"}, {"", "localhost"}, {"xmpp-client", "a'><evil"}, {"smtp", "a\r\nQUIT"}, {"smtp", ""},
	} {
		if err := Upgrade(context.Background(), &script{}, c.protocol, c.host); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q, %q: %v, want ErrInvalid", c.protocol, c.host, err)
		}
	}
}

// peer is a server on loopback that does with its first visitor what it wants.
func peer(t *testing.T, serve func(*net.TCPConn)) net.Conn {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		if conn, err := listener.AcceptTCP(); err == nil {
			defer conn.Close()
			serve(conn)
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); listener.Close(); <-done })
	return conn
}

func TestTarpitEndsAtTheDeadline(t *testing.T) {
	conn := peer(t, func(conn *net.TCPConn) {
		for {
			if _, err := conn.Write([]byte("2")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if err := Upgrade(context.Background(), conn, "smtp", "localhost"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestContextEndsADialogue(t *testing.T) {
	conn := peer(t, func(conn *net.TCPConn) { conn.Read(make([]byte, 1)) })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := Upgrade(ctx, conn, "smtp", "localhost"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the error of the context", err)
	}
}

func TestReset(t *testing.T) {
	conn := peer(t, func(conn *net.TCPConn) {
		conn.Write([]byte("220 mail\r\n"))
		conn.Read(make([]byte, 100))
		conn.SetLinger(0)
	})
	if err := Upgrade(context.Background(), conn, "smtp", "localhost"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// A talk is a connection under TLS on which somebody signs in.
type talk struct {
	spot
	conn  net.Conn
	in    *bufio.Reader
	raw   *limited
	asked bool       // the server asked for a certificate of the client
	said  chan error // of hear: the server has said something
}

// A verdict is what came of a try.
type verdict struct{ outcome, answer string }

func accepted(answer string) verdict { return verdict{driver.OutcomeAccepted, clean(answer)} }
func refused(answer string) verdict  { return verdict{driver.OutcomeRefused, clean(answer)} }
func failed(answer string) verdict   { return verdict{driver.OutcomeFailed, clean(answer)} }

// A dialogue is how a protocol signs in, and how it uses a connection once more. An
// error is one of the connection, or words that the protocol does not know.
type dialogue struct {
	signIn, again func(*talk) (verdict, error)
}

// dialogueOf returns the dialogue of a protocol of TLS.
func dialogueOf(protocol string) (dialogue, bool) {
	d, ok := map[string]dialogue{
		"tls":      {listen, listen},
		"https":    {get, get},
		"imap":     {imap, imapAgain},
		"imaps":    {imap, imapAgain},
		"pop3":     {pop3, pop3Again},
		"pop3s":    {pop3, pop3Again},
		"smtp":     {smtp, mail},
		"smtps":    {smtp, mail},
		"ldap":     {ldap, ldapAgain},
		"ldaps":    {ldap, ldapAgain},
		"postgres": {postgres, postgresAgain},
	}[protocol]
	return d, ok
}

// lineLimit bounds one line of an answer, in bytes.
const lineLimit = 8 << 10

// line reads a line without its end.
func (t *talk) line() (string, error) {
	t.awaitListener()
	line, err := t.in.ReadSlice('\n')
	if err != nil {
		if err == bufio.ErrBufferFull {
			return "", fmt.Errorf("a line of more than %d bytes", lineLimit)
		}
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// send writes text. Where the server has hung up meanwhile, the error is what it said
// before: a server of TLS 1.3 refuses a certificate while the client already asks.
func (t *talk) send(format string, args ...any) error {
	_, err := fmt.Fprintf(t.conn, format, args...)
	return t.sent(err)
}

func (t *talk) sent(err error) error {
	if err == nil {
		return nil
	}
	t.awaitListener()
	if _, said := t.in.Peek(1); said != nil {
		if _, ok := alertIn(said); ok {
			return said
		}
	}
	return err
}

// quiet is how long a server has for an alert, where nothing else is known of it, and for
// closing a connection after its last words.
const quiet = time.Second

// listen is the dialogue of servers that are only known to speak TLS: it waits a
// moment for an alert. A server that says nothing has let the client in, as far as TLS
// can tell.
func listen(t *talk) (verdict, error) {
	if c, ok := t.conn.(*tls.Conn); ok && c.ConnectionState().Version < tls.VersionTLS13 {
		return accepted("the handshake is done"), nil // which says yes or no in TLS 1.2
	}
	heard, err := t.hear()
	switch {
	case err != nil:
		return verdict{}, err
	case !heard:
		return accepted("no alert"), nil
	}
	t.in.Discard(t.in.Buffered()) // which cannot fail
	return accepted("the server speaks"), nil
}

// parting is the verdict on what a server answered on an open connection, of which one that
// is in trouble, or ends, says nothing about the credential. Where it then closes the
// connection, that is the error.
func (t *talk) parting(v verdict) (verdict, error) {
	if v.outcome != driver.OutcomeFailed {
		return v, nil
	}
	_, err := t.hear()
	return v, err
}

// hear waits a moment for the server to say something, or to close the connection. When
// neither happens it goes on listening behind the next use.
func (t *talk) hear() (heard bool, err error) {
	if t.said == nil {
		t.said = make(chan error, 1)
		go func(said chan<- error) { // ends with the connection at the latest
			_, err := t.in.Peek(1)
			said <- err
		}(t.said)
	}
	select {
	case err := <-t.said:
		t.said = nil
		return true, err
	case <-time.After(quiet):
		return false, nil
	}
}

// awaitListener waits until a hear that went on has heard something: one at a time may read.
func (t *talk) awaitListener() {
	if t.said != nil {
		<-t.said
		t.said = nil
	}
}

// failure is the verdict where a connection ended before the protocol had an answer.
func (t *talk) failure(ctx context.Context, err error) verdict {
	alert, ok := alertIn(err)
	switch {
	case ok && refuses(alert, t.asked):
		return refused(alert.Error())
	case ok:
		return failed(alert.Error())
	}
	return failed(because(ctx, err))
}

// The alerts that speak of a certificate (RFC 8446 section 6.2), by their numbers.
const (
	alertHandshakeFailure = 40
	alertBadCertificate   = 42
	alertUnknown          = 46
	alertUnknownCA        = 48
	alertAccessDenied     = 49
	alertProtocolVersion  = 70
	alertRequired         = 116
)

// refuses says whether an alert is a no to the certificate of the client. The general
// handshake_failure is one where the server had asked for it.
func refuses(alert tls.AlertError, asked bool) bool {
	return alert >= alertBadCertificate && alert <= alertUnknown || alert == alertUnknownCA || alert == alertAccessDenied ||
		alert == alertRequired || alert == alertHandshakeFailure && asked
}

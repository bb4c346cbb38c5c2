// SPDX-License-Identifier: Apache-2.0

// Package starttls speaks what stands before TLS on protocols that begin in
// plain text, until the server waits for a ClientHello.
//
// Upgrade speaks the preface of one protocol on a connection that has just been
// made. It says no more than it must, signs in nowhere, and names itself
// ("tallystick.invalid") where the protocol has room for a name, so that whoever
// reads the server's log can tell where the visit came from.
//
// What the server says is hostile until TLS has begun, and after it: at most
// readLimit bytes of it are read, its time is bounded by the deadline of the
// connection, and what it says beyond the answer that lets TLS begin is an error,
// not something to leave for the TLS library (the mirror image of CVE-2011-0411).
package starttls

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// self is how the visitor names itself. No host can have this name (RFC 2606
// section 2).
const self = "tallystick.invalid"

// The words of an Error. Beside them there is notA with the name of the
// dialogue.
const (
	NoStartTLS  = "no-starttls"  // it speaks the protocol, but does not begin TLS
	Declined    = "declined"     // it speaks the protocol, but not with this visitor or not now
	HostUnknown = "host-unknown" // it wants to be called by another name (XMPP)
	BadDialogue = "bad-dialogue" // it began well and went on in a way that the protocol does not know
	TooLarge    = "too-large"    // it said more than a dialogue needs
	Injected    = "injected"     // plain bytes came behind the answer that lets TLS begin
)

// notA begins the word for a server whose first words are of another protocol:
// "not-smtp".
const notA = "not-"

// An Error says in one word why TLS cannot begin, and in a detail that quotes
// the server with everything unprintable escaped.
type Error struct{ Word, Detail string }

func (e *Error) Error() string { return e.Word + ": " + e.Detail }

// OtherProtocol says that the first words of the server were of another protocol
// than the one it was asked in.
func (e *Error) OtherProtocol() bool { return strings.HasPrefix(e.Word, notA) }

// Upgrade speaks the preface of a protocol on conn, which must be fresh, until
// the server is ready for a ClientHello. Not a byte behind the preface is taken
// from conn. A protocol that begins with TLS has no preface: nothing is read or
// written then. The protocol is a scheme of Protocols; host is the name of the
// server, or its address, without brackets.
//
// The error is an *Error when the server's words are at fault, an error of conn
// (a deadline that has passed, a reset) as conn gave it, io.EOF when it closed
// without a word and io.ErrUnexpectedEOF later, the error of ctx when that has
// ended (conn is then past its deadline, too), or ErrInvalid for a protocol or
// host that cannot be. After an error conn is good for nothing but Close.
func Upgrade(ctx context.Context, conn net.Conn, protocol, host string) error {
	p, ok := Lookup(protocol)
	if !ok {
		return fmt.Errorf("%w: unknown protocol %q", tallystick.ErrInvalid, protocol)
	}
	if p.Direct() {
		return nil
	}
	if host == "" || strings.ContainsFunc(host, unfit) {
		return fmt.Errorf("%w: %q is not the name or address of a server", tallystick.ErrInvalid, host)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	d := &dialogue{conn: conn, name: p.Dialogue, host: host}
	err := dialogues[p.Dialogue](d)
	if err == nil {
		err = d.nothingLeft()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// unfit says whether a character would let a host name break out of its place in
// a line or an attribute.
func unfit(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>"'&`, r) }

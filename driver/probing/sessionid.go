// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// A numbered session of TLS 1.2 is one that the server keeps itself and knows by a
// number, the session ID (RFC 5246 section 7.3). A server that resumes such a session
// does not look at the client's certificate again, so that it is what a thief tries
// where there are no tickets. Package crypto/tls keeps tickets only, but does all that
// comes behind: what is missing is to learn the number and the secret of a first
// handshake, and to send that number in a second one.
type numbered struct {
	ID     []byte `json:"id"`
	Secret []byte `json:"secret"` // the master secret
	Suite  uint16 `json:"suite"`
	EMS    bool   `json:"ems"` // extended master secret (RFC 7627)
}

// numberLength is the length of a number that can be sent: that of the random one in
// whose place it goes. Servers make no others.
const numberLength = 32

// An ear listens to a first handshake.
type ear struct {
	net.Conn
	heard  []byte // the first bytes that the server sent
	secret string // the line of the key log
}

const earLimit = 4 << 10 // a ServerHello is much shorter

func (e *ear) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.heard = append(e.heard, p[:min(n, earLimit-len(e.heard))]...)
	return n, err
}

// writeKey takes a line of the key log, the only way to the master secret.
func (e *ear) writeKey(line []byte) (int, error) {
	if len(line) <= earLimit && strings.HasPrefix(string(line), "CLIENT_RANDOM ") {
		e.secret = string(line)
	}
	return len(line), nil
}

// A keyLog is the io.Writer that crypto/tls wants for its key log.
type keyLog struct{ ear *ear }

func (k keyLog) Write(line []byte) (int, error) { return k.ear.writeKey(line) }

// session returns what a handshake of TLS 1.2 has made, or nil where the server keeps
// no session.
func (e *ear) session() *numbered {
	n := readServerHello(e.heard)
	words := strings.Fields(e.secret)
	if n == nil || len(words) != 3 {
		return nil
	}
	secret, err := hex.DecodeString(words[2])
	if err != nil {
		return nil
	}
	n.Secret = secret
	return n
}

// The types and numbers of RFC 5246 and RFC 7627 that a ServerHello is read by.
const (
	recordHandshake  = 22
	typeServerHello  = 2
	extensionEMS     = 23
	serverRandomSize = 32
)

// readServerHello reads the first message of a server of TLS 1.2 (RFC 5246 section
// 7.4.1.3); nil when it is none, or has no number that can be sent.
func readServerHello(heard []byte) *numbered {
	var kind uint8
	var version uint16
	var fragment, body, id, extensions cryptobyte.String
	n := &numbered{}
	record := cryptobyte.String(heard)
	if !record.ReadUint8(&kind) || kind != recordHandshake || !record.ReadUint16(&version) || !record.ReadUint16LengthPrefixed(&fragment) ||
		!fragment.ReadUint8(&kind) || kind != typeServerHello || !fragment.ReadUint24LengthPrefixed(&body) ||
		!body.ReadUint16(&version) || version != tls.VersionTLS12 || !body.Skip(serverRandomSize) ||
		!body.ReadUint8LengthPrefixed(&id) || len(id) != numberLength || !body.ReadUint16(&n.Suite) || !body.Skip(1) {
		return nil
	}
	n.ID = id
	if body.Empty() {
		return n
	}
	if !body.ReadUint16LengthPrefixed(&extensions) {
		return nil
	}
	for !extensions.Empty() {
		var number uint16
		var content cryptobyte.String
		if !extensions.ReadUint16(&number) || !extensions.ReadUint16LengthPrefixed(&content) {
			return nil
		}
		n.EMS = n.EMS || number == extensionEMS
	}
	return n
}

// state makes the session one that crypto/tls resumes. The form is that of
// tls.SessionState.Bytes, which may change with the version of Go: the test that
// resumes one with real servers finds out.
func (n *numbered) state(server []byte, made time.Time) (*tls.ClientSessionState, error) {
	const client, noCurve, noEarlyData = 2, 0, 0
	ems := uint8(0)
	if n.EMS {
		ems = 1
	}
	var b cryptobyte.Builder
	b.AddUint16(tls.VersionTLS12)
	b.AddUint8(client)
	b.AddUint16(n.Suite)
	b.AddUint64(uint64(made.Unix()))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(n.Secret) })
	b.AddUint24(0) // extra
	b.AddUint8(ems)
	b.AddUint8(noEarlyData)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(server) })
		b.AddUint16(0) // extensions of it
	})
	b.AddUint24(0) // verified chains
	b.AddUint16(noCurve)
	form, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	state, err := tls.ParseSessionState(form)
	if err != nil {
		return nil, err
	}
	return tls.NewResumptionState(nil, state)
}

// A steered source is random but for one value: the number of a session that the
// client makes up, so that it can tell whether a ticket was taken. It is the second
// that it reads, behind the random value of its hello, and of 32 bytes as well. Whether
// the number was sent shows: the server takes up no session that it does not know, and
// it could not finish the handshake with one.
type steered struct {
	id    []byte
	reads int
}

func (s *steered) Read(p []byte) (int, error) {
	s.reads++
	if s.reads == 2 && len(p) == len(s.id) {
		return copy(p, s.id), nil
	}
	return io.ReadFull(rand.Reader, p)
}

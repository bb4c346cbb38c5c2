// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/tallystick/tallystick/driver/network"
)

// readLimit bounds what one dialogue reads, in bytes. The longest that were met
// (the features of an XMPP server, a banner with a legal notice) have a few KiB.
const readLimit = 32 << 10

// A dialogue is the plain-text part of one connection.
type dialogue struct {
	conn   net.Conn
	name   string // of the protocol
	host   string // of the server
	ahead  []byte // read from conn and not yet taken
	total  int    // bytes read from conn
	spoken bool   // the server has shown that it speaks the protocol
}

// fill reads more from conn. There is no read-ahead to fear: whatever comes
// before our ClientHello is no TLS, and nothingLeft refuses what nobody asked for.
func (d *dialogue) fill() error {
	left := min(readLimit-d.total, 2<<10)
	if left <= 0 {
		return d.fail(TooLarge, "more than %d bytes before TLS", readLimit)
	}
	buffer := make([]byte, left)
	n, err := d.conn.Read(buffer)
	d.total += n
	d.ahead = append(d.ahead, buffer[:n]...)
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) && d.total > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns the next n bytes.
func (d *dialogue) take(n int) ([]byte, error) {
	if n > readLimit {
		return nil, d.fail(TooLarge, "a message of %d bytes", n)
	}
	for len(d.ahead) < n {
		if err := d.fill(); err != nil {
			return nil, err
		}
	}
	taken := d.ahead[:n:n]
	d.ahead = d.ahead[n:]
	return taken, nil
}

// ReadByte makes a dialogue an io.ByteReader, which keeps encoding/xml from
// reading more than it needs.
func (d *dialogue) ReadByte() (byte, error) {
	b, err := d.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// Read is there because encoding/xml asks for an io.Reader; it calls ReadByte.
func (d *dialogue) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := d.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// line returns the next line without its end, LF or CR LF. A NUL in it is no
// text of any of these protocols.
func (d *dialogue) line() (string, error) {
	seen := 0
	for {
		switch i := bytes.IndexAny(d.ahead[seen:], "\n\x00"); {
		case i < 0:
		case d.ahead[seen+i] == 0:
			return "", d.unlike("%s", network.Quote(string(d.ahead)))
		default:
			taken, err := d.take(seen + i + 1)
			return strings.TrimSuffix(string(taken[:len(taken)-1]), "\r"), err
		}
		seen = len(d.ahead)
		if err := d.fill(); err != nil {
			return "", err
		}
	}
}

// send writes text.
func (d *dialogue) send(format string, args ...any) error {
	_, err := fmt.Fprintf(d.conn, format, args...)
	return err
}

// nothingLeft refuses bytes that came behind the answer that lets TLS begin.
// Somebody between us and the server, or the server, hopes that they are taken
// for something that was said under TLS.
func (d *dialogue) nothingLeft() error {
	if len(d.ahead) > 0 {
		return d.fail(Injected, "%d bytes behind the answer: %s", len(d.ahead), network.Quote(string(d.ahead)))
	}
	return nil
}

func (d *dialogue) fail(word, format string, args ...any) error {
	return &Error{Word: word, Detail: d.name + ": " + fmt.Sprintf(format, args...)}
}

// unlike is the error for something that the protocol does not know: a server of
// another kind when it is the first that it says, a bad dialogue later.
func (d *dialogue) unlike(format string, args ...any) error {
	if d.spoken {
		return d.fail(BadDialogue, format, args...)
	}
	return d.fail(notA+d.name, format, args...)
}

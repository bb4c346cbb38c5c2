// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/starttls"
)

// byteLimit bounds what one connection reads of TLS or SSH, in bytes. A handshake
// with long chains and an answer stay far below.
const byteLimit = 4 << 20

// A limited connection fails after byteLimit.
type limited struct {
	net.Conn
	read atomic.Int64
}

func (c *limited) Read(p []byte) (int, error) {
	left := byteLimit - c.read.Load()
	if left <= 0 {
		return 0, errors.New("the server sent more than an answer needs")
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.read.Add(int64(n))
	return n, err
}

// connect dials a spot and speaks what stands before TLS, if anything does. The
// connection is closed when ctx ends, until stop is called: connections through
// SSH know no deadlines.
func (p *prober) connect(ctx context.Context, s spot) (*limited, func() bool, error) {
	dialled, err := p.dial(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	conn := &limited{Conn: dialled}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if s.Protocol != protocolSSH && s.Protocol != protocolOAuth {
		err = starttls.Upgrade(ctx, conn, s.Protocol, s.serverName())
	}
	if err != nil {
		stop()
		conn.Close()
		return nil, nil, err
	}
	return conn, stop, nil
}

// config is what every handshake of TLS with a spot has in common. Whoever asked for
// the try judges the certificate by what is reported of it.
func (s spot) config() *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: s.serverName(), MinVersion: tls.VersionTLS12}
	if _, err := netip.ParseAddr(c.ServerName); err == nil {
		c.ServerName = "" // addresses are no names (RFC 6066 section 3)
	}
	if s.Protocol == "https" {
		c.NextProtos = []string{"http/1.1"}
	}
	return c
}

// served returns the SHA-256 of the certificate that a handshake showed.
func served(state tls.ConnectionState) string {
	if len(state.PeerCertificates) == 0 {
		return ""
	}
	return string(tallystick.FingerprintOf(state.PeerCertificates[0].Raw))
}

// chain returns what a handshake showed, the certificate first.
func chain(state tls.ConnectionState) [][]byte {
	var ders [][]byte
	for _, c := range state.PeerCertificates {
		ders = append(ders, c.Raw)
	}
	return ders
}

// alertIn returns the alert that the other side sent (RFC 8446 section 6). The
// library keeps its type to itself.
func alertIn(err error) (tls.AlertError, bool) {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		return 0, false
	}
	if v := reflect.ValueOf(remote.Err); v.Kind() == reflect.Uint8 {
		return tls.AlertError(v.Uint()), true
	}
	return 0, false
}

// because tells why a try failed, for people.
func because(ctx context.Context, err error) string {
	var notTLS tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		return fmt.Sprintf("no answer within %s", patience)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without an answer"
	case errors.As(err, &notTLS):
		return "speaks no TLS"
	}
	return clean(err.Error())
}

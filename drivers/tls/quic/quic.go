// SPDX-License-Identifier: Apache-2.0

// Package quic asks QUIC servers (HTTP/3, DNS over QUIC) for their certificates.
//
// It makes an ordinary handshake with TLS 1.3 (RFC 9001) and closes the connection
// as soon as that is done; nothing else is sent. A certificate that crypto/tls
// refuses stays unseen.
package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/quic-go/quic-go"
)

// readLimit bounds what one connection reads, in bytes, in whatever datagrams.
const readLimit = 256 << 10

// Errors that Ask may return beside those of the network.
var (
	// ErrTooMuch says that the server sent more than a handshake needs.
	ErrTooMuch = errors.New("the server sent more than a handshake needs")
	// ErrVersion says that the server speaks another version of QUIC than 1 and 2.
	ErrVersion = errors.New("the server speaks neither version 1 nor 2 of QUIC")
)

// An Answer is what a server showed.
type Answer struct {
	Address string      // that answered, with the port
	Chain   [][]byte    // DER, the leaf first; its key has signed the handshake
	ALPN    string      // application protocol that the server chose
	Group   tls.CurveID // key exchange group that was chosen
}

// Ask makes one handshake with the server at address, host:port, until ctx ends.
// The server name is sent as it is; "" sends none. The chain is not verified.
//
// The error is a tls.AlertError when either side refused the handshake with an
// alert, ErrVersion, ErrTooMuch, syscall.ECONNREFUSED where the system tells that
// nobody listens, or a net.Error for a time that has passed: a port that nobody
// answers at looks like a server that is slow.
func Ask(ctx context.Context, address, serverName string) (Answer, error) {
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return Answer{}, err
	}
	defer socket.Close()
	transport := &quic.Transport{Conn: &bounded{PacketConn: socket.(*net.UDPConn), socket: socket}}
	defer transport.Close()
	connection, err := transport.Dial(ctx, socket.RemoteAddr(), &tls.Config{
		InsecureSkipVerify: true, // whoever answers is of interest; the caller verifies
		ServerName:         serverName,
		NextProtos:         []string{"h3", "doq"}, // RFC 9114, RFC 9250; QUIC has to name some
	}, &quic.Config{Versions: []quic.Version{quic.Version1, quic.Version2}})
	if err != nil {
		return Answer{}, reason(err)
	}
	defer connection.CloseWithError(0x100, "") // H3_NO_ERROR
	state := connection.ConnectionState().TLS
	answer := Answer{Address: socket.RemoteAddr().String(), ALPN: state.NegotiatedProtocol, Group: state.CurveID}
	for _, certificate := range state.PeerCertificates {
		answer.Chain = append(answer.Chain, certificate.Raw)
	}
	return answer, nil
}

// reason makes of an error of the library one that says what the server did.
func reason(err error) error {
	var transport *quic.TransportError
	var version *quic.VersionNegotiationError
	switch {
	case errors.As(err, &version):
		return ErrVersion
	case errors.As(err, &transport) && transport.ErrorCode.IsCryptoError():
		return tls.AlertError(transport.ErrorCode & 0xff) // RFC 9001 section 4.8
	}
	return err
}

// A bounded socket speaks with one server and reads no more than readLimit. Being
// connected, it hears from the system that nobody listens there. It offers the
// library nothing but the plain reading and writing of datagrams.
type bounded struct {
	net.PacketConn
	socket net.Conn
	read   int // by the one goroutine that reads
}

// ReadFrom reads a datagram of the server.
func (b *bounded) ReadFrom(p []byte) (int, net.Addr, error) {
	if b.read > readLimit {
		return 0, nil, ErrTooMuch
	}
	n, err := b.socket.Read(p)
	b.read += n
	return n, b.socket.RemoteAddr(), err
}

// WriteTo sends a datagram to the server, the only one there is.
func (b *bounded) WriteTo(p []byte, _ net.Addr) (int, error) { return b.socket.Write(p) }

// SetReadBuffer and SetWriteBuffer leave the buffers as they are: a handshake is
// small, and the library would complain in the log where it may not enlarge them.
func (b *bounded) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (b *bounded) SetWriteBuffer(int) error { return nil }

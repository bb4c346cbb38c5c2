// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"net"
	"strings"
	"time"
)

// An offer is what one hello says that this side can do.
type offer struct {
	min, max uint16
	suites   []uint16 // of TLS 1.2 and older; those of 1.3 cannot be chosen
}

// everything is the widest hello that crypto/tls can make.
func everything() offer {
	var suites []uint16
	for _, s := range append(gotls.CipherSuites(), gotls.InsecureCipherSuites()...) {
		suites = append(suites, s.ID)
	}
	return offer{min: gotls.VersionTLS10, max: gotls.VersionTLS13, suites: suites}
}

// only is everything in one protocol version.
func only(version uint16) offer {
	o := everything()
	o.min, o.max = version, version
	return o
}

// An answer is what one hello brought. Its fields hold as much as the server
// told before err, if any, ended the handshake.
type answer struct {
	address string // that was connected to; empty when nothing was
	version uint16 // chosen by the server; 0 when it chose none
	suite   uint16 // likewise
	group   gotls.CurveID
	chain   [][]byte // DER, as served; nil when no Certificate message was seen
	proven  bool     // the server signed with the key of the first certificate
	err     error
}

// handshake connects to address, makes one handshake, and hangs up.
func handshake(ctx context.Context, address, serverName string, timeout time.Duration, o offer) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	recording := &recordingConn{Conn: conn}
	asked := false // for a client certificate, after the server's signature was checked
	client := gotls.Client(recording, &gotls.Config{
		ServerName: serverName,
		// An inventory wants the certificates that do not verify most of
		// all; verify judges the chain afterwards.
		InsecureSkipVerify: true,
		MinVersion:         o.min, MaxVersion: o.max, CipherSuites: o.suites,
		GetClientCertificate: func(*gotls.CertificateRequestInfo) (*gotls.Certificate, error) {
			asked = true
			return new(gotls.Certificate), nil
		},
	})
	err = client.HandshakeContext(ctx)
	a := read(client.ConnectionState(), recording)
	a.address, a.err = conn.RemoteAddr().String(), err
	if recording.overflow {
		a.err = errTooMuch
	}
	// A server that insists on a client certificate ends a handshake of TLS
	// 1.2 after ServerKeyExchange, whose signature is what proves the key.
	// With RSA key exchange there is no such signature.
	a.proven = err == nil || (asked && signs(a))
	return a
}

// read takes from a handshake, finished or not, what the server told.
func read(state gotls.ConnectionState, recording *recordingConn) answer {
	a := answer{version: state.Version, suite: state.CipherSuite, group: state.CurveID}
	for _, c := range state.PeerCertificates {
		a.chain = append(a.chain, c.Raw)
	}
	if a.chain == nil {
		// crypto/tls keeps nothing of a chain with a certificate that it
		// cannot read, such as one with a negative serial.
		a.chain, _, _ = clearChain(recording.read)
	}
	return a
}

// signs says whether the server's key signed the handshake that it chose.
func signs(a answer) bool {
	return a.version == gotls.VersionTLS13 || strings.HasPrefix(gotls.CipherSuiteName(a.suite), "TLS_ECDHE_")
}

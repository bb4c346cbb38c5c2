// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// errCannot says that crypto/tls has nothing of what a hello offers.
var errCannot = errors.New("a whole handshake cannot offer this")

// complete carries an offer out as an ordinary handshake of crypto/tls, as far
// as that library goes: TLS 1.0 to 1.3, RSA and ECDHE key exchange, and no choice
// among the suites of TLS 1.3. Where crypto/tls refuses the certificate itself
// there is no chain.
func (d *door) complete(ctx context.Context, o *hello.Offer) answer {
	config, ok := configOf(o)
	if !ok {
		return answer{Answer: hello.Answer{Err: errCannot}}
	}
	config.ServerName = d.name
	var a answer
	config.GetClientCertificate = func(request *gotls.CertificateRequestInfo) (*gotls.Certificate, error) {
		a.ClientAuth, a.ClientAuthTold = true, true
		a.Issuers = request.AcceptableCAs[:min(len(request.AcceptableCAs), hello.IssuerLimit)]
		return new(gotls.Certificate), nil
	}
	err := d.connect(ctx, func(conn net.Conn) {
		client := gotls.Client(&limitedConn{Conn: conn, left: hello.ReadLimit}, config)
		err := client.HandshakeContext(ctx)
		a.read(client.ConnectionState(), err)
	})
	if err != nil {
		a.Err = err
	}
	d.note(a.Err)
	return a
}

// read takes what a handshake, finished or not, brought. One that a server
// ends because it wants a client certificate has proven its key before.
func (a *answer) read(state gotls.ConnectionState, err error) {
	a.Version, a.Suite = hello.Version(state.Version), hello.Suite(state.CipherSuite)
	a.Group, a.ALPN, a.Staple = hello.Group(state.CurveID), state.NegotiatedProtocol, state.OCSPResponse
	for _, c := range state.PeerCertificates {
		a.Chain = append(a.Chain, c.Raw)
	}
	if a.finished = err == nil; a.finished {
		a.ClientAuthTold = true
		return
	}
	a.finished = a.ClientAuth && (a.Version == hello.TLS13 || isForwardSecret(a.Suite))
	var alert gotls.AlertError
	var remote *net.OpError
	var header gotls.RecordHeaderError
	switch {
	case len(a.Chain) > 0:
	case errors.As(err, &alert):
		a.Err = hello.Alert(alert)
	case errors.As(err, &remote) && remote.Op == "remote error" && errors.As(remote.Err, &alert):
		a.Err = hello.Alert(alert)
	case errors.As(err, &header):
		a.Err = hello.ErrNotTLS
	case strings.Contains(err.Error(), "failed to parse certificate"): // an error without a type
		a.Err = fmt.Errorf("%w: %w", hello.ErrUnsupported, err)
	case network.Word(err) == "failed":
		a.Err = fmt.Errorf("%w: %w", hello.ErrMalformed, err)
	default:
		a.Err = err
	}
}

// configOf translates an offer; ok is false when nothing of it is left.
func configOf(o *hello.Offer) (config *gotls.Config, ok bool) {
	config = &gotls.Config{
		// An inventory wants the certificates that do not verify most of
		// all; chain and name are judged afterwards.
		InsecureSkipVerify: true,
		MinVersion:         uint16(max(slices.Min(o.Versions), hello.TLS10)), MaxVersion: uint16(slices.Max(o.Versions)), NextProtos: o.ALPN,
	}
	for _, s := range append(gotls.CipherSuites(), gotls.InsecureCipherSuites()...) {
		if slices.Contains(o.Suites, hello.Suite(s.ID)) && !slices.Contains(readable, hello.Suite(s.ID)) {
			config.CipherSuites = append(config.CipherSuites, s.ID)
		}
	}
	for _, g := range o.Groups {
		switch g {
		case hello.X25519, hello.P256, hello.P384, hello.P521, hello.X25519MLKEM768, hello.SecP256r1MLKEM768, hello.SecP384r1MLKEM1024:
			config.CurvePreferences = append(config.CurvePreferences, gotls.CurveID(g))
		}
	}
	modern := slices.Contains(o.Versions, hello.TLS13) && slices.ContainsFunc(o.Suites, func(s hello.Suite) bool { return slices.Contains(readable, s) })
	return config, config.MaxVersion >= gotls.VersionTLS10 && (modern || len(config.CipherSuites) > 0) && (len(config.CurvePreferences) > 0 || o.Bare)
}

// A limitedConn fails when more is read than a handshake needs.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, hello.ErrTooLarge
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

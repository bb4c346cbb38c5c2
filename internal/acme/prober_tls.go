// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/tallystick/tallystick/internal/store"
)

// alpnProtocol is what both sides of tls-alpn-01 speak (RFC 8737 section 6.2).
const alpnProtocol = "acme-tls/1"

// proveTLS is RFC 8737 section 3, and RFC 8738 section 6 for addresses.
func (p *prober) proveTLS(ctx context.Context, id store.ACMEIdentifier, keyAuthorization string) error {
	conn, err := p.dial(ctx, id.Value, p.tlsPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	session := tls.Client(conn, &tls.Config{
		ServerName: serverName(id), NextProtos: []string{alpnProtocol}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // the certificate is signed by itself: what is in it is the proof
	})
	if err := session.HandshakeContext(ctx); err != nil {
		if late, ok := errors.AsType[net.Error](err); ctx.Err() != nil || ok && late.Timeout() {
			return err
		}
		return problem(http.StatusBadRequest, "tls", "the TLS handshake failed")
	}
	state := session.ConnectionState()
	if state.NegotiatedProtocol != alpnProtocol {
		return problem(http.StatusForbidden, "unauthorized", "the server does not speak %s", alpnProtocol)
	}
	return checkProof(state.PeerCertificates[0], id, keyAuthorization)
}

// serverName is what is asked for as SNI: of addresses the name in reverse DNS.
func serverName(id store.ACMEIdentifier) string {
	if id.Type == typeDNS {
		return id.Value
	}
	return reverseName(netip.MustParseAddr(id.Value)) // readIdentifier has parsed it
}

// reverseName is the name of an address in in-addr.arpa or ip6.arpa (RFC 1035 section
// 3.5, RFC 3596 section 2.5).
func reverseName(ip netip.Addr) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	if ip.Is4() {
		o := ip.As4()
		return netip.AddrFrom4([4]byte{o[3], o[2], o[1], o[0]}).String() + ".in-addr.arpa"
	}
	o := ip.As16()
	for i := len(o) - 1; i >= 0; i-- {
		b.Write([]byte{digits[o[i]&0xf], '.', digits[o[i]>>4], '.'})
	}
	return b.String() + "ip6.arpa"
}

// checkProof looks for the name and the digest in the certificate, and for nothing else
// beside that name (RFC 8737 section 3).
func checkProof(c *x509.Certificate, id store.ACMEIdentifier, keyAuthorization string) error {
	refuse := func(why string) error {
		return problem(http.StatusForbidden, "incorrectResponse", "the certificate of the %s server %s", alpnProtocol, why)
	}
	names := len(c.DNSNames) + len(c.IPAddresses) + len(c.EmailAddresses) + len(c.URIs)
	isName := id.Type == typeDNS && len(c.DNSNames) == 1 && strings.EqualFold(c.DNSNames[0], id.Value)
	if id.Type == typeIP && len(c.IPAddresses) == 1 {
		ip, ok := netip.AddrFromSlice(c.IPAddresses[0])
		isName = ok && ip.Unmap() == netip.MustParseAddr(id.Value)
	}
	if names != 1 || !isName {
		return refuse("is not for that name alone")
	}
	// id-pe-acmeIdentifier, RFC 8737 section 6.1
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	want := digest(keyAuthorization)
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(oid) {
			continue
		}
		var got []byte
		rest, err := asn1.Unmarshal(extension.Value, &got)
		if err != nil || len(rest) > 0 || !extension.Critical {
			return refuse("has an acmeIdentifier that is malformed, or not critical")
		}
		if subtle.ConstantTimeCompare(got, want[:]) != 1 {
			return refuse("does not hold the digest of the key authorization")
		}
		return nil
	}
	return refuse("has no acmeIdentifier")
}

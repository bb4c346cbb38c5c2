// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"errors"
	"net/netip"

	"github.com/tallystick/tallystick/drivers/tls/hello"
	"github.com/tallystick/tallystick/drivers/tls/quic"
)

// overQUIC is the scheme of targets that speak TLS over QUIC (RFC 9001); its
// port, which is of UDP, is that of HTTP/3.
const overQUIC = "quic"

// datagrams asks one address over QUIC: one whole handshake of TLS 1.3, which
// proves the key. Which versions and suites an endpoint accepts is not asked:
// QUIC leaves no choice of version and little of suites.
func (d *door) datagrams(ctx context.Context) answer {
	var a answer
	if a.Err = d.dialer.Allow(ctx, d.address.Addr()); a.Err != nil {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	shown, err := quic.Ask(ctx, netip.AddrPortFrom(d.address.Addr().Unmap(), d.address.Port()).String(), d.name)
	a.Chain, a.ALPN, a.Group = shown.Chain, shown.ALPN, hello.Group(shown.Group)
	var alert gotls.AlertError
	switch {
	case errors.As(err, &alert):
		a.Err = hello.Alert(alert)
	case errors.Is(err, quic.ErrTooMuch):
		a.Err = hello.ErrTooLarge
	case errors.Is(err, quic.ErrVersion):
		a.Err = hello.ErrUnsupported
	case err != nil:
		a.Err = err
	default:
		a.Version, a.finished = hello.TLS13, true
	}
	return a
}

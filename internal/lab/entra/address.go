// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"net/netip"
)

// PublicAddress returns the address that the logs show for a client that connects
// from an address of loopback, where Config.Addresses says nothing else: those of
// 127.0.0.0/24, 127.0.1.0/24 and 127.0.2.0/24 stand for the documentation's
// 192.0.2.0/24, 198.51.100.0/24 and 203.0.113.0/24 (RFC 5737). Others show as they are.
func PublicAddress(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is4() {
		return a
	}
	b := a.As4()
	switch [3]byte(b[:3]) {
	case [3]byte{127, 0, 0}:
		return netip.AddrFrom4([4]byte{192, 0, 2, b[3]})
	case [3]byte{127, 0, 1}:
		return netip.AddrFrom4([4]byte{198, 51, 100, b[3]})
	case [3]byte{127, 0, 2}:
		return netip.AddrFrom4([4]byte{203, 0, 113, b[3]})
	}
	return a
}

// caller returns the address that the logs show for a request.
func (w *World) caller(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return w.publicAddress(from.Addr())
}

// publicAddress returns what the logs show for an address that a client connects from.
func (w *World) publicAddress(address netip.Addr) netip.Addr {
	address = address.Unmap()
	if to, ok := w.config.Addresses[address]; ok {
		return to
	}
	return PublicAddress(address)
}

// A network is what the logs know of an address: the number of its autonomous system
// (those that RFC 5398 keeps for documentation) and where it is.
type network struct {
	prefix        netip.Prefix
	asn           int
	city, country string
}

var networks = []network{
	{netip.MustParsePrefix("192.0.2.0/24"), 64496, "Dublin", "IE"},
	{netip.MustParsePrefix("198.51.100.0/24"), 64497, "Rotterdam", "NL"},
	{netip.MustParsePrefix("203.0.113.0/24"), 64498, "London", "GB"},
}

// networkOf returns the network of an address; that of none is the zero value.
func networkOf(a netip.Addr) network {
	for _, n := range networks {
		if n.prefix.Contains(a) {
			return n
		}
	}
	return network{}
}

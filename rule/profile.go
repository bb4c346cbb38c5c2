// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"net/netip"
	"time"
)

// A Profile is how a credential was used so far, in bounded memory. The zero
// value is that of a credential that was never used.
type Profile struct {
	First, Last time.Time // of its uses
	Uses        int64
}

// NetworkOf returns the prefix that stands for the network of an address: 24 bits
// of IPv4, 48 of IPv6.
func NetworkOf(a netip.Addr) netip.Prefix {
	bits := 48
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

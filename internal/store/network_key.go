// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tallystick/tallystick"
)

// The bits of an address that name its network.
const (
	networkBits4 = 24
	networkBits6 = 64
)

// networkOf returns the network of a place as it is stored, or "" for a place on
// this machine. It sorts as people count: addresses by their numbers, version 4
// first, and then the domains.
func networkOf(p tallystick.Place) string {
	switch p.Scheme() {
	case "file", "truststore":
		return ""
	}
	host, _ := p.HostPort()
	if host == "" {
		return ""
	}
	if address, ok := p.Addr(); ok {
		return keyOfAddress(address)
	}
	if domain := domainOf(host); domain != "" {
		return keyOfDomain(domain)
	}
	return ""
}

func keyOfAddress(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("4/%03d.%03d.%03d", b[0], b[1], b[2])
	}
	return "6/" + a.StringExpanded()[:len("0000:0000:0000:0000")]
}

func keyOfDomain(name string) string { return "n/" + cleanText(strings.ToLower(name)) }

// domainOf returns a name without its first label, or the name itself when
// that would leave a top-level domain.
func domainOf(host string) string {
	host = strings.TrimSuffix(host, ".")
	if _, parent, ok := strings.Cut(host, "."); ok && strings.Contains(parent, ".") {
		return parent
	}
	return host
}

// networkKey returns what networkOf returns for places in the network of a name;
// ErrInvalid for what is not the name of one.
func networkKey(name string) (string, error) {
	prefix, err := netip.ParsePrefix(name)
	if err != nil {
		if name == "" || strings.Contains(name, "/") {
			return "", fmt.Errorf("%w: %.60q is not a network: it is as 10.0.2.0/24, 2001:db8:0:1::/64 or example.net", tallystick.ErrInvalid, name)
		}
		return keyOfDomain(name), nil
	}
	want := networkBits6
	if prefix.Addr().Is4() {
		want = networkBits4
	}
	if prefix.Bits() != want {
		return "", fmt.Errorf("%w: the network %.60q: blocks have %d bits, and of IPv6 addresses %d", tallystick.ErrInvalid, name, networkBits4, networkBits6)
	}
	return keyOfAddress(prefix.Addr()), nil
}

// networkName undoes networkKey.
func networkName(key string) string {
	kind, rest, _ := strings.Cut(key, "/")
	switch kind {
	case "4":
		var b [4]byte
		if _, err := fmt.Sscanf(rest, "%03d.%03d.%03d", &b[0], &b[1], &b[2]); err == nil {
			return netip.PrefixFrom(netip.AddrFrom4(b), networkBits4).String()
		}
	case "6":
		if address, err := netip.ParseAddr(rest + "::"); err == nil {
			return netip.PrefixFrom(address, networkBits6).String()
		}
	}
	return rest
}

// CheckNetwork returns ErrInvalid for what is not the name of a network; "" is none.
func CheckNetwork(name string) error {
	if name == "" {
		return nil
	}
	_, err := networkKey(name)
	return err
}

// keyOrNone is networkKey for filters: no place is in a network of no such name.
func keyOrNone(name string) string {
	key, err := networkKey(name)
	if err != nil {
		return "-"
	}
	return key
}

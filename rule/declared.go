// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// Declared reads what people have said in tags about how a credential may be used:
//
//	blocked=2026-11-20T10:00:00Z   it must not be used from then on; or blocked=2026-11-20, from midnight UTC on
//	network=203.0.113.0/24         its holder uses it from there; or a single address
//
// The earliest of several blocks counts; networks add up. Other tags mean nothing
// here. A value that cannot be read is an error that names the tag, and what the
// other tags say is returned all the same.
func Declared(a tallystick.Annotation) (blocked time.Time, networks []netip.Prefix, err error) {
	var wrong []error
	for _, tag := range a.Tags {
		name, value, _ := strings.Cut(tag, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch name {
		case "blocked":
			at, err := declaredTime(value)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("couldn't read the tag %q: it is a time, such as blocked=2026-11-20T10:00:00Z", tag))
			} else if blocked.IsZero() || at.Before(blocked) {
				blocked = at
			}
		case "network":
			network, err := declaredNetwork(value)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("couldn't read the tag %q: it is a network, such as network=203.0.113.0/24", tag))
			} else {
				networks = append(networks, network)
			}
		}
	}
	return blocked, networks, errors.Join(wrong...)
}

func declaredTime(value string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, value); err == nil {
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, value)
	return at.UTC(), err
}

func declaredNetwork(value string) (netip.Prefix, error) {
	if !strings.Contains(value, "/") {
		address, err := netip.ParseAddr(value)
		if err != nil {
			return netip.Prefix{}, err
		}
		address = address.Unmap().WithZone("")
		return address.Prefix(address.BitLen())
	}
	network, err := netip.ParsePrefix(value)
	if err != nil {
		return netip.Prefix{}, err
	}
	if network.Addr().Is4In6() { // addresses are compared as IPv4
		if network.Bits() < 96 {
			return netip.Prefix{}, errors.New("it holds more than IPv4")
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}

// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A Reach is where a process may connect to when somebody else has named the address:
// networks, addresses and names of hosts, with a port or with any. The zero value is nowhere.
type Reach struct{ places []reachPlace }

// A reachPlace is a network or the name of a host; port "" is any.
type reachPlace struct {
	network netip.Prefix
	name    string
	port    string
}

// ReachOf reads what configurations have: "10.0.0.0/8", "10.1.2.3", "dir.example.com",
// "dir.example.com:636". What is none of these leads nowhere.
func ReachOf(list []string) Reach {
	var r Reach
	for _, where := range list {
		one := reachPlace{name: strings.ToLower(where)}
		if host, port, err := net.SplitHostPort(where); err == nil {
			one.name, one.port = strings.ToLower(host), port
		}
		if network, err := netip.ParsePrefix(where); err == nil {
			one.network = network
		} else if address, err := netip.ParseAddr(where); err == nil {
			one = reachPlace{network: netip.PrefixFrom(address, address.BitLen())}
		} else if address, err := netip.ParseAddr(one.name); err == nil {
			one.network = netip.PrefixFrom(address, address.BitLen())
		}
		r.places = append(r.places, one)
	}
	return r
}

// May says whether an address, host:port, is among them. A name is allowed as such, whatever
// it leads to; the path of a socket never is.
func (r Reach) May(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return slices.ContainsFunc(r.places, func(p reachPlace) bool {
		if p.port != "" && p.port != port {
			return false
		}
		if err == nil {
			return p.network.Contains(ip.Unmap())
		}
		return !p.network.IsValid() && p.name == strings.ToLower(host)
	})
}

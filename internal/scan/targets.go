// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"iter"
	"net"
	"net/netip"
	"strconv"
)

// Targets is where a scan looks.
type Targets struct {
	Machine bool     // at everything here; the rest is empty then
	Paths   []string // of files and directories
	Stores  []string // of trust stores
	Hosts   []Hosts
}

// Hosts are endpoints that belong together: a block of addresses, or one name,
// at some ports.
type Hosts struct {
	Name  string       // or
	Block netip.Prefix // addresses
	Ports []uint16
}

// Size is how many endpoints there are.
func (h Hosts) Size() int64 {
	if h.Name != "" {
		return int64(len(h.Ports))
	}
	return int64(len(h.Ports)) << (h.Block.Addr().BitLen() - h.Block.Bits())
}

// endpoints yields host:port after host:port; a block is never held whole.
func (h Hosts) endpoints() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range h.names() {
			for _, port := range h.Ports {
				if !yield(net.JoinHostPort(name, strconv.Itoa(int(port)))) {
					return
				}
			}
		}
	}
}

func (h Hosts) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		if h.Name != "" {
			yield(h.Name)
			return
		}
		for a := h.Block.Addr(); h.Block.Contains(a); a = a.Next() {
			if !yield(a.String()) {
				return
			}
		}
	}
}

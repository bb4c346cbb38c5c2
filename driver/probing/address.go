// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// maxAddresses bounds how many addresses of one name are tried.
const maxAddresses = 32

// Reach returns the host at which a server is tried that listens at one, from its own machine:
// where it listens everywhere that is own, or, where own is "", loopback.
func Reach(host, own string) string {
	switch {
	case host != "" && host != "*" && host != "0.0.0.0" && host != "::":
		return host
	case own != "":
		return own
	case host == "::":
		return "::1"
	}
	return "127.0.0.1"
}

// Addresses returns what is behind the address of a listener, host:port without a name, as the
// machine that connects sees it.
func Addresses(ctx context.Context, h driver.Host, address string) ([]string, error) {
	return (&prober{host: h}).resolve(ctx, address)
}

// resolve returns the addresses behind a listener's, as the machine that connects
// sees them: a balancer's name may mean something else elsewhere.
func (p *prober) resolve(ctx context.Context, address string) ([]string, error) {
	if strings.HasPrefix(address, "/") {
		return []string{address}, nil
	}
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, invalid("%q is neither host:port nor the path of a socket", address)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return []string{address}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := p.host.Run(ctx, driver.Command{Args: []string{"getent", "ahosts", "--", name}, Timeout: patience})
	if err != nil {
		return nil, fmt.Errorf("couldn't look up %s: %w", name, err)
	}
	addresses := addressesIn(found.Stdout)
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%w: %s has no address", tallystick.ErrUnavailable, name)
	}
	for i := range addresses {
		addresses[i] = net.JoinHostPort(addresses[i], port)
	}
	return addresses, nil
}

// addressesIn reads the lines of getent ahosts, each of which begins with an address.
func addressesIn(text []byte) []string {
	var addresses []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && len(addresses) < maxAddresses {
		first, _, _ := strings.Cut(lines.Text(), " ")
		if ip, err := netip.ParseAddr(first); err == nil && !slices.Contains(addresses, ip.Unmap().String()) {
			addresses = append(addresses, ip.Unmap().String())
		}
	}
	return addresses
}

// serverName is the name that is sent to the server (SNI, Host): what the listener
// says, or the host of its address, or "localhost" for a socket.
func (s spot) serverName() string {
	if s.ServerName != "" {
		return s.ServerName
	}
	if host, _, err := net.SplitHostPort(s.Listener.Address); err == nil {
		return host
	}
	return "localhost"
}

// dial connects to a spot.
func (p *prober) dial(ctx context.Context, s spot) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(s.address, "/") {
		network = "unix"
	}
	return p.host.Dial(ctx, network, s.address)
}

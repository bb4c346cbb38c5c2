// SPDX-License-Identifier: Apache-2.0

// Package ssh is the driver that asks SSH servers for their host keys.
//
// A target is as network.Grammar reads it, with ssh:// or without a scheme; the
// port is that of the option "ports" when it is left out. Without targets the
// driver looks at this machine: the ports at which a program called sshd or
// dropbear listens on a loopback address or on all of them, and port 22 if
// anything listens there, over loopback.
//
// A server shows one host key in each key exchange (RFC 4253 section 7.1), so
// it is asked once for every kind of host key that it offers, in plain form and
// as an OpenSSH certificate, until it has signed the exchange with it; then the
// connection is dropped, before anybody says who they are. What the server
// offers of algorithms is read from its KEXINIT message. A key whose signature
// cannot be checked here (an RSA key of 512 bits) is a sighting all the same,
// marked as seen and not proven; a kind that cannot be exchanged at all stands
// in SSHFacts.HostKeys alone.
//
// Servers see a client that calls itself SSH-2.0-Tallystick and hangs up before
// it authenticates. One connection reads at most readLimit bytes and lasts at
// most the option "timeout".
package ssh

import (
	"fmt"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Options are what can be set.
type Options struct {
	Timeout     time.Duration `option:"timeout" default:"5s" help:"how long one connection may take"`
	Concurrency int           `option:"concurrency" default:"256" help:"how many endpoints to look at together, 1 to 10000"`
	Rate        int           `option:"rate" help:"connections to begin in a second in all; 0 is no limit"`
	PerHost     int           `option:"per-host" default:"20" help:"connections to begin in a second to one address, and ten times as many to one network (/24, or /48 of IPv6); 0 is no limit, and loopback has none"`
	Exclude     []string      `option:"exclude" help:"names (*.example.com for those beneath), addresses, blocks and ranges that are not asked"`
	Ports       []string      `option:"ports" default:"22" help:"ports of targets that name neither a port nor a protocol: 22,2222,10022-10024"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("ssh", "SSH servers: their host keys, and what they offer of algorithms", open)
}

// Finder finds host keys of SSH servers.
type Finder struct {
	options Options
	ports   []uint16
	dialer  func() *network.Dialer // for one look
}

func open(o Options) (*Finder, error) {
	ports, err := network.ParsePorts(o.Ports...)
	if err != nil {
		return nil, fmt.Errorf("option ports: %w", err)
	}
	dialer, err := network.Settings{
		Timeout: o.Timeout, Concurrency: o.Concurrency, Most: network.MostTogether, Rate: o.Rate, PerHost: o.PerHost, Exclude: o.Exclude,
	}.Dialers()
	if err != nil {
		return nil, err
	}
	return &Finder{options: o, ports: ports, dialer: dialer}, nil
}

var _ network.Finder = (*Finder)(nil)

// Grammar returns which targets are SSH servers.
func (f *Finder) Grammar() network.Grammar {
	return network.Grammar{Schemes: map[string]uint16{"ssh": 22}, Ports: f.ports}
}

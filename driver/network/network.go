// SPDX-License-Identifier: Apache-2.0

// Package network is what every driver that dials shares: which endpoints the
// operator has named, in which order and how fast they are asked, and what a
// failed connection is called.
//
// A driver has a Grammar (its schemes with their default ports, and the ports
// of targets that name none), reads targets with it, and gives them to Each,
// which calls the driver for every endpoint, several at a time, and can go on
// where an earlier look ended. The driver connects through a Dialer, which
// keeps to the limits and to the exclusions. Nothing is dialled that no target
// names: what a name resolves to is named by it; a redirect or a referral is not.
//
//	f.dialer, err = network.Settings{Timeout: o.Timeout, ...}.Dialers() // when the driver is opened
//	...
//	targets, err := f.Grammar().Parse(ctx, request.Targets, network.Missing(sink, request.Now))
//	...
//	dialer := f.dialer() // for one look
//	look := network.Look{Targets: targets, Resume: request.Resume, Concurrency: o.Concurrency, Sink: sink}
//	return look.Each(ctx, func(ctx context.Context, e network.Endpoint) error { ... })
//
// Drivers use the same words for the same options, those of Settings and ports.
package network

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/tallystick/tallystick/driver"
)

// An Endpoint is one thing to dial.
type Endpoint struct {
	Scheme string // as the target named it, in lower case; "" where it named none
	Host   string // an address without brackets, or a name in ASCII and lower case, without a dot at its end
	Port   uint16 // never 0
	// Process is the program that listens there, where the driver found the
	// endpoint on this machine by itself and could tell.
	Process string
}

// HostPort returns "host:port" as net.JoinHostPort makes it.
func (e Endpoint) HostPort() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// Addr returns the address of an endpoint that is named by one; ok is false
// for a name.
func (e Endpoint) Addr() (address netip.Addr, ok bool) {
	address, err := netip.ParseAddr(e.Host)
	return address, err == nil
}

// Name returns the name of an endpoint that is named by one, and "" for an
// address: what SNI may carry (RFC 6066 section 3).
func (e Endpoint) Name() string {
	if _, ok := e.Addr(); ok {
		return ""
	}
	return e.Host
}

// A Finder is a driver.Finder that dials. Its grammar tells callers which
// targets are its own and how they are read.
type Finder interface {
	driver.Finder
	// Grammar returns what this finder takes, with the ports of its options.
	Grammar() Grammar
}

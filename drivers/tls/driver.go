// SPDX-License-Identifier: Apache-2.0

// Package tls is the driver that asks TLS endpoints for their certificates.
//
// A target is host:port, tls://host:port or https://host[:port] (443 when it
// is left out). Without targets the driver looks at this machine: every TCP
// port that listens on a loopback address or on all of them, over loopback.
//
// It makes ordinary handshakes with crypto/tls, so it sees what that library
// can do: TLS 1.0 to 1.3 with RSA and ECDHE key exchange. SSL 3.0, finite-field
// Diffie-Hellman, export, NULL and anonymous suites stay unseen here. Each
// endpoint is asked
//
//   - once with everything that crypto/tls offers, for the chain;
//   - once for each other protocol version, with that version alone;
//   - with the RC4 and 3DES suites alone, as often as the server takes one;
//   - once with suites that have no forward secrecy alone.
//
// Where crypto/tls refuses the certificate (a negative serial, a short RSA
// key), the chain is read from the clear-text handshake of TLS 1.2 instead. A
// server that speaks TLS 1.3 alone and shows such a certificate is a miss.
//
// One connection reads at most readLimit bytes and lasts at most the option
// "timeout"; nothing but the handshake is ever sent.
package tls

import (
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are what can be set.
type Options struct {
	Timeout     time.Duration `option:"timeout" default:"5s" help:"how long one connection to an endpoint may take"`
	Concurrency int           `option:"concurrency" default:"16" help:"how many endpoints to look at together, 1 to 1024"`
	Roots       string        `option:"roots" help:"PEM bundle to verify chains against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("tls", "TLS endpoints: the certificates that they serve and the protocols that they accept", open)
}

// Finder finds certificates at TLS endpoints.
type Finder struct{ options Options }

func open(o Options) (*Finder, error) {
	if o.Timeout <= 0 {
		return nil, invalid("option timeout: %v is not a positive duration", o.Timeout)
	}
	if o.Concurrency < 1 || o.Concurrency > 1024 {
		return nil, invalid("option concurrency: %d is not between 1 and 1024", o.Concurrency)
	}
	return &Finder{options: o}, nil
}

var _ driver.Finder = (*Finder)(nil)

// A sighting of this driver has the role "presents": the endpoint shows the
// certificate, and where Evidence is "proven" it holds the private half too,
// though where that is kept cannot be told from here.
const role = tallystick.RolePresents

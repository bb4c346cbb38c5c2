// SPDX-License-Identifier: Apache-2.0

// Package tls is the driver that asks TLS endpoints for their certificates and
// for what they accept.
//
// A target is what network.Grammar says, with the schemes of package starttls:
// host:port, https://host, smtp://10.0.0.0/24, @FILE. Where a scheme, or a
// port that belongs to one, begins in plain text, STARTTLS is spoken first;
// quic://host is asked over QUIC, as HTTP/3 is served.
// Without targets the driver looks at this machine: every TCP port that listens
// on a loopback address or on all of them, over loopback.
//
// It does not make handshakes; it asks questions with package hello and hangs
// up with a reset when it knows enough:
//
//   - one hello of TLS 1.3 and older, read to the chain, to whom the endpoint
//     wants as a client, and, with the option prove, to the signature that shows
//     that the endpoint has the key; where the chain alone is wanted, one of
//     TLS 1.2 and older goes before it, whose answer needs no deciphering;
//   - one without a key share, to which a server of TLS 1.3 answers with the
//     group that it prefers, and one with the post-quantum groups alone where that is another;
//   - one for each other version;
//   - one that a server with a second certificate, of the other kind of key,
//     answers with that;
//   - one with the weak suites alone, in TLS 1.2 and in the oldest accepted
//     version, repeated without the suite that was chosen until it is refused;
//   - for the depth "suites", in place of the last one, the same with all
//     suites in every version, and with all groups.
//
// Where a network dislikes half handshakes, the option complete makes whole
// ones with crypto/tls, which see less: neither SSL 3.0 nor the suites and groups
// that crypto/tls lacks, and no certificate that it refuses.
//
// Every name that a target stands for is asked at all of its addresses, the
// first that answers in full. At a target that is an address the names of the
// option names are asked for by SNI, and if wanted those of its certificate and
// of the reverse DNS.
package tls

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/starttls"
	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// Options are what can be set.
type Options struct {
	Depth       string        `option:"depth" default:"versions" help:"how much an endpoint is asked: certificate, versions (with groups and weak suites), or suites (all of them)"`
	Ports       []string      `option:"ports" default:"443" help:"ports of targets that name neither a port nor a protocol: 443,8443,9000-9010"`
	Timeout     time.Duration `option:"timeout" default:"5s" help:"how long one connection may take"`
	Concurrency int           `option:"concurrency" default:"256" help:"how many endpoints to look at together, 1 to 10000"`
	Rate        int           `option:"rate" help:"connections to begin in a second in all; 0 is no limit"`
	PerHost     int           `option:"per-host" default:"20" help:"connections to begin in a second to one address, and ten times as many to one network (/24, or /48 of IPv6); 0 is no limit, and loopback has none"`
	Exclude     []string      `option:"exclude" help:"names (*.example.com for those beneath), addresses, blocks and ranges that are not asked"`
	Names       []string      `option:"names" help:"host names to ask for (by SNI) at every target that is an address"`
	FollowNames bool          `option:"follow-names" default:"false" help:"ask also for the names in the certificate that an address shows, 8 at most"`
	ReverseDNS  bool          `option:"reverse-dns" default:"false" help:"ask also for the names that the reverse DNS has for an address"`
	Prove       string        `option:"prove" default:"auto" help:"check that the endpoint has the private key: true, false, or auto, which is for every depth but certificate"`
	Complete    bool          `option:"complete" default:"false" help:"make whole handshakes, for networks that take half ones for an attack; they see neither SSL 3.0 nor the suites that Go lacks"`
	Roots       string        `option:"roots" help:"PEM bundle to verify chains against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("tls", "TLS endpoints: the certificates that they serve and what they accept", open)
}

// Finder finds certificates at TLS endpoints.
type Finder struct {
	options Options
	depth   tallystick.Depth
	prove   bool
	grammar network.Grammar
	dialer  func() *network.Dialer // for one look
	hellos  *hellos
	prober  *hello.Prober
}

var _ network.Finder = (*Finder)(nil)

func open(o Options) (*Finder, error) {
	f := &Finder{options: o, depth: tallystick.Depth(o.Depth), prober: hello.NewProber()}
	if f.depth != tallystick.DepthCertificate && f.depth != tallystick.DepthVersions && f.depth != tallystick.DepthSuites {
		return nil, invalid("option depth: %q is neither certificate nor versions nor suites", o.Depth)
	}
	var err error
	if f.prove = f.depth != tallystick.DepthCertificate; o.Prove != "auto" {
		if f.prove, err = strconv.ParseBool(o.Prove); err != nil {
			return nil, invalid("option prove: %q is neither true nor false nor auto", o.Prove)
		}
	}
	f.dialer, err = network.Settings{
		Timeout: o.Timeout, Concurrency: o.Concurrency, Most: network.MostTogether, Rate: o.Rate, PerHost: o.PerHost, Exclude: o.Exclude,
	}.Dialers()
	if err != nil {
		return nil, err
	}
	f.grammar.Schemes = map[string]uint16{overQUIC: 443}
	for _, p := range starttls.Protocols() {
		f.grammar.Schemes[p.Scheme] = 0
		if len(p.Ports) > 0 {
			f.grammar.Schemes[p.Scheme] = p.Ports[0]
		}
	}
	if f.grammar.Ports, err = network.ParsePorts(o.Ports...); err != nil {
		return nil, fmt.Errorf("option ports: %w", err)
	}
	for i, name := range o.Names {
		if o.Names[i] = strings.ToLower(strings.TrimSpace(name)); !isHostName(o.Names[i]) {
			return nil, invalid("option names: %q is not the name of a host", network.Clean(name))
		}
	}
	f.hellos = newHellos(f.prove)
	return f, nil
}

// Grammar returns what this driver takes for a target.
func (f *Finder) Grammar() network.Grammar { return f.grammar }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

// A sighting of this driver has the role "presents": the endpoint shows the
// certificate, and where Evidence is "proven" it holds the private half too,
// though where that is kept cannot be told from here.
const role = tallystick.RolePresents

// SPDX-License-Identifier: Apache-2.0

// Package metadata is the driver that reads whom sign-in systems believe: the
// certificates and keys in SAML metadata (OASIS saml-metadata-2.0-os) and in the
// key sets of OpenID providers (RFC 7517), where anybody with the private half
// can sign in as everybody.
//
// A target is an https URL, or the absolute path of a file (also file:///path).
// http is taken for this machine alone. What is there decides how it is read: XML
// is SAML metadata, a JSON object with "keys" is a key set, one with "jwks_uri"
// is the configuration of a provider, which leads to its key set. At a URL that
// holds neither, the driver asks once more behind /.well-known/openid-configuration
// (OpenID Connect Discovery section 4), so that an issuer can be named as it is.
// metadata://host/path, the place of what was seen, is a target as well.
//
// No request goes to a host that nobody named: a redirect or a jwks_uri that leads
// to another host or port is a miss, unless the option "hosts" names that. Links
// inside keys (x5u) are never followed, and the signature of a document is not
// checked, because the question is who is believed by those who read it.
//
// A certificate or key for signing has the role "accepts", one for encryption
// alone "presents". A key set that shows a private key is told of with the role
// "holds". The members of a federation stand beneath the place of its document,
// each by its entity ID.
package metadata

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Options are what can be set.
type Options struct {
	Timeout     time.Duration `option:"timeout" default:"30s" help:"how long one connection may take"`
	Concurrency int           `option:"concurrency" default:"8" help:"how many documents to read together, 1 to 256"`
	Rate        int           `option:"rate" help:"connections to begin in a second in all; 0 is no limit"`
	PerHost     int           `option:"per-host" default:"20" help:"connections to begin in a second to one address, and ten times as many to one network (/24, or /48 of IPv6); 0 is no limit, and loopback has none"`
	Exclude     []string      `option:"exclude" help:"names (*.example.com for those beneath), addresses, blocks and ranges that are not asked"`
	Hosts       []string      `option:"hosts" help:"further hosts, with a port unless it is 443, to which a redirect or a jwks_uri may lead"`
	Roots       string        `option:"roots" help:"PEM bundle to verify servers against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("metadata", "SAML metadata and OpenID key sets: the certificates and keys that sign-in systems believe", open)
}

// Finder finds certificates and keys in documents.
type Finder struct {
	options Options
	dialer  func() *network.Dialer // for one look
}

var _ driver.Finder = (*Finder)(nil)

// mostTogether bounds the option concurrency: a document may take some MB.
const mostTogether = 256

func open(o Options) (*Finder, error) {
	dialer, err := network.Settings{
		Timeout: o.Timeout, Concurrency: o.Concurrency, Most: mostTogether, Rate: o.Rate, PerHost: o.PerHost, Exclude: o.Exclude,
	}.Dialers()
	if err != nil {
		return nil, err
	}
	for i, host := range o.Hosts {
		o.Hosts[i] = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), ":443"))
		if o.Hosts[i] == "" || strings.ContainsAny(o.Hosts[i], "/@*") {
			return nil, invalid("option hosts: %q is not the name of a host", host)
		}
	}
	return &Finder{options: o, dialer: dialer}, nil
}

// transport makes what speaks HTTP. It knows no proxy: one that the environment
// names would see, and could change, what is read.
func (f *Finder) transport(dial func(ctx context.Context, network, address string) (net.Conn, error)) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.options.Roots != "" {
		text, err := os.ReadFile(f.options.Roots)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the option roots: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, invalid("option roots: no certificate in %s", f.options.Roots)
		}
	}
	return &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: f.options.Timeout,
		DialContext:       dial,
		ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

// SPDX-License-Identifier: Apache-2.0

// Package acme is the driver that has certificates made by a CA that speaks ACME
// (RFC 8555), such as Let's Encrypt.
//
// An order's address is kept before anything of it is answered, and whoever calls
// again goes on with that order from whatever state the CA says that it is in. So
// an order makes one certificate, however often it is interrupted.
//
// Control of names is proven by http-01, tls-alpn-01 (RFC 8737) or dns-01. For the
// first two the driver listens while an order waits for the CA, and at no other
// time; for the last it updates a name server (RFC 2136) or runs a command. What
// the CA's answers name is fetched from the directory's host, or from hosts that
// the operator named, and from nowhere else; names that were not asked for are not
// proven.
//
// A renewal names what it replaces, and Look tells when the CA wants a certificate
// renewed (ARI, RFC 9773). ACME says nothing of whether a certificate is revoked.
package acme

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/libdns/rfc2136"
	"github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Options are what can be set.
type Options struct {
	Directory    string        `option:"directory" help:"URL of the CA's directory, such as https://acme-v02.api.letsencrypt.org/directory"`
	AgreeTerms   bool          `option:"agree-terms" default:"false" help:"whether you agree to the CA's terms of service; most CAs ask for it"`
	Contact      []string      `option:"contact" help:"mail addresses that the CA may write to"`
	EABKeyID     string        `option:"eab-key-id" help:"the CA's name for the account that ours belongs to (external account binding)"`
	EABKey       driver.Secret `option:"eab-key" help:"the key that goes with eab-key-id, as the CA gave it (base64url)"`
	Challenge    string        `option:"challenge" default:"http-01" help:"how names are proven: http-01, tls-alpn-01 or dns-01"`
	Listen       string        `option:"listen" help:"address and port for http-01 (default :80) or tls-alpn-01 (default :443), listened on while the CA looks"`
	DNSServer    string        `option:"dns-server" help:"host:port of the name server that takes updates for dns-01 (RFC 2136)"`
	DNSKeyName   string        `option:"dns-key-name" help:"name of the TSIG key for updates"`
	DNSKey       driver.Secret `option:"dns-key" help:"the TSIG key, base64"`
	DNSAlgorithm string        `option:"dns-algorithm" default:"hmac-sha256" help:"algorithm of the TSIG key"`
	Hook         string        `option:"hook" help:"absolute path of a command that sets and removes TXT records for dns-01, in place of dns-server: see docs/issuers.md"`
	DNSWait      time.Duration `option:"dns-wait" default:"0s" help:"how long to wait after a record is set until every name server has it"`
	Chain        string        `option:"chain" help:"common name of the root or CA whose chain is preferred where the CA offers several"`
	NotAfter     bool          `option:"not-after" default:"false" help:"ask for the lifetime that is wanted; public CAs refuse orders that do"`
	Hosts        []string      `option:"hosts" help:"further hosts, with a port unless it is 443, to which the CA's answers may lead"`
	Roots        string        `option:"roots" help:"PEM bundle to verify the CA's server against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("acme", "CAs that speak ACME, such as Let's Encrypt: has certificates made, says when they want them renewed, and revokes", open)
}

// Issuer has certificates made by one CA.
type Issuer struct {
	options  Options
	settings issuing.Settings
	solver   solver
}

var (
	_ driver.Issuer         = (*Issuer)(nil)
	_ driver.StandingLooker = (*Issuer)(nil)
	_ driver.Revoker        = (*Issuer)(nil)
)

func open(o Options) (*Issuer, error) {
	i := &Issuer{options: o, settings: issuing.Settings{
		URL: o.Directory, Hosts: o.Hosts, Roots: o.Roots, Secrets: []driver.Secret{o.EABKey, o.DNSKey},
	}}
	if _, err := i.settings.Base(); err != nil {
		return nil, fmt.Errorf("option directory: %w", err)
	}
	if (o.EABKeyID == "") != o.EABKey.IsZero() {
		return nil, invalid("options eab-key-id and eab-key go together")
	}
	if _, err := base64.RawURLEncoding.DecodeString(eabKey(o)); err != nil {
		return nil, invalid("option eab-key: it is not base64url")
	}
	var err error
	i.solver, err = newSolver(o)
	return i, err
}

// eabKey returns the key without padding, which some CAs show.
func eabKey(o Options) string { return strings.TrimRight(o.EABKey.Reveal(), "=") }

// newSolver makes what proves names.
func newSolver(o Options) (solver, error) {
	switch o.Challenge {
	case acme.ChallengeTypeHTTP01:
		return &httpSolver{desk[string]{open: func(look func(string) (string, bool)) (closer, error) {
			return serveHTTP(listenAt(o.Listen, ":80"), look)
		}}}, nil
	case acme.ChallengeTypeTLSALPN01:
		return &tlsSolver{desk[*tls.Certificate]{open: func(look func(string) (*tls.Certificate, bool)) (closer, error) {
			return serveTLS(listenAt(o.Listen, ":443"), look)
		}}}, nil
	case acme.ChallengeTypeDNS01:
	default:
		return nil, invalid("option challenge: %q is neither http-01 nor tls-alpn-01 nor dns-01", o.Challenge)
	}
	if o.Hook != "" {
		if o.DNSServer != "" || !filepath.IsAbs(o.Hook) {
			return nil, invalid("option hook: it is an absolute path, and takes the place of dns-server")
		}
		return &dnsSolver{records: hook{command: o.Hook}, wait: o.DNSWait}, nil
	}
	if _, _, err := net.SplitHostPort(o.DNSServer); err != nil || o.DNSKeyName == "" || o.DNSKey.IsZero() {
		return nil, invalid("dns-01 takes the options dns-server (host:port), dns-key-name and dns-key, or hook")
	}
	if _, err := base64.StdEncoding.DecodeString(o.DNSKey.Reveal()); err != nil {
		return nil, invalid("option dns-key: it is not base64")
	}
	return &dnsSolver{wait: o.DNSWait, records: updates{server: o.DNSServer, provider: &rfc2136.Provider{
		KeyName: o.DNSKeyName, KeyAlg: o.DNSAlgorithm, Key: o.DNSKey.Reveal(), Server: o.DNSServer,
	}}}, nil
}

func listenAt(address, otherwise string) string {
	if address == "" {
		return otherwise
	}
	return address
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

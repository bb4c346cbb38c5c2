// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/x509"
	"time"

	gotls "crypto/tls"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/parse"
)

// patience is how many times the timeout of one connection an endpoint may
// take in all, so that one which hangs on every second hello is left in time.
const patience = 4

// A lookout looks at endpoints, several at a time.
type lookout struct {
	timeout time.Duration
	roots   *x509.CertPool
	now     func() time.Time
	sink    driver.Sink
}

// endpoint looks at one endpoint and reports a sighting or a miss. Its error
// is one of the sink or of ctx.
func (l lookout) endpoint(ctx context.Context, t target) error {
	hurried, cancel := context.WithTimeout(ctx, patience*l.timeout)
	defer cancel()
	a := l.first(hurried, t)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(a.chain) == 0 {
		return l.miss(t, word(a), a.err)
	}
	leaf, err := parse.Certificate(a.chain[0])
	if err != nil {
		return l.miss(t, "malformed", err)
	}
	facts := l.facts(hurried, t, a)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return l.sink.Saw(tallystick.Sighting{
		Credential: leaf, Place: t.place(), Role: role, Seen: l.now(),
		Chain: further(a.chain), Facts: tallystick.Facts{TLS: &facts},
	})
}

// first gets the chain: with the widest hello, and where that brings none,
// with TLS 1.2 alone, whose Certificate message is readable in any case and
// whose hello is small enough for servers that choke on the new one.
func (l lookout) first(ctx context.Context, t target) answer {
	a := handshake(ctx, t.hostport(), t.serverName(), l.timeout, everything())
	if len(a.chain) > 0 || a.address == "" || hopeless(a) {
		return a
	}
	second := handshake(ctx, a.address, t.serverName(), l.timeout, only(gotls.VersionTLS12))
	if len(second.chain) > 0 {
		return second
	}
	return a
}

// facts asks the endpoint what else it accepts.
func (l lookout) facts(ctx context.Context, t target, a answer) tallystick.TLSFacts {
	accepted := l.ask(ctx, t, a)
	facts := tallystick.TLSFacts{
		ServerName: t.host, Process: t.process, Group: groupName(a.group),
		Protocols: accepted.protocols(), Suites: accepted.suiteNames(),
		Evidence: tallystick.EvidenceSeen,
	}
	for _, der := range a.chain {
		facts.Chain = append(facts.Chain, tallystick.FingerprintOf(der))
	}
	if err := verify(a.chain, t.host, l.roots, l.now()); err != nil {
		facts.VerifyError = clean(err.Error())
	}
	if a.proven {
		facts.Evidence = tallystick.EvidenceProven
		if facts.VerifyError == "" {
			facts.Evidence = tallystick.EvidenceVerified
		}
	}
	return facts
}

// verify checks chain and name as a client of this machine would.
func verify(chain [][]byte, host string, roots *x509.CertPool, now time.Time) error {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, der := range chain[1:] {
		// One that cannot be read cannot be part of a good chain either.
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		DNSName: host, Roots: roots, Intermediates: intermediates, CurrentTime: now,
	})
	return err
}

// further reads the certificates behind the leaf. One that cannot be read
// stands there by its fingerprint.
func further(chain [][]byte) []tallystick.Credential {
	var credentials []tallystick.Credential
	for _, der := range chain[1:] {
		c, err := parse.Certificate(der)
		if err != nil {
			continue // whatever it is, its fingerprint is in TLSFacts.Chain and its bytes are not ours to keep
		}
		credentials = append(credentials, c)
	}
	return credentials
}

func (l lookout) miss(t target, word string, err error) error {
	m := tallystick.Miss{Place: t.place(), Error: word, Seen: l.now()}
	if err != nil {
		m.Detail = clean(err.Error())
	}
	return l.sink.Missed(m)
}

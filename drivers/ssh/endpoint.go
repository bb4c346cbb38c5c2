// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/parse"
)

// patience is how many times the timeout of one connection a server may take in
// all, so that one which hangs on every second exchange is left in time.
const patience = 4

// A lookout looks at servers, several at a time.
type lookout struct {
	dialer  *network.Dialer
	timeout time.Duration
	now     func() time.Time
	sink    driver.Sink
}

// A server is one address behind an endpoint.
type server struct {
	endpoint network.Endpoint
	at       netip.AddrPort
	told     map[tallystick.Fingerprint]bool // what has been reported at this endpoint
}

func (s server) place() tallystick.Place { return tallystick.SSHPlace(s.endpoint.HostPort()) }

// endpoint looks at every address behind an endpoint. Its error is one of the
// sink or of ctx.
func (l lookout) endpoint(ctx context.Context, e network.Endpoint) error {
	addresses, err := l.dialer.Resolve(ctx, e.Host)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s := server{endpoint: e, told: map[tallystick.Fingerprint]bool{}}
	if err != nil {
		return l.miss(s, network.Word(err), err)
	}
	for _, address := range addresses {
		s.at = netip.AddrPortFrom(address, e.Port)
		if err := l.server(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// server looks at one address.
func (l lookout) server(ctx context.Context, s server) error {
	hurried, cancel := context.WithTimeout(ctx, patience*l.timeout)
	defer cancel()
	all := families()
	first := ask(hurried, l.dialer, s.at, l.timeout, slices.Concat(all...))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if first.offer == nil || isNegotiation(first.err) {
		return l.miss(s, word(first), first.err)
	}
	asked := false
	for _, f := range all {
		algorithms := f.offered(first.offer)
		if len(algorithms) == 0 {
			continue
		}
		x := first
		if asked {
			x = ask(hurried, l.dialer, s.at, l.timeout, algorithms)
		}
		asked = true
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.report(s, first, x, algorithms); err != nil {
			return err
		}
	}
	return nil
}

// report tells what one exchange brought.
func (l lookout) report(s server, first, x exchange, algorithms []string) error {
	credential, ok := credentialOf(x.key)
	if !ok {
		return l.miss(s, word(x), fmt.Errorf("host key %s: %w", algorithms[0], x.err))
	}
	if s.told[credential.ID] {
		return nil
	}
	s.told[credential.ID] = true
	facts := tallystick.SSHFacts{
		Software: network.Clean(first.software), HostKeys: first.offer.hostKeys, Exchanges: first.offer.exchanges,
		Ciphers: first.offer.ciphers, MACs: first.offer.macs, Signatures: algorithms, Evidence: tallystick.EvidenceSeen,
	}
	if x.proven {
		facts.Evidence = tallystick.EvidenceProven
	}
	if s.endpoint.Name() != "" {
		facts.Address = s.at.Addr().String()
	}
	return l.sink.Saw(tallystick.Sighting{
		Credential: credential, Place: s.place(), Role: tallystick.RolePresents, Seen: l.now(),
		Facts: tallystick.Facts{SSH: &facts},
	})
}

// credentialOf reads a host key in the form of the wire. It takes the way of a
// public key's file, so that one reader decides what an SSH key is.
func credentialOf(key []byte) (c tallystick.Credential, ok bool) {
	kind, _, ok := field(key)
	if !ok {
		return c, false
	}
	line := string(kind) + " " + base64.StdEncoding.EncodeToString(key) + "\n"
	result := parse.Bytes("ssh_host_key.pub", []byte(line), nil)
	if len(result.Items) != 1 {
		return c, false
	}
	return result.Items[0].Credential, true
}

func (l lookout) miss(s server, word string, err error) error {
	m := tallystick.Miss{Place: s.place(), Error: word, Seen: l.now()}
	if err != nil {
		m.Detail = network.Clean(err.Error())
	}
	return l.sink.Missed(m)
}

// word says in one word why an exchange brought no host key.
func word(x exchange) string {
	why := network.Word(x.err)
	switch {
	case errors.Is(x.err, errTooMuch):
		return "too-large"
	case !x.received:
		return why
	case x.software == "" && busy(x.other):
		return "throttled"
	case why == "timeout", why == "reset":
		return why
	case x.software == "":
		return "not-ssh"
	case strings.HasPrefix(x.software, "SSH-1.") && !strings.HasPrefix(x.software, "SSH-1.99"):
		return "ssh-1"
	case isNegotiation(x.err):
		return "no-common-algorithm"
	case why == "closed":
		return why
	}
	return "malformed"
}

// isNegotiation says whether the two sides have no algorithm in common.
func isNegotiation(err error) bool {
	var negotiation *ssh.AlgorithmNegotiationError
	return errors.As(err, &negotiation)
}

// busy says whether OpenSSH sent this line in place of a greeting because it
// has too many connections (sshd_config(5), MaxStartups and PerSourcePenalties).
func busy(line string) bool {
	return strings.HasPrefix(line, "Exceeded MaxStartups") || strings.HasPrefix(line, "Not allowed at this time")
}

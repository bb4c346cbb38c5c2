// SPDX-License-Identifier: Apache-2.0

// Package probing tries credentials at listeners, and looks at what listeners show.
//
// A try goes as far as it must for the answer to mean something: through the
// dialogue before TLS, the handshake, and the sign-in of the protocol, because a
// server of TLS 1.3 says no to a client's certificate only after the client has
// finished (RFC 8446 section 4.4.2), and many say it in the words of the protocol.
// It asks for nothing else, and changes nothing. What is tried is what a thief
// would try: a new handshake of each version, a session that is taken up again by a
// ticket or by its number in the server's cache, a connection that is still open;
// at every address behind a name.
//
// It does not judge certificates of servers: it tells which was shown (Served), and
// whoever asked compares. Everything that a server says is hostile: each try ends
// after 10 seconds, and what is kept of an answer is 1 KiB of printable text.
package probing

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

const (
	patience = 10 * time.Second // for one attempt, from the connection to the answer
	atOnce   = 8                // attempts that go on at the same time
)

// A spot is one address of a listener.
type spot struct {
	driver.Listener
	address string // host:port without a name, or the path of a socket
}

// attempt begins the record of a try.
func (s spot) attempt(way string, now now) driver.Attempt {
	return driver.Attempt{Listener: s.Listener, Address: s.address, Way: way, Outcome: driver.OutcomeFailed, At: now().UTC()}
}

// Show makes a handshake with every address of every listener, without a credential
// of a client, and says in Served which certificate or host key each showed. A
// server that has one certificate for RSA and one for other keys shows both, and an
// SSH server all host keys and host certificates, in an attempt each; the detail
// "algorithm" ("RSA", "ECDSA", or the name of an SSH host key algorithm) asks for
// one alone. Outcome is "accepted" where the handshake showed one, else "failed".
func Show(ctx context.Context, h driver.Host, listeners []driver.Listener, now func() time.Time) []driver.Attempt {
	_, attempts := Look(ctx, h, listeners, now)
	return attempts
}

// Look does what Show does, and returns beside the attempts what was shown, one for
// each listener and credential, sorted by At.
func Look(ctx context.Context, h driver.Host, listeners []driver.Listener, now func() time.Time) ([]driver.Shown, []driver.Attempt) {
	p := &prober{host: h, now: now}
	var shown []driver.Shown
	attempts := p.everywhere(ctx, listeners, func(ctx context.Context, s spot) []driver.Attempt {
		sights := p.show(ctx, s)
		p.mu.Lock()
		defer p.mu.Unlock()
		var attempts []driver.Attempt
		for _, sight := range sights {
			attempts = append(attempts, sight.attempt)
			if sight.attempt.Served != "" && !slices.ContainsFunc(shown, func(other driver.Shown) bool {
				return other.At == s.Listener.Address && other.Public.Is(sight.public)
			}) {
				shown = append(shown, driver.Shown{Public: sight.public, At: s.Listener.Address, Live: true})
			}
		}
		return attempts
	})
	slices.SortFunc(shown, func(a, b driver.Shown) int {
		return slices.Compare(sortKey(a), sortKey(b))
	})
	return shown, attempts
}

// LookInto looks at the listeners of a view, and adds what they show, with a note for people
// on each that makes no handshake.
func LookInto(ctx context.Context, h driver.Host, view *driver.View, now func() time.Time) {
	shown, attempts := Look(ctx, h, view.Listeners, now)
	view.Shown = append(view.Shown, shown...)
	for _, a := range attempts {
		if a.Served == "" {
			view.Notes = append(view.Notes, a.Address+" makes no handshake: "+a.Answer)
		}
	}
}

func sortKey(s driver.Shown) []string { return append([]string{s.At}, s.Names()...) }

// A sight is what one handshake showed.
type sight struct {
	attempt driver.Attempt
	public  driver.Public
}

// Speaks says whether Probe tries credentials at listeners of a protocol.
func Speaks(protocol string) bool {
	_, known := dialogueOf(protocol)
	return known || protocol == protocolSSH || protocol == protocolOAuth
}

// now is a clock.
type now = func() time.Time

// A prober is one call of Show or Probe.
type prober struct {
	host        driver.Host
	now         now
	hold        bool
	material    driver.Material  // the credential, where it is a certificate
	certificate *tls.Certificate // the same, for TLS
	signer      ssh.Signer       // the credential, for SSH

	mu       sync.Mutex
	sessions []session               // guarded by mu
	open     []driver.OpenConnection // guarded by mu
}

// everywhere calls try for each address of each listener, a few at once, and
// returns all attempts in the order of the listeners.
func (p *prober) everywhere(ctx context.Context, listeners []driver.Listener, try func(context.Context, spot) []driver.Attempt) []driver.Attempt {
	results := make([][]driver.Attempt, len(listeners))
	tokens := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, listener := range listeners {
		tokens <- struct{}{}
		group.Go(func() {
			defer func() { <-tokens }()
			addresses, err := p.resolve(ctx, listener.Address)
			if err != nil {
				failed := spot{listener, listener.Address}.attempt(driver.WayFresh, p.now)
				failed.Answer = clean(err.Error())
				results[i] = []driver.Attempt{failed}
			}
			if listener.Protocol == protocolOAuth {
				addresses = addresses[:min(1, len(addresses))]
			}
			for _, address := range addresses {
				results[i] = append(results[i], try(ctx, spot{listener, address})...)
			}
		})
	}
	group.Wait()
	return slices.Concat(results...)
}

// invalid is the error for a listener that cannot be probed as it is described.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

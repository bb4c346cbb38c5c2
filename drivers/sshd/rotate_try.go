// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/driver/trying"
)

// TestSecret signs in as the account by both keys. What shows another host key than the files of
// this sshd have is somebody else, and what that answers says nothing.
func (d *Door) TestSecret(ctx context.Context, r driver.SecretRequest) (driver.Tested, error) {
	keys := map[driver.Secret]driver.Material{}
	var err error
	if keys[r.New], err = parsePrivate([]byte(r.New.Reveal())); err != nil {
		return driver.Tested{}, fmt.Errorf("couldn't read the new private key: %w", err)
	}
	if r.TryOld {
		if keys[r.Old], err = parsePrivate([]byte(r.Old.Reveal())); err != nil {
			return driver.Tested{}, fmt.Errorf("the old secret cannot be tried by SSH, which knows keys alone: %w", err)
		}
	}
	s, a, err := d.accountOf(ctx, r.Host, r.Account)
	if err != nil {
		return driver.Tested{}, err
	}
	known, err := s.served(ctx, r.Host)
	if err != nil {
		return driver.Tested{}, err
	}
	t := trying.Trial{Request: r}
	err = t.Everywhere(ctx, r.Host, s.listenersOf(a.name), func(l driver.Listener, address string) trying.Spot {
		return trying.Spot{
			Listener: l, Address: address,
			Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
				return try(ctx, r, keys[secret], l, address, known)
			},
			Tell: func(secret driver.Secret, attempt driver.Attempt) {
				trying.Tell(r, keys[secret].Names(), "ssh:", attempt)
			},
		}
	})
	return t.Tested, err
}

// try signs in at one address.
func try(ctx context.Context, r driver.SecretRequest, key driver.Material, listener driver.Listener, address string, known []string) (driver.Attempt, error) {
	at := listener
	at.Address = address
	probed, err := probing.Probe(ctx, driver.ProbeRequest{Host: r.Host, Credential: key, Listeners: []driver.Listener{at}, Now: r.Now})
	if err != nil {
		return driver.Attempt{Listener: listener, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, Answer: err.Error(), At: r.Now().UTC()}, ctx.Err()
	}
	attempt := probed.Attempts[0] // the only one: nothing is resumed by SSH
	attempt.Listener = listener
	if attempt.Served != "" && !slices.Contains(known, attempt.Served) {
		attempt.Outcome, attempt.Answer = driver.OutcomeFailed, "another host key answers there than those of this sshd"
	}
	return attempt, ctx.Err()
}

// served are what listeners may show, as attempts name it. The private half of a host key may be
// with an agent.
func (s *site) served(ctx context.Context, h driver.Host) ([]string, error) {
	var known []string
	for _, path := range slices.Concat(s.hostKeys, s.hostCertificates) {
		m, err := readHostKey(ctx, h, path)
		if err != nil {
			m.Public, err = readPublic(ctx, h, path)
		}
		if err == nil {
			known = append(known, string(tallystick.FingerprintOf(m.SSH)))
		}
	}
	if len(known) == 0 {
		return nil, invalid("no host key of sshd can be read, so nobody knows who answers at its addresses")
	}
	return known, nil
}

// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
)

// TestSecret signs in as the account by both keys, by Old where New gets in. What shows another host key than the files of
// this sshd have is somebody else, and what that answers says nothing.
func (d *Door) TestSecret(ctx context.Context, r driver.SecretRequest) (driver.Tested, error) {
	var t turn
	var err error
	if t.new, err = parsePrivate([]byte(r.New.Reveal())); err != nil {
		return driver.Tested{}, fmt.Errorf("couldn't read the new private key: %w", err)
	}
	if r.TryOld {
		if t.old, err = parsePrivate([]byte(r.Old.Reveal())); err != nil {
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
	var tested driver.Tested
	for _, listener := range s.listenersOf(a.name) {
		addresses, err := probing.Addresses(ctx, r.Host, listener.Address)
		if err != nil {
			return tested, fmt.Errorf("couldn't find the addresses of %s: %w", listener.Address, err)
		}
		for _, address := range addresses {
			right := try(ctx, r, t.new, listener, address, known)
			switch {
			case r.TryOld && slices.ContainsFunc(right, func(a driver.Attempt) bool { return a.Outcome != driver.OutcomeAccepted }):
				tested.Old = append(tested.Old, failed(r, listener, address, "not tried: the new key does not get in"))
			case r.TryOld:
				tested.Old = append(tested.Old, try(ctx, r, t.old, listener, address, known)...)
				right = try(ctx, r, t.new, listener, address, known)
			}
			tested.New = append(tested.New, right...)
		}
	}
	return tested, ctx.Err()
}

// try signs in at one address.
func try(ctx context.Context, r driver.SecretRequest, key driver.Material, listener driver.Listener, address string, known []string) []driver.Attempt {
	at := listener
	at.Address = address
	probed, err := probing.Probe(ctx, driver.ProbeRequest{Host: r.Host, Credential: key, Listeners: []driver.Listener{at}, Now: r.Now})
	if err != nil {
		return []driver.Attempt{failed(r, listener, address, err.Error())}
	}
	for i := range probed.Attempts {
		one := &probed.Attempts[i]
		one.Listener = listener
		if one.Served != "" && !slices.Contains(known, one.Served) {
			one.Outcome, one.Answer = driver.OutcomeFailed, "another host key answers there than those of this sshd"
		}
	}
	return probed.Attempts
}

// failed is an attempt that came to nothing.
func failed(r driver.SecretRequest, listener driver.Listener, address, why string) driver.Attempt {
	return driver.Attempt{Listener: listener, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, Answer: why, At: r.Now().UTC()}
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

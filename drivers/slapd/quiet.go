// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/holding"
)

const (
	quietWithin = time.Second            // for an instant in which no handshake goes on
	handshaking = 500 * time.Millisecond // for which a handshake at ldap:// is believed to go on
)

// quietly calls set in an instant in which no client is in the middle of a TLS handshake.
//
// slapd with GnuTLS frees what a handshake goes on with when its TLS settings change
// (libldap counts its own references, and a session holds none): such a handshake fails,
// and slapd may crash. So new connections are held back for the moment, until those that
// shake hands have done so. Half-way handshakes that do not end in time are closed:
// going on with one of them is what does the damage.
func (d *door) quietly(ctx context.Context, h driver.Host, s *session, c change, set func() error) error {
	if d.Hold {
		defer holding.Hold(ctx, h, c.listeners, "slapd")()
	}
	s.quiet(ctx, h, c.now)
	return set()
}

func (s *session) quiet(ctx context.Context, h driver.Host, now func() time.Time) {
	for deadline := time.Now().Add(quietWithin); ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		all, err := s.connections()
		if err != nil {
			return // without cn=monitor nobody knows
		}
		all = slices.DeleteFunc(all, func(c connection) bool { return !c.shaking(now()) })
		if len(all) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, c := range all {
				if c.tls {
					kill(ctx, h, c) // one that stays is no reason to wait longer
				}
			}
			return
		}
	}
}

// shaking says whether a connection may be in the middle of a handshake: one of ldaps://
// that has asked for nothing yet, or one of ldap:// that has asked for one thing, which may
// have been StartTLS.
func (c connection) shaking(now time.Time) bool {
	if c.tls {
		return c.asked == "0"
	}
	return c.asked == "1" && c.as == "" && now.Sub(c.began) < handshaking
}

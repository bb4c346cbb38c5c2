// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

const (
	quietWithin = time.Second            // for an instant in which no handshake goes on
	heldAtMost  = 2 * time.Second        // for which new connections wait when nobody lets them go on
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
		defer hold(ctx, h, c.listeners)()
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

// hold drops what begins new connections to the listeners: clients begin again after a
// second (RFC 6298 section 2), by themselves. It returns what ends that; when it is not
// called, or fails, the kernel forgets the ports after heldAtMost. Where nft is not there
// or may not do so, connections are not held.
func hold(ctx context.Context, h driver.Host, listeners []driver.Listener) (release func()) {
	var ports []string
	for _, l := range listeners {
		if _, port, err := net.SplitHostPort(l.Address); err == nil && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return func() {}
	}
	slices.Sort(ports)
	table := "tallystick_slapd_" + strings.Join(ports, "_")
	var elements []string
	for _, port := range ports {
		elements = append(elements, fmt.Sprintf("%s timeout %ds", port, int(heldAtMost.Seconds())))
	}
	rules := strings.NewReplacer("TABLE", table, "PORTS", strings.Join(elements, ", ")).Replace(holding)
	// Errors say that nothing is held, or that it ends by itself.
	h.Run(ctx, driver.Command{Args: []string{"nft", "-f", "-"}, Stdin: []byte(rules)})
	return func() {
		h.Run(context.WithoutCancel(ctx), driver.Command{Args: []string{"nft", "delete", "table", "inet", table}})
	}
}

// holding is a table of its own, made anew in one transaction.
const holding = `add table inet TABLE
delete table inet TABLE
table inet TABLE {
	set held { type inet_service; flags timeout; elements = { PORTS } }
	chain input {
		type filter hook input priority -310; policy accept;
		tcp dport @held tcp flags & (fin | syn | rst | ack) == syn drop
	}
}
`

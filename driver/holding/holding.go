// SPDX-License-Identifier: Apache-2.0

// Package holding is what drivers of doors share whose servers lose clients that are in the
// middle of beginning when they read their settings again: it keeps new ones from
// beginning for that moment.
package holding

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// AtMost is for how long new connections wait when nobody lets them go on: on a machine that
// has too much to do a reload takes seconds. Clients begin again after 1, 3 and 7 s.
const AtMost = 6 * time.Second

// Ports returns the ports of listeners, sorted. Those that are no numbers are left out.
func Ports(listeners []driver.Listener) []string {
	var ports []string
	for _, l := range listeners {
		_, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			continue
		}
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Hold drops what begins new connections to the ports of the listeners: clients begin again
// after a second (RFC 6298 section 2), by themselves. It returns what ends that; when it is
// not called, or fails, the kernel forgets the ports after AtMost. Where nft is not there
// or may not do so, connections are not held. name is that of the driver, which holds apart
// from others.
func Hold(ctx context.Context, h driver.Host, listeners []driver.Listener, name string) (release func()) {
	ports := Ports(listeners)
	if len(ports) == 0 {
		return func() {}
	}
	table := "tallystick_" + name + "_" + strings.Join(ports, "_")
	var elements []string
	for _, port := range ports {
		elements = append(elements, fmt.Sprintf("%s timeout %ds", port, int(AtMost.Seconds())))
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

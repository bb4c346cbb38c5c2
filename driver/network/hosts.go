// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Hosts keep count of the connections to hosts and to their networks, for all
// looks that share them: see WithHosts. A look without has some of its own.
//
// Connections to one host begin one after the other, and those that wait do so in
// the order in which they came, whichever look they belong to. Nothing is booked
// ahead: a look that ends while it waits leaves the host to the others at once.
type Hosts struct {
	mu    sync.Mutex
	lines map[netip.Prefix]*line // guarded by mu; of hosts (whole addresses) and of networks
	sweep int                    // guarded by mu; size at which lines are swept
}

// sweepFrom is how many hosts and networks are remembered at least.
const sweepFrom = 8192

// NewHosts returns hosts that nobody has connected to.
func NewHosts() *Hosts {
	return &Hosts{lines: map[netip.Prefix]*line{}, sweep: sweepFrom}
}

// hostsKey is the key of WithHosts.
type hostsKey struct{}

// WithHosts makes every look below ctx share hosts, so that together they are no
// more to one host than each may be alone. It is for whoever lets several looks
// go on at once: drivers pass on the context that they get, and know nothing of it.
func WithHosts(ctx context.Context, hosts *Hosts) context.Context {
	return context.WithValue(ctx, hostsKey{}, hosts)
}

// A line is those who want to connect to one host, or to one network.
type line struct {
	front chan struct{} // holds whoever is next; the others wait to put themselves there
	due   time.Time     // when the next turn is free; guarded by front, or by Hosts.mu when users is 0
	users int           // guarded by Hosts.mu; who wait or are next
}

// wait returns when a connection to an address may begin, of which there may be
// perHost in a second and perNetwork times as many to its network.
//
// Each limit is a leaky bucket kept as the time of its next free turn (the
// generic cell rate algorithm of ITU-T I.371): a host may be asked perHost times at
// once after a second of rest. Looks with different limits take turns of different
// lengths from the same second.
func (h *Hosts) wait(ctx context.Context, address netip.Addr, perHost int) error {
	host, block := netip.PrefixFrom(address, address.BitLen()), limitedBlock(address)
	step := time.Second / time.Duration(perHost)
	lines := h.join(host, block)
	defer h.leave(lines)
	if err := lines[0].come(ctx, time.Second-step); err != nil {
		return err
	}
	// The front of the host is kept meanwhile, so that its turn is counted from
	// when the connection begins.
	err := lines[1].come(ctx, time.Second-step/perNetwork)
	if err != nil {
		<-lines[0].front
		return err
	}
	lines[1].begin(step / perNetwork)
	lines[0].begin(step)
	return nil
}

// come returns at the front of the line, when a turn is free at most ahead from
// now. After an error somebody else may be there.
func (l *line) come(ctx context.Context, ahead time.Duration) error {
	select {
	case l.front <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := Sleep(ctx, time.Until(l.due.Add(-ahead)))
	if err != nil {
		<-l.front
	}
	return err
}

// begin takes the turn and leaves the front.
func (l *line) begin(step time.Duration) {
	if now := time.Now(); l.due.Before(now) {
		l.due = now
	}
	l.due = l.due.Add(step)
	<-l.front
}

// join returns the lines of a host and of its network.
func (h *Hosts) join(names ...netip.Prefix) []*line {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(time.Now())
	lines := make([]*line, len(names))
	for i, name := range names {
		l, ok := h.lines[name]
		if !ok {
			l = &line{front: make(chan struct{}, 1)}
			h.lines[name] = l
		}
		l.users++
		lines[i] = l
	}
	return lines
}

func (h *Hosts) leave(lines []*line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range lines {
		l.users--
	}
}

// forget drops what has rested, so that memory goes with the rate and not with
// the number of hosts. It needs mu.
func (h *Hosts) forget(now time.Time) {
	if len(h.lines) < h.sweep {
		return
	}
	maps.DeleteFunc(h.lines, func(_ netip.Prefix, l *line) bool { return l.users == 0 && l.due.Before(now) })
	h.sweep = max(sweepFrom, 2*len(h.lines))
}

// limitedBlock returns the block that is limited together with an address.
func limitedBlock(address netip.Addr) netip.Prefix {
	bits := 48
	if address.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(address, bits).Masked()
}

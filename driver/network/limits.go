// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// Limits say how many connections may begin in a second: in all, to one
// address, and to one network (a /24 of IPv4, a /48 of IPv6), which is
// perNetwork times as many as to one address. Connections to loopback addresses
// count in all alone: what this machine bears is its operator's own affair.
//
// One value is shared by everything that makes up a look. A nil one is no limit.
type Limits struct {
	rate, perHost int

	mu       sync.Mutex
	all      time.Time                  // guarded by mu; when the next one is due
	hosts    map[netip.Addr]time.Time   // guarded by mu; likewise
	networks map[netip.Prefix]time.Time // guarded by mu; likewise
	sweep    int                        // guarded by mu; size at which the maps are swept
}

const (
	perNetwork = 10
	sweepFrom  = 4096
)

// NewLimits returns limits with connections per second in all and to one
// address; 0 is no limit.
func NewLimits(rate, perHost int) *Limits {
	return &Limits{
		rate: rate, perHost: perHost, sweep: sweepFrom,
		hosts: map[netip.Addr]time.Time{}, networks: map[netip.Prefix]time.Time{},
	}
}

// Wait returns when a connection to address may begin, or when ctx ends, with
// its error.
func (l *Limits) Wait(ctx context.Context, address netip.Addr) error {
	if l == nil {
		return ctx.Err()
	}
	delay := l.reserve(address.Unmap().WithZone(""), time.Now())
	if delay <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reserve takes a turn and returns how long to wait for it. Each limit is a
// leaky bucket kept as the time of its next free turn (the generic cell rate
// algorithm of ITU-T I.371): a host may be asked perHost times at once after a
// second of rest; the total flows evenly.
func (l *Limits) reserve(address netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	delay := time.Duration(0)
	turn := func(due time.Time, rate int, ahead time.Duration) time.Time {
		if due.Before(now) {
			due = now
		}
		delay = max(delay, due.Sub(now)-ahead)
		return due.Add(time.Second / time.Duration(rate))
	}
	if l.rate > 0 {
		l.all = turn(l.all, l.rate, 0)
	}
	if l.perHost > 0 && !address.IsLoopback() {
		l.forget(now)
		step := time.Second / time.Duration(l.perHost)
		l.hosts[address] = turn(l.hosts[address], l.perHost, time.Second-step)
		block := limitedBlock(address)
		l.networks[block] = turn(l.networks[block], l.perHost*perNetwork, time.Second-step/perNetwork)
	}
	return delay
}

// forget drops what has rested, so that memory goes with the rate and not with
// the number of hosts. It needs mu.
func (l *Limits) forget(now time.Time) {
	if len(l.hosts) < l.sweep {
		return
	}
	maps.DeleteFunc(l.hosts, func(_ netip.Addr, due time.Time) bool { return due.Before(now) })
	maps.DeleteFunc(l.networks, func(_ netip.Prefix, due time.Time) bool { return due.Before(now) })
	l.sweep = max(sweepFrom, 2*len(l.hosts))
}

// limitedBlock returns the block that is limited together with an address.
func limitedBlock(address netip.Addr) netip.Prefix {
	bits := 48
	if address.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(address, bits).Masked()
}

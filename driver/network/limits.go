// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// Limits say how many connections may begin in a second: in all, to one
// address, and to one network (a /24 of IPv4, a /48 of IPv6), which is
// perNetwork times as many as to one address. Connections to loopback addresses
// count in all alone: what this machine bears is its operator's own affair.
//
// One value is shared by everything that makes up a look. What several looks do
// to one host counts together when they share Hosts. A nil one is no limit.
type Limits struct {
	rate, perHost int
	hosts         *Hosts // unless the context brings some

	mu  sync.Mutex
	due time.Time // guarded by mu; when the next connection in all is due
}

const perNetwork = 10

// NewLimits returns limits with connections per second in all and to one
// address; 0 is no limit.
func NewLimits(rate, perHost int) *Limits {
	return &Limits{rate: rate, perHost: perHost, hosts: NewHosts()}
}

// Wait returns when a connection to address may begin, or when ctx ends, with
// its error.
func (l *Limits) Wait(ctx context.Context, address netip.Addr) error {
	if l == nil {
		return ctx.Err()
	}
	if err := Sleep(ctx, l.reserve(time.Now())); err != nil {
		return err
	}
	address = address.Unmap().WithZone("")
	if l.perHost == 0 || address.IsLoopback() {
		return nil
	}
	hosts, ok := ctx.Value(hostsKey{}).(*Hosts)
	if !ok {
		hosts = l.hosts
	}
	return hosts.wait(ctx, address, l.perHost)
}

// reserve takes a turn in all and returns how long to wait for it: the total
// flows evenly.
func (l *Limits) reserve(now time.Time) time.Duration {
	if l.rate == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.due.Before(now) {
		l.due = now
	}
	delay := l.due.Sub(now)
	l.due = l.due.Add(time.Second / time.Duration(l.rate))
	return delay
}

// Sleep returns after some time, or when ctx ends, with its error.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

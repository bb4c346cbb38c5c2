// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// begins returns when n connections may begin, counted from the first.
func begins(l *Limits, n int, address func(int) netip.Addr) (last time.Duration) {
	now := time.Now()
	for i := range n {
		last = max(last, l.reserve(address(i), now))
	}
	return last
}

func one(text string) func(int) netip.Addr {
	return func(int) netip.Addr { return netip.MustParseAddr(text) }
}

func TestLimits(t *testing.T) {
	within := func(prefix string) func(int) netip.Addr {
		first := netip.MustParsePrefix(prefix).Addr()
		return func(i int) netip.Addr { return plus(first, int64(i)) }
	}
	for _, row := range []struct {
		name          string
		rate, perHost int
		connections   int
		address       func(int) netip.Addr
		want          time.Duration
	}{
		{"no limit", 0, 0, 1000, one("192.0.2.1"), 0},
		{"a host is asked at once after a rest", 0, 20, 20, one("192.0.2.1"), 0},
		{"and then at its rate", 0, 20, 60, one("192.0.2.1"), 2 * time.Second},
		{"mapped addresses are the same host", 0, 20, 60, one("::ffff:192.0.2.1"), 2 * time.Second},
		{"the total flows evenly", 100, 0, 101, within("10.0.0.0/8"), time.Second},
		{"a network has ten times the rate of a host", 0, 20, 256, within("192.0.2.0/24"), 280 * time.Millisecond},
		{"networks do not share", 0, 20, 1024, func(i int) netip.Addr { return plus(netip.MustParseAddr("10.0.0.0"), int64(i)<<8) }, 0},
		{"a /48 of IPv6 is a network", 0, 20, 400, within("2001:db8::/48"), time.Second},
		{"loopback has no limits of its own", 0, 1, 1000, one("127.0.0.1"), 0},
		{"but counts in all", 10, 0, 11, one("127.0.0.1"), time.Second},
	} {
		got := begins(NewLimits(row.rate, row.perHost), row.connections, row.address)
		if diff := got - row.want; diff < -time.Millisecond || diff > time.Millisecond {
			t.Errorf("%s: the last connection begins after %v, want %v", row.name, got, row.want)
		}
	}
}

func TestHostsThatRestAreForgotten(t *testing.T) {
	l := NewLimits(0, 1000)
	now := time.Now()
	for i := range 200_000 {
		l.reserve(plus(netip.MustParseAddr("10.0.0.0"), int64(i)), now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(l.hosts) > 2*sweepFrom || len(l.networks) > 2*sweepFrom {
		t.Errorf("%d hosts and %d networks are remembered", len(l.hosts), len(l.networks))
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	l := NewLimits(1, 0)
	if err := l.Wait(t.Context(), netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("a second connection did not wait")
	}
}

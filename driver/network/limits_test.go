// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// begins returns when the last of n connections, which all wait at once, begins.
func begins(ctx context.Context, t *testing.T, l *Limits, n int, address func(int) netip.Addr) time.Duration {
	t.Helper()
	from := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := l.Wait(ctx, address(i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return time.Since(from)
}

func one(text string) func(int) netip.Addr {
	return func(int) netip.Addr { return netip.MustParseAddr(text) }
}

func near(got, want time.Duration) bool {
	return got-want > -time.Millisecond && got-want < time.Millisecond
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
		{"one in a second", 0, 1, 4, one("192.0.2.1"), 3 * time.Second},
		{"mapped addresses are the same host", 0, 20, 60, one("::ffff:192.0.2.1"), 2 * time.Second},
		{"the total flows evenly", 100, 0, 101, within("10.0.0.0/8"), time.Second},
		{"a network has ten times the rate of a host", 0, 20, 256, within("192.0.2.0/24"), 280 * time.Millisecond},
		{"networks do not share", 0, 20, 1024, func(i int) netip.Addr { return plus(netip.MustParseAddr("10.0.0.0"), int64(i)<<8) }, 0},
		{"a /48 of IPv6 is a network", 0, 20, 400, within("2001:db8::/48"), time.Second},
		{"loopback has no limits of its own", 0, 1, 1000, one("127.0.0.1"), 0},
		{"but counts in all", 10, 0, 11, one("127.0.0.1"), time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := begins(t.Context(), t, NewLimits(row.rate, row.perHost), row.connections, row.address); !near(got, row.want) {
				t.Errorf("%s: the last connection begins after %v, want %v", row.name, got, row.want)
			}
		})
	}
}

// Two looks that share hosts are together no more to a host than one alone, and
// neither keeps the other out.
func TestLooksShareAHost(t *testing.T) {
	for _, row := range []struct {
		name      string
		a, b      int // connections to the host in a second
		want      time.Duration
		connected int // of each
	}{
		{"with the same limit", 20, 20, 3 * time.Second, 40},
		// 40 turns of 50 ms and 40 of 100 ms, less the second of rest.
		{"with different limits", 20, 10, 5 * time.Second, 40},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := WithHosts(t.Context(), NewHosts())
			var both sync.WaitGroup
			var took [2]time.Duration
			for i, perHost := range []int{row.a, row.b} {
				both.Go(func() { took[i] = begins(ctx, t, NewLimits(0, perHost), row.connected, one("192.0.2.1")) })
			}
			both.Wait()
			if got := max(took[0], took[1]); !near(got, row.want) {
				t.Errorf("%s: the last connection begins after %v, want %v", row.name, got, row.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx := WithHosts(t.Context(), NewHosts())
		crowd := NewLimits(0, 10)
		for range 1000 {
			go crowd.Wait(ctx, netip.MustParseAddr("192.0.2.1"))
		}
		synctest.Wait()
		if got := begins(ctx, t, NewLimits(0, 10), 1, one("192.0.2.2")); got > 100*time.Millisecond {
			t.Errorf("another host waits %v for its neighbour", got)
		}
	})
}

// What a look waits for when it is stopped is free for the next.
func TestAStoppedLookLeavesTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := NewHosts()
		dying, kill := context.WithCancel(t.Context())
		for range 1000 {
			go NewLimits(0, 1).Wait(WithHosts(dying, hosts), netip.MustParseAddr("192.0.2.1"))
		}
		synctest.Wait()
		kill()
		synctest.Wait()
		if got := begins(WithHosts(t.Context(), hosts), t, NewLimits(0, 1), 1, one("192.0.2.1")); !near(got, time.Second) {
			t.Errorf("the next connection begins after %v, want the second after the one that began", got)
		}
	})
}

func TestHostsThatRestAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimits(0, 1000)
		for i := range 40_000 {
			if err := l.Wait(t.Context(), plus(netip.MustParseAddr("10.0.0.0"), int64(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(l.hosts.lines); n > 2*sweepFrom {
			t.Errorf("%d hosts and networks are remembered", n)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	for _, l := range []*Limits{NewLimits(1, 0), NewLimits(0, 1)} {
		if err := l.Wait(t.Context(), netip.MustParseAddr("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := l.Wait(ctx, netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Error("a second connection did not wait")
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listener returns where something listens on loopback.
func listener(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

func names(found map[string][]netip.Addr, calls *int) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, name string) ([]netip.Addr, error) {
		*calls++
		if list, ok := found[name]; ok {
			return list, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func TestANameIsResolvedOnceToAllItsAddresses(t *testing.T) {
	calls := 0
	d := Dialer{Timeout: time.Second, Exclude: exclusion(t, "127.0.0.9", "b.example"), Lookup: names(map[string][]netip.Addr{
		"a.example": addrs("::ffff:127.0.0.3", "127.0.0.9", "127.0.0.2", "127.0.0.3"),
		"b.example": addrs("127.0.0.1"), "c.example": addrs("127.0.0.9"), "d.example": nil,
	}, &calls)}
	for range 2 {
		got, err := d.Resolve(t.Context(), "a.example")
		if diff := cmp.Diff(addrs("127.0.0.2", "127.0.0.3"), got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
	}
	if calls != 1 {
		t.Errorf("looked up %d times", calls)
	}
	for host, want := range map[string]string{
		"b.example": "excluded", "c.example": "excluded", "127.0.0.9": "excluded", "::ffff:127.0.0.9": "excluded",
		"d.example": "no-such-host", "e.example": "no-such-host",
	} {
		if _, err := d.Resolve(t.Context(), host); err == nil || Word(err) != want {
			t.Errorf("%s gives %v, want %s", host, err, want)
		}
	}
}

func TestDial(t *testing.T) {
	open, closed := listener(t), listener(t)
	d := Dialer{Timeout: time.Second, Abort: true, Exclude: exclusion(t, "127.0.0.77")}
	conn, err := d.Dial(t.Context(), open)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.77"), closed.Port())
	for to, want := range map[netip.AddrPort]string{
		netip.AddrPortFrom(closed.Addr().Next(), 1): "refused",
		mapped: "excluded",
		netip.AddrPortFrom(netip.IPv4Unspecified(), open.Port()):   "unreachable",
		netip.AddrPortFrom(netip.MustParseAddr("224.0.0.1"), 443):  "unreachable",
		netip.AddrPortFrom(netip.MustParseAddr("::"), open.Port()): "unreachable",
	} {
		if conn, err := d.Dial(t.Context(), to); err == nil || Word(err) != want {
			t.Errorf("%s gives %v, want %s", to, err, want)
			if conn != nil {
				conn.Close()
			}
		}
		if err := d.Allow(t.Context(), to.Addr()); want != "refused" && Word(err) != want || want == "refused" && err != nil {
			t.Errorf("%s is allowed with %v, want %s", to, err, want)
		}
	}
}

// deaf returns the address of a listener whose queue is full, so that further
// connections to it are neither accepted nor refused.
func deaf(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(bound.(*syscall.SockaddrInet4).Port))
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return at
}

func TestAConnectionThatIsDroppedTimesOut(t *testing.T) {
	d := Dialer{Timeout: 100 * time.Millisecond}
	if _, err := d.Dial(t.Context(), deaf(t)); Word(err) != "timeout" {
		t.Errorf("a dropped connection gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, listener(t)); Word(err) != "cancelled" {
		t.Errorf("a cancelled connection gives %v", err)
	}
}

// Twenty thousand endpoints of which half drop connections cost their timeout
// in parallel, and bounded memory.
func TestManyDeadEndpoints(t *testing.T) {
	dead, refusing := deaf(t), netip.MustParseAddrPort("127.0.0.1:1")
	d := Dialer{Timeout: 200 * time.Millisecond, Limits: NewLimits(0, 20)}
	targets := block(t, "10.0.0.0/8")
	targets.size = 20_000 // of the sixteen million; none of them is dialled
	var mu sync.Mutex
	words, turn := map[string]int{}, 0
	var peak uint64
	began := time.Now()
	err := Look{Targets: targets, Concurrency: 4000, Sink: &positions{}}.Each(t.Context(), func(ctx context.Context, _ Endpoint) error {
		mu.Lock()
		turn++
		to, sample := [...]netip.AddrPort{dead, refusing}[turn%2], turn%2000 == 0
		mu.Unlock()
		_, err := d.Dial(ctx, to)
		mu.Lock()
		defer mu.Unlock()
		if sample {
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			peak = max(peak, memory.Sys)
		}
		words[Word(err)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// A machine that is busy may be too slow to refuse some of them.
	if words["timeout"]+words["refused"] != 20_000 || words["refused"] == 0 || words["timeout"] < 10_000 {
		t.Errorf("the endpoints ended as %v", words)
	}
	if took := time.Since(began); took > time.Minute || peak > 300<<20 {
		t.Errorf("it took %v and %d MB", took, peak>>20)
	}
}

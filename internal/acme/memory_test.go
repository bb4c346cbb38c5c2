// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// A clock that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestNonceLife(t *testing.T) {
	c := &clock{time.Now()}
	n := newNonces(c.now)
	old := n.issue()
	c.at = c.at.Add(2 * time.Hour)
	if n.take(old) {
		t.Error("a nonce is good for two hours")
	}
	// The clock is set back by an hour: nonces are good, once.
	future := n.issue()
	c.at = c.at.Add(-time.Hour)
	if !n.take(future) || n.take(future) {
		t.Error("a nonce is not good once when the clock is set back")
	}
	if newNonces(c.now).take(n.issue()) {
		t.Error("a nonce of another process is good")
	}
}

func TestNonceWindow(t *testing.T) {
	n := newNonces(time.Now)
	first, second := n.issue(), n.issue()
	n.next += nonceWindow - 2 // as if that many were given out
	if !n.take(first) {
		t.Error("the oldest of the window is not good")
	}
	last := n.issue() // has the place of first
	if n.take(first) || !n.take(second) || !n.take(last) || n.take(last) {
		t.Error("a nonce that left the window is good, or one in it is not")
	}
}

func TestLimit(t *testing.T) {
	now := time.Now()
	l := newLimit(4)
	for i := range 4 {
		if wait := l.take("a", now); wait != 0 {
			t.Fatalf("after %d: wait %s", i, wait)
		}
	}
	if wait := l.take("a", now); wait != 15*time.Minute {
		t.Errorf("wait %s; want a quarter of an hour", wait)
	}
	if l.take("b", now) != 0 {
		t.Error("one key counts for another")
	}
	if l.take("a", now.Add(15*time.Minute)) != 0 || l.take("a", now.Add(16*time.Minute)) == 0 {
		t.Error("a quarter of an hour brings not exactly one back")
	}
	if l.wait("a", now.Add(-time.Hour)) < time.Hour {
		t.Error("a clock that is set back lets more through")
	}
}

func TestLimitIsBounded(t *testing.T) {
	now := time.Now()
	l := newLimit(1)
	for i := range maxCounted + 1000 {
		l.take(fmt.Sprint(i), now)
	}
	if n := len(l.full); n > maxCounted {
		t.Errorf("%d keys are kept", n)
	}
	l.take("later", now.Add(2*time.Hour))
	for i := range maxCounted {
		l.take(fmt.Sprint("x", i), now.Add(2*time.Hour))
	}
	if n := len(l.full); n > maxCounted {
		t.Errorf("%d keys are kept", n)
	}
}

func TestHostKey(t *testing.T) {
	for remote, want := range map[string]string{
		"10.1.2.3:99": "10.1.2.3", "[::ffff:10.1.2.3]:99": "10.1.2.3", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "@",
	} {
		if got := hostKey(remote); got != want {
			t.Errorf("%s: %s; want %s", remote, got, want)
		}
	}
}

func TestReverseName(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":   "1.2.0.192.in-addr.arpa", // RFC 8738 section 6
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := reverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s; want %s", ip, got, want)
		}
	}
}

func TestAccountsAreForgotten(t *testing.T) {
	a := newAccounts()
	now := time.Now()
	one := &account{}
	one.ID = "x"
	a.put(one, now)
	if a.get("x", now.Add(time.Second)) == nil || a.get("x", now.Add(11*time.Second)) != nil || a.get("x", now.Add(-time.Hour)) != nil {
		t.Error("an account is relied on for another time than 10 seconds")
	}
	for i := range 2 * maxRemembered {
		other := &account{}
		other.ID = fmt.Sprint(i)
		a.put(other, now)
	}
	if len(a.byID) > maxRemembered {
		t.Errorf("%d accounts are remembered", len(a.byID))
	}
}

// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"net/netip"
	"sync"
	"time"
)

// limits are those of section "limits" of the configuration that count over time.
type limits struct {
	accounts, orders, failures *limit
	refused                    *limit // of certificate requests, by order
}

// maxCounted is how many keys one limit counts: some 20 MB at the most.
const maxCounted = 100_000

// A limit lets so many things happen in an hour for each key, as many at once as
// nothing happened before (the generic cell rate algorithm, ITU-T I.371). Of each key
// it keeps a time and nothing else.
type limit struct {
	step time.Duration // an hour, divided by how many

	mu   sync.Mutex
	full map[string]time.Time // guarded by mu; when all that a key may have will be there again
}

func newLimit(perHour int) *limit {
	return &limit{step: time.Hour / time.Duration(perHour), full: map[string]time.Time{}}
}

// wait returns how long a key must wait until it may again; 0 is not at all.
func (l *limit) wait(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left(key, now)
}

// take counts one, when the key may; otherwise it returns how long to wait.
func (l *limit) take(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.left(key, now)
	if wait == 0 {
		l.add(key, now)
	}
	return wait
}

// count counts one, whether or not the key may.
func (l *limit) count(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(key, now)
}

// left is wait, under mu.
func (l *limit) left(key string, now time.Time) time.Duration {
	return max(0, l.full[key].Add(l.step).Sub(now.Add(time.Hour)))
}

// add is count, under mu.
func (l *limit) add(key string, now time.Time) {
	full := l.full[key]
	if full.Before(now) {
		full = now
	}
	if _, known := l.full[key]; !known && len(l.full) >= maxCounted {
		l.makeRoom(now)
	}
	l.full[key] = full.Add(l.step)
}

// makeRoom drops the keys that have all again, and if all have done something
// lately, some of them: whoever can fill the table could get around it anyway.
func (l *limit) makeRoom(now time.Time) {
	for key, full := range l.full {
		if !full.After(now) {
			delete(l.full, key)
		}
	}
	for key := range l.full {
		if len(l.full) < maxCounted*7/8 {
			return
		}
		delete(l.full, key)
	}
}

// hostKey is what addresses of one host have in common: of IPv6 the /64, because
// who has one address there has all of them (RFC 4291 section 2.5.1).
func hostKey(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"sync"
	"time"
)

// A limit is a token bucket as Microsoft documents it: so many units in so much time.
type limit struct {
	name  string
	units float64
	per   time.Duration
	// by says whom the bucket is for.
	byTenant, byApp bool
	// silent limits do not say when to come back (throttling-limits, identity protection).
	silent bool
}

// The limits of Microsoft's page on throttling of Graph. A tenant counts as small.
var (
	limitGlobal     = limit{name: "Global", units: 2000, per: time.Second, byApp: true}
	limitRead       = limit{name: "ResourceUnitLimitExceeded", units: 3500, per: 10 * time.Second, byApp: true, byTenant: true}
	limitWrite      = limit{name: "WriteLimitExceeded", units: 3000, per: 150 * time.Second, byApp: true, byTenant: true}
	limitReports    = limit{name: "RequestLimitExceeded", units: 5, per: 10 * time.Second, byApp: true, byTenant: true}
	limitProtection = limit{name: "RequestLimitExceeded", units: 1, per: time.Second, byTenant: true, silent: true}
)

type bucketKey struct{ limit, app, tenant string }

type bucket struct {
	level float64 // what is left
	at    time.Time
}

// limits are the buckets of a world.
type limits struct {
	mu      sync.Mutex
	buckets map[bucketKey]*bucket // guarded by mu
}

func newLimits() *limits { return &limits{buckets: map[bucketKey]*bucket{}} }

// take takes units from a bucket. It returns how much of the bucket is used, and how long until
// there is enough again: 0 if there was.
func (l *limits) take(of *limit, kind, app, tenant string, units float64, now time.Time) (used float64, wait time.Duration) {
	key := bucketKey{limit: kind + of.name}
	if of.byApp {
		key.app = app
	}
	if of.byTenant {
		key.tenant = tenant
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		b = &bucket{level: of.units, at: now}
		l.buckets[key] = b
	}
	rate := of.units / of.per.Seconds()
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.level, b.at = min(of.units, b.level+passed*rate), now
	}
	if b.level < units {
		return 1, time.Duration((units - b.level) / rate * float64(time.Second))
	}
	b.level -= units
	return 1 - b.level/of.units, 0
}

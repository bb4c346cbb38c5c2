// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"math/rand/v2"
	"time"
)

// UnifiedConfig says how the unified audit behaves. Its zero value is how the
// documents describe the cloud.
type UnifiedConfig struct {
	// Latency draws how long after an event its record can be read. Nil: 60 to 90
	// minutes, which is typical of the core services (FAQ of the Management Activity
	// API; there is no promise).
	Latency Latency
	// FirstBlob is how long after a subscription began the first content comes, at
	// most. Zero: 12 hours. Negative: at once.
	FirstBlob time.Duration
	// BlobEvery is the time of which one blob holds the records. Zero: 10 minutes.
	BlobEvery time.Duration
	// Duplicates is the share of records that come a second time in a later blob.
	Duplicates float64
	// Ordered keeps the records of a blob in the order of their events, which the
	// cloud does not.
	Ordered bool
	// NoContext is the share of aggregated records without AppAccessContext.
	NoContext float64
	// OwnAddress writes the client's own address into the records of Graph. In
	// reality they hold an address of Microsoft's.
	OwnAddress bool
	// PageSize of a listing of content; zero: 100.
	PageSize int
	// PerMinute is how many requests a tenant answers in a minute; zero: 2,000.
	PerMinute int
	// QueryTime is how long an audit log query is not started, and then runs.
	// Zero: 30 s. Negative: it has succeeded at once.
	QueryTime time.Duration
}

func (c UnifiedConfig) withDefaults() UnifiedConfig {
	if c.Latency == nil {
		c.Latency = func(r *rand.Rand) time.Duration { return time.Hour + time.Duration(r.Int64N(int64(30*time.Minute))) }
	}
	if c.FirstBlob == 0 {
		c.FirstBlob = 12 * time.Hour
	}
	if c.BlobEvery == 0 {
		c.BlobEvery = 10 * time.Minute
	}
	if c.PageSize == 0 {
		c.PageSize = 100
	}
	if c.PerMinute == 0 {
		c.PerMinute = 2000
	}
	if c.QueryTime == 0 {
		c.QueryTime = 30 * time.Second
	}
	return c
}

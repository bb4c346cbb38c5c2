// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// summaryAge is how old a summary may be before it is counted again.
	summaryAge = 5 * time.Second
	// summaryDays is how far the timeline of endings reaches.
	summaryDays = 120
	// summaryPatience is how long a page waits for counting. An estate that
	// takes longer is counted behind the pages, which show the count before.
	summaryPatience = 50 * time.Millisecond
)

// A summaryCache holds the last summary.
type summaryCache struct {
	wanted chan struct{} // asks Run to count again

	mu      sync.Mutex
	last    store.Summary // guarded by mu
	at      time.Time     // guarded by mu; when last was counted, zero is never
	took    time.Duration // guarded by mu; how long that took
	running bool          // guarded by mu; whether Run counts
}

// Summary returns the estate in numbers. Those of a large estate, of a million
// credentials, may be a few seconds older than the question.
func (i *Inventory) Summary(ctx context.Context, actor gate.Actor) (store.Summary, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, "summary"); err != nil {
		return store.Summary{}, err
	}
	c := &i.summary
	c.mu.Lock()
	last, fresh := c.last, !c.at.IsZero() && i.now().Sub(c.at) < summaryAge
	behind := c.running && c.took > summaryPatience && !c.at.IsZero()
	c.mu.Unlock()
	switch {
	case fresh:
		return last, nil
	case behind:
		select {
		case c.wanted <- struct{}{}:
		default: // it was asked already
		}
		return last, nil
	}
	return i.count(ctx)
}

// count counts and remembers.
func (i *Inventory) count(ctx context.Context) (store.Summary, error) {
	began := i.now()
	s, err := i.db.Summary(ctx, began, summaryDays)
	if err != nil {
		return s, err
	}
	c := &i.summary
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.at, c.took = s, i.now(), i.now().Sub(began)
	return s, nil
}

// Run counts large estates behind the pages that ask, until ctx ends.
func (i *Inventory) Run(ctx context.Context, failed func(error)) error {
	c := &i.summary
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wanted:
		}
		if _, err := i.count(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

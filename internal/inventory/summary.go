// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// summaryAge is how old a summary may be before it is counted again; one
	// that takes long may be older, so that a page that is left open does not
	// keep the machine counting: summaryShare times as old as it took.
	summaryAge   = 5 * time.Second
	summaryShare = 20
	// summaryDays is how far the timeline of endings reaches.
	summaryDays = 120
	// summaryPatience is how long a page waits for counting. An estate that
	// takes longer is counted behind the pages, which show the count before.
	summaryPatience = 50 * time.Millisecond
	// summaryName is under what the summary of a large estate is kept, for the
	// first page after a start.
	summaryName = "summary"
)

// A keptSummary is what is kept under summaryName.
type keptSummary struct {
	Summary store.Summary
	Took    time.Duration
}

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
	last, fresh := c.last, !c.at.IsZero() && i.now().Sub(c.at) < max(summaryAge, summaryShare*c.took)
	behind := c.running && c.took > summaryPatience
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
	c.last, c.at, c.took = s, i.now(), i.now().Sub(began)
	took := c.took
	c.mu.Unlock()
	if took > summaryPatience {
		// No page may fail for this: what is kept saves work and is no record.
		if kept, err := json.Marshal(keptSummary{s, took}); err == nil {
			_ = i.db.Keep(ctx, summaryName, kept)
		}
	}
	return s, nil
}

// recall takes the summary that was kept before the last stop, if there is one.
func (i *Inventory) recall(ctx context.Context) {
	value, err := i.db.Kept(ctx, summaryName)
	var kept keptSummary
	if err != nil || value == nil || json.Unmarshal(value, &kept) != nil {
		return // it is counted when a page asks
	}
	c := &i.summary
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		c.last, c.took = kept.Summary, kept.Took
	}
}

// Run counts large estates behind the pages that ask, until ctx ends.
func (i *Inventory) Run(ctx context.Context, failed func(error)) error {
	var networks sync.WaitGroup
	networks.Go(func() { i.countNetworks(ctx, failed) })
	defer networks.Wait()
	i.recall(ctx)
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

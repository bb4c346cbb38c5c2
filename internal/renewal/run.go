// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

const (
	leaseTime = 2 * time.Minute // how long a dead process holds an order up
	lookGap   = 2 * time.Second // how often there is a look for work that nobody told of
	openAtMax = 500             // how many orders are begun at once, for each issuer
)

// Run renews until ctx ends and all orders that were under way have come to rest.
// An order that fails is recorded; failed is told of what cannot be recorded, from
// several goroutines.
func (e *Engine) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(lookGap)
	defer tick.Stop()
	c := &crew{Engine: e, failed: failed, busy: map[string]int{}}
	defer c.at.Wait()
	ctx, stop := context.WithCancel(ctx) // should this panic, the orders go with it
	defer stop()
	for {
		if err := c.turn(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
		case <-tick.C:
		}
	}
}

// A crew is the orders that go on in one Run.
type crew struct {
	*Engine
	failed func(error)
	at     sync.WaitGroup
	moved  time.Time // of Run: when moves were last looked at

	mu      sync.Mutex
	busy    map[string]int // guarded by mu; orders that go on, by issuer
	looking bool           // guarded by mu
	looked  time.Time      // guarded by mu; when that was last begun
}

// past says that what was last done at a time may be done again: a wake comes with
// every few orders, and these things cost more.
func past(last, now time.Time) bool { return now.Sub(last) >= lookGap || now.Before(last) }

// turn begins what there is to begin.
func (c *crew) turn(ctx context.Context) error {
	c.mu.Lock()
	free := c.Workers
	for _, n := range c.busy {
		free -= n
	}
	look := !c.looking && past(c.looked, c.Now())
	if look {
		c.looking, c.looked = true, c.Now()
	}
	c.mu.Unlock()
	if look {
		c.at.Go(func() { c.look(ctx) })
	}
	if free < (c.Workers+1)/2 { // the next one that ends makes room for several
		return nil
	}
	err := c.goOnMoving(ctx)
	return errors.Join(err, c.open(ctx), c.claim(ctx, free))
}

// open begins orders for what is due, while there are too few to work at.
func (c *crew) open(ctx context.Context) error {
	now := c.Now()
	ready, err := c.DB.CountReady(ctx, now, leaseTime)
	if err != nil || ready >= c.Workers {
		return err
	}
	due, err := c.DB.DueIssuers(ctx, now)
	if err != nil {
		return err
	}
	for _, name := range due {
		if !c.rested(name) {
			continue
		}
		issuer, err := c.issuer(name)
		if err != nil {
			issuer = Issuer{} // the order says so
		}
		if _, err := c.DB.OpenOrders(ctx, name, issuer.Budget, now, openAtMax); err != nil {
			return err
		}
	}
	return nil
}

// claim takes up orders and works at them. One issuer gets no more than
// three quarters of the workers: others go on while it is slow.
func (c *crew) claim(ctx context.Context, free int) error {
	most := max(c.Workers*3/4, 1)
	c.mu.Lock()
	full := c.resting()
	for issuer, n := range c.busy {
		if n >= most {
			full = append(full, issuer)
		}
	}
	c.mu.Unlock()
	orders, err := c.DB.ClaimOrders(ctx, c.Node, c.Now(), leaseTime, min(free, most), full...)
	if err != nil {
		return err
	}
	for _, o := range orders {
		c.begin(ctx, o)
	}
	return nil
}

// begin works at an order beside the others. A panic fails the order and takes
// nobody along.
func (c *crew) begin(ctx context.Context, o store.RenewalOrder) {
	c.mu.Lock()
	c.busy[o.Issuer]++
	c.mu.Unlock()
	c.at.Go(func() {
		defer c.done(o.Issuer)
		if err := c.work(ctx, o); err != nil && ctx.Err() == nil {
			c.failed(fmt.Errorf("order %d: %w", o.ID, err))
		}
	})
}

func (c *crew) done(issuer string) {
	c.mu.Lock()
	if c.busy[issuer]--; c.busy[issuer] == 0 {
		delete(c.busy, issuer)
	}
	all := 0
	for n := range maps.Values(c.busy) {
		all += n
	}
	c.mu.Unlock()
	if c.Workers-all >= (c.Workers+1)/2 {
		c.Wake()
	}
}

// errLost ends the work at an order that is somebody else's by now, or is over.
var errLost = errors.New("the order is no longer ours")

// work takes an order as far as it goes, and records how it stands then. What
// cannot be recorded is left to the lease.
func (c *crew) work(ctx context.Context, o store.RenewalOrder) error {
	r, err := c.DB.RenewalByID(ctx, o.Renewal)
	if err != nil {
		return err
	}
	inner, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	j := &job{Engine: c.Engine, order: o, renewal: r}
	var beat sync.WaitGroup
	beat.Go(func() { j.hold(inner, stop) })
	err = j.guarded(inner)
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause
	}
	stop(nil)
	beat.Wait()
	switch {
	case err == nil:
		return c.tidy(ctx, r.ID)
	case errors.Is(err, errLost):
		return nil
	case ctx.Err() != nil: // the process is about to end: the next one goes on
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookGap)
		defer cancel()
		j.order.Next = c.Now()
		return lost(c.DB.RestOrder(release, j.order))
	}
	return lost(j.settle(ctx, err))
}

// lost makes nothing of an order that somebody else has by now.
func lost(err error) error {
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// hold keeps the lease while an order is worked at.
func (j *job) hold(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(leaseTime / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := j.claimed(j.DB.LeaseOrder(ctx, j.order, j.until())); errors.Is(err, errLost) {
				stop(errLost)
				return
			}
		}
	}
}

// guarded makes an error of a panic.
func (j *job) guarded(ctx context.Context) (err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("it panicked: %v\n%s", failure, debug.Stack())
		}
	}()
	return j.run(ctx)
}

// tidy drops orders that ended long ago, with their keys.
func (e *Engine) tidy(ctx context.Context, renewal int64) error {
	keys, err := e.DB.ForgetOrders(ctx, renewal)
	return errors.Join(err, e.destroy(ctx, keys))
}

// destroy destroys keys that nothing uses any more.
func (e *Engine) destroy(ctx context.Context, keys []string) error {
	var errs []error
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if err := e.Keys.Destroy(ctx, key); err != nil {
			errs = append(errs, fmt.Errorf("couldn't destroy a key that is not used any more: %w", err))
		}
	}
	return errors.Join(errs...)
}

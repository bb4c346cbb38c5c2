// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	leaseTime = 30 * time.Second       // how long a dead process holds a step up
	lookGap   = time.Second            // how often there is a look for work that nobody told of
	tendGap   = 100 * time.Millisecond // how often gates and deadlines are looked at, at most
	actTime   = 15 * time.Minute       // bounds one act; what was begun is gone on with later
)

// Run works at recalls until ctx ends and all steps that were under way have come to
// rest. A step that fails is recorded; failed is told of what cannot be recorded, from
// several goroutines.
func (e *Engine) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(2 * tendGap)
	defer tick.Stop()
	c := &crew{Engine: e, failed: failed, at: map[int64]*job{}}
	defer c.wg.Wait()
	ctx, stop := context.WithCancel(ctx) // should this panic, the steps go with it
	defer stop()
	c.wg.Go(func() { c.beat(ctx) })
	for {
		if err := c.turn(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
			c.idle = false
		case <-tick.C:
		}
	}
}

// A crew is the steps that go on in one Run.
type crew struct {
	*Engine
	failed  func(error)
	wg      sync.WaitGroup
	tended  time.Time // of Run: when gates and deadlines were last looked at
	looked  time.Time // of Run: when there was last a look for work
	claimed time.Time // of Run: when something was last taken up, or tried to be
	idle    bool      // of Run: nothing was under way when there was

	mu sync.Mutex
	at map[int64]*job // guarded by mu; by step
}

// A job is a step that is worked at.
type job struct {
	store.ClaimedStep
	stop context.CancelCauseFunc
}

// past says that what was last done at a time may be done again.
func past(last, now time.Time, gap time.Duration) bool {
	return now.Sub(last) >= gap || now.Before(last)
}

// turn begins what there is to begin.
func (c *crew) turn(ctx context.Context) error {
	now := time.Now() // how often we look is no matter of the recall's clock
	if c.idle && !past(c.looked, now, lookGap) {
		return nil
	}
	c.looked = now
	var err error
	if past(c.tended, now, tendGap) {
		c.tended = now
		var begun int
		begun, err = c.tend(ctx)
		c.idle = err == nil && begun == 0
	}
	c.mu.Lock()
	free := c.Workers - len(c.at)
	busy := c.reached()
	c.mu.Unlock()
	// The next one that ends makes room for several, unless they hang.
	if free <= 0 || free < (c.Workers+1)/2 && !past(c.claimed, now, lookGap) {
		return err
	}
	c.claimed = now
	steps, claimErr := c.DB.ClaimRecallSteps(ctx, store.StepClaim{Owner: c.Node, Now: c.Now(), Lease: leaseTime, Most: min(free, c.most()), Busy: busy, NoBooks: c.BooksElsewhere})
	for _, s := range steps {
		c.begin(ctx, s)
	}
	return errors.Join(err, claimErr)
}

// most is how many steps of one driver or issuer go on at once: others go on while it
// is slow.
func (e *Engine) most() int { return max(e.Workers*3/4, 1) }

// reached returns the limits that are reached. The caller holds mu.
func (c *crew) reached() []string {
	counts := map[string]int{}
	for j := range maps.Values(c.at) {
		counts[j.Limit]++
	}
	var full []string
	for name, n := range counts {
		if name != "" && n >= c.most() {
			full = append(full, name)
		}
	}
	return full
}

// begin works at a step beside the others.
func (c *crew) begin(ctx context.Context, s store.ClaimedStep) {
	inner, stop := context.WithCancelCause(ctx)
	c.mu.Lock()
	c.at[s.ID] = &job{s, stop}
	c.mu.Unlock()
	c.wg.Go(func() {
		defer c.done(s.ID)
		defer stop(nil)
		if err := c.work(inner, s); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotOurs) {
			c.failed(fmt.Errorf("step %d of recall %d: %w", s.ID, s.Recall, err))
		}
	})
}

func (c *crew) done(id int64) {
	c.mu.Lock()
	delete(c.at, id)
	free := c.Workers - len(c.at)
	c.mu.Unlock()
	if free >= (c.Workers+1)/2 {
		c.Wake()
	}
}

// beat keeps the leases of what goes on, all in one write.
func (c *crew) beat(ctx context.Context) {
	tick := time.NewTicker(leaseTime / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		var steps []store.RecallStepRow
		for j := range maps.Values(c.at) {
			steps = append(steps, j.RecallStepRow)
		}
		c.mu.Unlock()
		if len(steps) == 0 {
			continue
		}
		lost, err := c.DB.LeaseRecallSteps(ctx, steps, c.Now().Add(leaseTime))
		if err != nil && ctx.Err() == nil {
			c.failed(err)
		}
		c.mu.Lock()
		for _, id := range lost {
			if j := c.at[id]; j != nil {
				j.stop(store.ErrNotOurs)
			}
		}
		c.mu.Unlock()
	}
}

// work does a step and records what came of it. What cannot be recorded is left to the
// lease.
func (e *Engine) work(ctx context.Context, s store.ClaimedStep) error {
	acting, cancel := context.WithTimeout(ctx, actTime)
	o := e.guarded(acting, s)
	cancel()
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, store.ErrNotOurs) {
			return cause
		}
		if o.err != nil { // the process is about to end: the next one goes on
			o = outcome{wait: e.Now(), err: nil}
		}
	}
	// What was done is written also when the process is about to end.
	keeping, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
	defer cancel()
	return e.settle(keeping, s, o)
}

// guarded makes an error of a panic, which takes nobody along.
func (e *Engine) guarded(ctx context.Context, s store.ClaimedStep) (o outcome) {
	defer func() {
		if failure := recover(); failure != nil {
			o = outcome{err: fmt.Errorf("it panicked: %v\n%s", failure, debug.Stack())}
		}
	}()
	return e.act(ctx, s)
}

// reminders are how long before the deadline those are named who hold a recall up.
var reminders = []time.Duration{72 * time.Hour, 24 * time.Hour, time.Hour}

// holdGrace is how long after the deadline sessions of the old one may still be had,
// before everything is blocked without them.
const holdGrace = 30 * time.Second

// tend opens gates, reminds of deadlines, meets them, ends what is done, and destroys the
// secrets of what is over. It returns
// how many recalls have begun and are not over.
func (e *Engine) tend(ctx context.Context) (int, error) {
	rows, err := e.DB.BegunRecalls(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, r := range rows {
		errs = append(errs, e.tendOne(ctx, r))
	}
	errs = append(errs, e.tendOver(ctx))
	return len(rows), errors.Join(errs...)
}

func (e *Engine) tendOne(ctx context.Context, r store.RecallRow) error {
	now := e.Now()
	if r.Rehearse == 0 {
		if err := e.watchDeadline(ctx, r, now); err != nil {
			return err
		}
	}
	if r.AtDeadline == tallystick.AtDeadlineBlock && r.Rehearse == 0 && !r.Started.IsZero() && r.Deadline.Sub(now) <= r.Quiet+lastCall {
		// Also of one that has stopped: the deadline comes all the same.
		if err := e.DB.GoOnWithoutTrust(ctx, r.ID, without(r, now), now); err != nil {
			return err
		}
	}
	if r.State != tallystick.RecallRunning {
		return nil
	}
	for {
		opened, err := e.DB.OpenGates(ctx, r.ID, now)
		if err != nil {
			return err
		}
		if opened == 0 {
			break
		}
		e.Wake()
	}
	_, err := e.DB.EndRecall(ctx, r.ID, now)
	return err
}

// without says which doors keep the new credential from their holders no more as a deadline comes.
// Those that nobody has come to yet have as long as sessions may be had.
func without(r store.RecallRow, now time.Time) store.Without {
	switch {
	case r.Deadline.After(now):
		return store.WithoutDenied
	case r.Blocked.IsZero() || now.Sub(r.Blocked) < holdGrace:
		return store.WithoutTried
	}
	return store.WithoutAny
}

// lastCall is how long before the deadline, and the quiet time besides, holders are given the
// new credential though some doors do not let it in, because that failed or their people have
// not done it: at the deadline the old one is refused, and the others need the new one by then.
const lastCall = time.Hour

func (e *Engine) watchDeadline(ctx context.Context, r store.RecallRow, now time.Time) error {
	if r.Deadline.IsZero() {
		return nil
	}
	left := r.Deadline.Sub(now)
	if left <= 0 && r.Blocked.IsZero() {
		if met, err := e.DB.MeetDeadline(ctx, r.ID, now); err != nil || met {
			e.Wake()
			return errors.Join(err, e.overrideUndo(ctx, r, now))
		}
	}
	if !r.Blocked.IsZero() && !r.Forced {
		if err := e.overrideUndo(ctx, r, now); err != nil {
			return err
		}
	}
	if !r.Blocked.IsZero() && !r.Forced && r.AtDeadline == tallystick.AtDeadlineBlock && now.Sub(r.Blocked) >= holdGrace {
		return e.DB.GiveUpHolds(ctx, r.ID, now.Add(-holdGrace), now)
	}
	due := 0
	for i, before := range reminders {
		if left <= before {
			due = i + 1
		}
	}
	if due > r.Reminded && left > 0 {
		return e.DB.RemindRecall(ctx, r, due, left, now)
	}
	return nil
}

// overrideUndo has secrets rotated after all that were rolled back, once a deadline has come that
// blocks: their old values are refused from then on, and holders cannot go on without new ones. It
// is done again until no target is left, also by a process that takes over.
func (e *Engine) overrideUndo(ctx context.Context, r store.RecallRow, now time.Time) error {
	if r.AtDeadline != tallystick.AtDeadlineBlock || !ofSecrets(r.What) {
		return nil
	}
	for after := int64(0); ; {
		list, err := e.DB.RecallTargets(ctx, r.ID, store.TargetFilter{State: tallystick.TargetUndone}, after, mostListed)
		if err != nil || len(list) == 0 {
			return err
		}
		after = list[len(list)-1].ID
		for _, t := range list {
			if !t.Entrusted() {
				continue
			}
			err := e.DB.RetryTarget(ctx, store.TargetCall{Target: t.ID, At: now, Event: "It was rolled back, and the deadline has it rotated after all."})
			if err != nil && !errors.Is(err, tallystick.ErrConflict) { // another process did it, or somebody skips it
				return err
			}
		}
	}
}

// nameOf is what everything of a recall is kept under.
func nameOf(recall int64) string { return fmt.Sprintf("recall/%d", recall) }

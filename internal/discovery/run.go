// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	leaseTime   = 30 * time.Second // how long a dead process holds a run up
	renewEvery  = 2 * time.Second  // also how soon a cancelled run stops and how often progress moves
	maxAttempts = 3                // how many processes may die of one run
	scheduleGap = 15 * time.Second // how often the schedule is looked at
)

// Run does runs, one at a time, and queues those that are due, until ctx ends.
// A run that fails is recorded as failed; failed is told of what cannot be
// recorded.
func (d *Discovery) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(scheduleGap)
	defer tick.Stop()
	for {
		if err := d.queueDue(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		if err := d.work(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.wake:
		case <-tick.C:
		}
	}
}

// queueDue queues the jobs whose time has come.
func (d *Discovery) queueDue(ctx context.Context) error {
	last, err := d.db.LastRuns(ctx)
	if err != nil {
		return err
	}
	for _, job := range d.jobs {
		since := d.now().Sub(last[job.Name])
		// A last look that lies ahead was queued by a clock that was wrong.
		if job.Every <= 0 || since >= 0 && since < job.Every {
			continue
		}
		if _, err := d.queue(ctx, job, "schedule"); err != nil {
			return err
		}
	}
	return nil
}

// work does runs until none is left to claim.
func (d *Discovery) work(ctx context.Context) error {
	for {
		run, err := d.db.ClaimRun(ctx, d.node, d.now(), leaseTime)
		if errors.Is(err, tallystick.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.do(ctx, run); err != nil {
			return err
		}
	}
}

// do does one run and records how it ended.
func (d *Discovery) do(ctx context.Context, run store.Run) error {
	if run.Attempt > maxAttempts {
		return d.finish(ctx, run, fmt.Errorf("given up: %d processes that did this run have died of it, or were killed", maxAttempts))
	}
	finder, ok := d.finders[run.Source]
	if !ok {
		return d.finish(ctx, run, fmt.Errorf("the configuration has no discovery %q any more", run.Source))
	}
	lookCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	sink := newSink(lookCtx, d, run)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		d.renew(lookCtx, sink, stop)
	}()
	err := finder.Find(lookCtx, driver.FindRequest{Targets: run.Targets, Now: d.now}, sink)
	if err == nil {
		err = sink.flush()
	}
	cause := context.Cause(lookCtx)
	stop(nil)
	<-renewed
	if err != nil && cause != nil {
		err = cause
	}
	run = sink.snapshot()
	if ctx.Err() != nil { // the process is about to end: the next one does the run again
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
		defer cancel()
		return errors.Join(ctx.Err(), d.db.ReleaseRun(release, run))
	}
	if errors.Is(err, tallystick.ErrConflict) {
		d.changed(true)
		return nil // cancelled, or another process has it now
	}
	if err == nil {
		run.Vanished, err = d.db.Vanish(ctx, run.ID, run.Source, d.now())
	}
	return d.finish(ctx, run, err)
}

func (d *Discovery) finish(ctx context.Context, run store.Run, err error) error {
	run.State, run.Finished = store.RunDone, d.now()
	if err != nil {
		run.State, run.Error = store.RunFailed, err.Error()
	}
	err = d.db.FinishRun(ctx, run)
	d.changed(true)
	if errors.Is(err, tallystick.ErrConflict) {
		return nil
	}
	if err == nil && d.ended != nil {
		d.ended(run)
	}
	if err == nil {
		err = d.db.ForgetMisses(ctx, run.Source)
	}
	if err == nil && run.Appeared+run.Vanished > tidyAfter {
		err = d.db.Tidy(ctx)
	}
	return err
}

// tidyAfter is how many changes make the engine's view of the tables old.
const tidyAfter = 1000

// renew holds the lease and stores progress while a look lasts. When the run
// is not ours any more it stops the look.
func (d *Discovery) renew(ctx context.Context, sink *sink, stop context.CancelCauseFunc) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := sink.flush(); err != nil {
			stop(err)
			return
		}
		if err := d.db.RenewRun(ctx, sink.snapshot(), d.now().Add(leaseTime)); err != nil && ctx.Err() == nil {
			stop(err)
			return
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	leaseTime   = 30 * time.Second // how long a dead process holds a run up
	renewEvery  = 2 * time.Second  // also how soon a cancelled or paused run stops and how often progress moves
	maxAttempts = 3                // how many processes may die of one run
	scheduleGap = 5 * time.Second  // how often the schedule, and what commands have asked for, is looked at
)

// Run does runs, several at once, and queues those that are due, until ctx ends and
// all have stopped. A run that fails is recorded as failed; failed is told of what
// cannot be recorded, from several goroutines.
func (d *Discovery) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(scheduleGap)
	defer tick.Stop()
	c := &crew{Discovery: d, failed: failed, busy: map[string]bool{}}
	defer c.runs.Wait()
	ctx, stop := context.WithCancel(ctx) // should this panic, the runs go with it
	defer stop()
	for {
		if err := d.queueDue(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		if err := c.claim(ctx); err != nil && ctx.Err() == nil {
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

// queueDue queues the jobs whose time has come, and those that look elsewhere
// than they did the last time, because the configuration was changed.
func (d *Discovery) queueDue(ctx context.Context) error {
	last, err := d.db.LastRuns(ctx)
	if err != nil {
		return err
	}
	for _, job := range d.jobs {
		before := last[job.Name]
		since, same := d.now().Sub(before.Queued), before.Driver == job.Driver && slices.Equal(before.Targets, job.Targets)
		// A last look that lies ahead was queued by a clock that was wrong.
		if job.Every <= 0 || before.Open || same && since >= 0 && since < job.Every {
			continue
		}
		if _, err := d.queue(ctx, job, "schedule"); err != nil {
			return err
		}
	}
	return nil
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
	position, err := d.takeUp(ctx, &run)
	if err != nil {
		return err
	}
	lookCtx, stop := context.WithCancelCause(network.WithHosts(ctx, d.hosts))
	defer stop(nil)
	sink := newSink(lookCtx, d, run)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		d.renew(lookCtx, sink, stop)
	}()
	err = finder.Find(lookCtx, driver.FindRequest{Targets: run.Targets, Now: d.now, Resume: position, Used: d.used}, sink)
	if err == nil {
		err = sink.flush()
	}
	cause := context.Cause(lookCtx)
	stop(nil)
	<-renewed
	if err != nil && cause != nil {
		err = cause
	}
	return d.leave(ctx, sink, err)
}

// errNotOurs ends the look of a run that was cancelled or paused, or that another
// process has now.
var errNotOurs = errors.New("the run is no longer ours")

// leave records how a run stands when its look has come to an end, or was cut short.
func (d *Discovery) leave(ctx context.Context, sink *sink, err error) error {
	run := sink.snapshot()
	if err == nil && ctx.Err() == nil {
		err = d.vanish(ctx, run)
	}
	switch {
	case ctx.Err() != nil: // the process is about to end: the next one takes the run up
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
		defer cancel()
		return errors.Join(ctx.Err(), d.db.ReleaseRun(release, run))
	case errors.Is(err, errNotOurs):
		return d.park(ctx, sink)
	}
	return d.finish(ctx, run, err)
}

// vanishAttempts is how often vanish tries.
const vanishAttempts = 5

// vanish ends what the run did not see again. In PostgreSQL what another run
// writes meanwhile about the same credentials may get in the way; then it goes on.
func (d *Discovery) vanish(ctx context.Context, run store.Run) error {
	for attempt := 1; ; attempt++ {
		_, err := d.db.Vanish(ctx, run.ID, run.Source, d.now())
		if !errors.Is(err, tallystick.ErrConflict) || attempt == vanishAttempts {
			return err
		}
	}
}

// park keeps what the look has seen, and how far it had come if it was paused.
func (d *Discovery) park(ctx context.Context, sink *sink) error {
	defer d.changed(true)
	sink.ctx = ctx // that of the look is over
	if err := sink.flush(); err != nil {
		return err
	}
	if err := d.db.ParkRun(ctx, sink.snapshot()); !errors.Is(err, tallystick.ErrConflict) {
		return err
	}
	return nil
}

// takeUp returns where a run goes on, with its numbers so far. Without a
// position of this very plan it begins anew, and what it could not see before is
// forgotten.
func (d *Discovery) takeUp(ctx context.Context, run *store.Run) (string, error) {
	plan := d.planOf(*run)
	if position, ok := strings.CutPrefix(run.Position, plan+" "); ok && position != "" {
		return position, nil
	}
	run.Position, run.Sightings, run.Misses, run.Missed = "", 0, 0, nil
	return "", d.db.DropMisses(ctx, run.ID)
}

// planOf names what a position belongs to: the same targets and options.
func (d *Discovery) planOf(run store.Run) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q", d.plans[run.Source], run.Targets))
	return hex.EncodeToString(sum[:8])
}

func (d *Discovery) finish(ctx context.Context, run store.Run, err error) error {
	run.State, run.Finished = store.RunDone, d.now()
	if err != nil {
		run.State, run.Error = store.RunFailed, err.Error()
	}
	if err := d.count(ctx, &run); err != nil { // it has ended all the same
		run.State, run.Error = store.RunFailed, cmp.Or(run.Error, err.Error())
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
		err = d.db.Forget(ctx, run)
	}
	if err == nil && run.Appeared+run.Vanished > tidyAfter {
		err = d.db.Tidy(ctx)
	}
	return err
}

// count fills the numbers of a run from what is stored: several processes may
// have had a part in it, and may have died before they told theirs.
func (d *Discovery) count(ctx context.Context, run *store.Run) error {
	var err error
	if run.Appeared, run.Vanished, err = d.db.CountPeriods(ctx, run.ID); err != nil {
		return err
	}
	changes, err := d.db.CountChanges(ctx, store.Between{Source: run.Source, From: run.ID - 1, To: run.ID})
	if err != nil {
		return err
	}
	run.Changes = &changes
	if run.Missed, err = d.db.CountMisses(ctx, run.ID); err != nil {
		return err
	}
	run.Misses = 0
	for _, n := range run.Missed {
		run.Misses += n
	}
	return nil
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
		sink.pace(d.now())
		err := d.db.RenewRun(ctx, sink.snapshot(), d.now().Add(leaseTime))
		if errors.Is(err, tallystick.ErrConflict) {
			err = errNotOurs
		}
		if err != nil && ctx.Err() == nil {
			stop(err)
			return
		}
	}
}

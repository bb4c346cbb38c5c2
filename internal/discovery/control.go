// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Jobs returns the jobs in the order of the configuration.
func (d *Discovery) Jobs() []Job { return slices.Clone(d.jobs) }

// Start asks for a run of a job now. When one has not ended yet, that one is
// returned: waiting, running or paused.
func (d *Discovery) Start(ctx context.Context, actor gate.Actor, name string) (store.Run, error) {
	if err := d.gate.Check(ctx, actor, gate.StartRun, name); err != nil {
		return store.Run{}, err
	}
	i := slices.IndexFunc(d.jobs, func(j Job) bool { return j.Name == name })
	if i < 0 {
		return store.Run{}, fmt.Errorf("discovery %q: %w", name, tallystick.ErrNotFound)
	}
	return d.queue(ctx, d.jobs[i], actor.Name)
}

func (d *Discovery) queue(ctx context.Context, job Job, by string) (store.Run, error) {
	run, err := d.db.AddRun(ctx, store.Run{Source: job.Name, Driver: job.Driver, Targets: job.Targets, Requested: by, Queued: d.now()})
	if err == nil {
		d.look()
	}
	return run, err
}

// look makes Run look for work now.
func (d *Discovery) look() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyhow
	}
}

// Cancel ends a run that has not ended. What it has seen stays.
func (d *Discovery) Cancel(ctx context.Context, actor gate.Actor, id int64) error {
	return d.turn(ctx, actor, gate.CancelRun, id, func() error { return d.db.CancelRun(ctx, id, d.now()) })
}

// Pause keeps a run from going on until it is resumed. What it has seen stays,
// and so does how far it has come. A run that is paused already stays so.
func (d *Discovery) Pause(ctx context.Context, actor gate.Actor, id int64) error {
	return d.turn(ctx, actor, gate.PauseRun, id, func() error { return d.db.PauseRun(ctx, id) }, store.RunPaused)
}

// Resume lets a paused run go on where it stood, if its driver can tell, and
// from the beginning otherwise. One that goes on already goes on.
func (d *Discovery) Resume(ctx context.Context, actor gate.Actor, id int64) error {
	err := d.turn(ctx, actor, gate.ResumeRun, id, func() error { return d.db.ResumeRun(ctx, id) }, store.RunWaiting, store.RunRunning)
	d.look()
	return err
}

// turn changes the state of a run that has not ended, unless it is in one of
// those already that are wanted.
func (d *Discovery) turn(ctx context.Context, actor gate.Actor, action gate.Action, id int64, change func() error, wanted ...string) error {
	if err := d.gate.Check(ctx, actor, action, runName(id)); err != nil {
		return err
	}
	run, err := d.db.Run(ctx, id)
	if err != nil || slices.Contains(wanted, run.State) {
		return err
	}
	if run.Ended() {
		return problem.With(fmt.Errorf("run %d has ended (it is %s): %w", id, run.State, tallystick.ErrConflict), "start a new run of the job")
	}
	return change()
}

func runName(id int64) string { return "run " + strconv.FormatInt(id, 10) }

// Runs returns the newest runs of a job, or of all when it is "", with ids below
// before, newest first; before 0 means from the newest.
func (d *Discovery) Runs(ctx context.Context, actor gate.Actor, job string, before int64, limit int) ([]store.Run, error) {
	if err := d.gate.Check(ctx, actor, gate.ReadInventory, "runs"); err != nil {
		return nil, err
	}
	return d.db.Runs(ctx, job, before, min(max(limit, 1), 1000))
}

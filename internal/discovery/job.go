// SPDX-License-Identifier: Apache-2.0

// Package discovery looks: it runs the drivers' Find by a schedule or when
// somebody asks, writes what they see to the store batch by batch, and says
// afterwards what has gone.
//
// A look is a run in the store. Whoever runs it holds a lease on it; when a
// process is killed its lease runs out and the next one that looks for work
// does the run again. What was written before is found again and changes
// nothing, so nothing that was reported is lost and nothing is counted twice.
package discovery

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A Job is a look that is taken again and again.
type Job struct {
	Name    string // the source of what it sees; stable, or everything seems new
	Driver  string
	Targets []string
	Options map[string]string
	Every   time.Duration // 0 is only when asked
}

// A Discovery runs jobs. Make one with New.
type Discovery struct {
	db      *store.DB
	gate    *gate.Gate
	now     func() time.Time
	node    string
	jobs    []Job
	finders map[string]driver.Finder // by job
	changed func(survey bool)        // called when there is something to judge
	ended   func(store.Run)          // called when a run has ended; may be nil
	wake    chan struct{}
}

// Config is what New needs.
type Config struct {
	DB      *store.DB
	Gate    *gate.Gate
	Now     func() time.Time
	Node    string // a name for this process, for leases
	Jobs    []Job
	Drivers []driver.Driver
	// Changed is called after something was written; survey says that a look
	// has ended.
	Changed func(survey bool)
	// Ended is called with each run that has ended here; nil is nobody.
	Ended func(store.Run)
}

// New checks the jobs and opens their drivers. A job that names no driver that
// finds, or options that the driver refuses, is ErrInvalid.
func New(c Config) (*Discovery, error) {
	d := &Discovery{
		db: c.DB, gate: c.Gate, now: c.Now, node: c.Node, jobs: c.Jobs, changed: c.Changed, ended: c.Ended,
		finders: map[string]driver.Finder{}, wake: make(chan struct{}, 1),
	}
	for _, job := range c.Jobs {
		finder, err := open(c.Drivers, job)
		if err != nil {
			return nil, fmt.Errorf("discovery %q: %w", job.Name, err)
		}
		if _, twice := d.finders[job.Name]; twice {
			return nil, fmt.Errorf("%w: two discoveries are named %q", tallystick.ErrInvalid, job.Name)
		}
		d.finders[job.Name] = finder
	}
	return d, nil
}

func open(drivers []driver.Driver, job Job) (driver.Finder, error) {
	i := slices.IndexFunc(drivers, func(d driver.Driver) bool { return d.Name() == job.Driver })
	if i < 0 {
		var names []string
		for _, d := range drivers {
			names = append(names, d.Name())
		}
		return nil, fmt.Errorf("%w: unknown driver %q: it is one of %s", tallystick.ErrInvalid, job.Driver, strings.Join(names, ", "))
	}
	opened, err := drivers[i].Open(job.Options)
	if err != nil {
		return nil, err
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		return nil, fmt.Errorf("%w: driver %q does not find", tallystick.ErrInvalid, job.Driver)
	}
	return finder, nil
}

// Jobs returns the jobs in the order of the configuration.
func (d *Discovery) Jobs() []Job { return slices.Clone(d.jobs) }

// Start asks for a run of a job now. When one is waiting or running already,
// that one is returned.
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
		select {
		case d.wake <- struct{}{}:
		default: // it will look anyhow
		}
	}
	return run, err
}

// Cancel ends a run that has not ended. What it has seen stays.
func (d *Discovery) Cancel(ctx context.Context, actor gate.Actor, id int64) error {
	if err := d.gate.Check(ctx, actor, gate.CancelRun, "run "+strconv.FormatInt(id, 10)); err != nil {
		return err
	}
	return d.db.CancelRun(ctx, id, d.now())
}

// Runs returns the newest runs with ids below before, newest first; before 0
// means from the newest.
func (d *Discovery) Runs(ctx context.Context, actor gate.Actor, before int64, limit int) ([]store.Run, error) {
	if err := d.gate.Check(ctx, actor, gate.ReadInventory, "runs"); err != nil {
		return nil, err
	}
	return d.db.Runs(ctx, before, min(max(limit, 1), 1000))
}

// Changes calls fn for everything that a run found to be different, all of it.
func (d *Discovery) Changes(ctx context.Context, actor gate.Actor, id int64, fn func(store.RunChange) error) error {
	if err := d.gate.Check(ctx, actor, gate.ReadInventory, "run "+strconv.FormatInt(id, 10)); err != nil {
		return err
	}
	for _, read := range []func(ctx context.Context, run, after int64, limit int) ([]store.RunChange, error){d.db.Appeared, d.db.Vanished} {
		for after := int64(0); ; {
			page, err := read(ctx, id, after, reportRows)
			if err != nil {
				return err
			}
			for _, change := range page {
				if err := fn(change); err != nil {
					return err
				}
				after = change.ID
			}
			if len(page) < reportRows {
				break
			}
		}
	}
	return nil
}

// A Report is what one run found to be different, and what it could not see.
// Each list is its beginning; the numbers of the run say how long it is.
type Report struct {
	Run      store.Run
	Appeared []store.RunChange
	Vanished []store.RunChange
	Misses   []tallystick.Miss
}

// reportRows bounds each list of a report.
const reportRows = 500

// Report returns a run with what it changed.
func (d *Discovery) Report(ctx context.Context, actor gate.Actor, id int64) (Report, error) {
	var r Report
	err := d.gate.Check(ctx, actor, gate.ReadInventory, "run "+strconv.FormatInt(id, 10))
	if err != nil {
		return r, err
	}
	if r.Run, err = d.db.Run(ctx, id); err != nil {
		return r, err
	}
	if r.Appeared, err = d.db.Appeared(ctx, id, 0, reportRows); err != nil {
		return r, err
	}
	if r.Vanished, err = d.db.Vanished(ctx, id, 0, reportRows); err != nil {
		return r, err
	}
	r.Misses, err = d.db.Misses(ctx, id, "", reportRows)
	return r, err
}

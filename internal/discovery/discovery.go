// SPDX-License-Identifier: Apache-2.0

// Package discovery looks: it runs the drivers' Find by a schedule or when
// somebody asks, writes what they see to the store batch by batch, and says
// afterwards what has gone.
//
// Several runs go on at once, of different jobs: the run that was queued first
// begins first, and none of a job begins before the one before it has come to rest.
// What they do to one host together is no more than one of them may do alone
// (network.Hosts), and what they see is written by one after the other.
//
// A look is a run in the store. Whoever runs it holds a lease on it; when a
// process is killed its lease runs out and the next one that looks for work
// takes the run up: where the driver said that it stood, or else from the
// beginning. What was written before is found again and changes nothing, and
// counts as seen by the run, so nothing that was reported is lost and nothing is
// counted twice.
//
// A run waits, runs, and ends as done, failed or cancelled. A person may pause
// it; it then stays paused, over restarts too, and holds back further runs of its
// job until somebody lets it go on or cancels it.
package discovery

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
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
	atOnce  int
	hosts   *network.Hosts           // what all runs together do to them
	finders map[string]driver.Finder // by job
	plans   map[string]string        // by job; what a position hangs on beside the targets
	changed func(survey bool)        // called when there is something to judge
	ended   func(store.Run)          // called when a run has ended; may be nil
	used    func(tallystick.Use)     // told of sign-ins of finders; may be nil
	wake    chan struct{}

	// writing is held while a batch is written. Two at once would gain nothing: the
	// store has one writer, or both see the same certificates of CAs and one of them
	// would have to look everything up again.
	writing sync.Mutex
}

// Config is what New needs.
type Config struct {
	DB      *store.DB
	Gate    *gate.Gate
	Now     func() time.Time
	Node    string // a name for this process, for leases
	Jobs    []Job
	AtOnce  int // how many runs go on at once; less than 1 is 1
	Drivers []driver.Driver
	// Changed is called after something was written; survey says that a look
	// has ended. It is called from several goroutines, and so is Ended.
	Changed func(survey bool)
	// Ended is called with each run that has ended here; nil is nobody.
	Ended func(store.Run)
	// Used is told of each sign-in that a finder itself makes, as of driver.FindRequest; nil
	// is nobody.
	Used func(tallystick.Use)
}

// New checks the jobs and opens their drivers. A job that names no driver that
// finds, or options that the driver refuses, is ErrInvalid.
func New(c Config) (*Discovery, error) {
	d := &Discovery{
		db: c.DB, gate: c.Gate, now: c.Now, node: c.Node, jobs: c.Jobs, atOnce: max(c.AtOnce, 1), changed: c.Changed, ended: c.Ended, used: c.Used,
		hosts: network.NewHosts(), finders: map[string]driver.Finder{}, plans: map[string]string{}, wake: make(chan struct{}, 1),
	}
	for _, job := range c.Jobs {
		finder, plan, err := open(c.Drivers, job)
		if err != nil {
			return nil, fmt.Errorf("discovery %q: %w", job.Name, err)
		}
		if _, twice := d.finders[job.Name]; twice {
			return nil, fmt.Errorf("%w: two discoveries are named %q", tallystick.ErrInvalid, job.Name)
		}
		d.finders[job.Name], d.plans[job.Name] = finder, plan
	}
	return d, nil
}

// open returns the finder of a job, and its options as text. Secrets are left
// out of that, because it ends up in the store.
func open(drivers []driver.Driver, job Job) (driver.Finder, string, error) {
	i := slices.IndexFunc(drivers, func(d driver.Driver) bool { return d.Name() == job.Driver })
	if i < 0 {
		var names []string
		for _, d := range drivers {
			names = append(names, d.Name())
		}
		return nil, "", fmt.Errorf("%w: unknown driver %q: it is one of %s", tallystick.ErrInvalid, job.Driver, strings.Join(names, ", "))
	}
	opened, err := drivers[i].Open(job.Options)
	if err != nil {
		return nil, "", err
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		return nil, "", fmt.Errorf("%w: driver %q does not find", tallystick.ErrInvalid, job.Driver)
	}
	plan := job.Driver
	for _, option := range drivers[i].Options() {
		if value, set := job.Options[option.Name]; set && !option.Secret {
			plan += fmt.Sprintf(" %s=%q", option.Name, value)
		}
	}
	return finder, plan, nil
}

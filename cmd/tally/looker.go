// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
)

// A looker lets drivers look and gathers what they see.
type looker struct {
	haul     *haul
	progress *progress
	flags    scanFlags
}

// localAnchors is where a machine's administrator puts what it shall trust;
// see update-ca-certificates(8).
const localAnchors = "/usr/local/share/ca-certificates"

// anchors reads what this machine trusts, to judge chains by.
func (l *looker) anchors(ctx context.Context) error {
	finder, err := l.open("truststore")
	if err != nil {
		return err
	}
	vendors := finder.Find(ctx, driver.FindRequest{Now: l.haul.now}, anchorSink{l.haul.cas.trust})
	request := driver.FindRequest{Targets: []string{localAnchors}, Now: l.haul.now}
	return errors.Join(vendors, finder.Find(ctx, request, anchorSink{l.haul.cas.distrust}))
}

// An anchorSink passes on certificates and nothing else.
type anchorSink struct{ saw func(tallystick.Sighting) }

func (s anchorSink) Saw(sighting tallystick.Sighting) error {
	s.saw(sighting)
	return nil
}

func (s anchorSink) Missed(tallystick.Miss) error { return nil } // reported where stores are the target
func (s anchorSink) Progress(int64, int64)        {}

// machine looks at this machine.
func (l *looker) machine(ctx context.Context) error {
	var failed error
	for _, name := range []string{"truststore", "tls", "files"} {
		if ctx.Err() == nil {
			failed = errors.Join(failed, l.findAt(ctx, name, nil))
		}
	}
	return failed
}

// find lets a driver look at targets, if there are any.
func (l *looker) find(ctx context.Context, name string, targets []string) error {
	if len(targets) == 0 || ctx.Err() != nil {
		return nil
	}
	return l.findAt(ctx, name, targets)
}

// findAt lets a driver look at targets; without any it looks where it does by itself.
func (l *looker) findAt(ctx context.Context, name string, targets []string) error {
	finder, err := l.open(name)
	if err != nil {
		return err
	}
	l.progress.phase(name)
	err = finder.Find(ctx, driver.FindRequest{Targets: targets, Now: l.haul.now}, scanSink{l.haul, l.progress})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("couldn't look with driver %s: %w", name, err)
	}
	return nil
}

// together is how many endpoints are looked at at once.
const together = 64

// endpoints looks at hosts. Each endpoint is a look of its own, so that a block
// need not be written out and --rate can hold it back.
func (l *looker) endpoints(ctx context.Context, targets scanTargets) error {
	if len(targets.hosts) == 0 || ctx.Err() != nil {
		return nil
	}
	finder, err := l.open("tls")
	if err != nil {
		return err
	}
	l.progress.phase("tls")
	queue := make(chan string)
	var workers sync.WaitGroup
	var errs failures
	for range together {
		workers.Go(func() {
			for endpoint := range queue {
				request := driver.FindRequest{Targets: []string{endpoint}, Now: l.haul.now}
				errs.add(ctx, finder.Find(ctx, request, scanSink{l.haul, nil}))
				l.progress.step()
			}
		})
	}
	l.feed(ctx, targets, queue)
	close(queue)
	workers.Wait()
	return errs.first
}

// feed sends every endpoint to queue, at the rate that was asked for.
func (l *looker) feed(ctx context.Context, targets scanTargets, queue chan<- string) {
	pace := newPace(l.flags.rate)
	defer pace.stop()
	var total int64
	for _, h := range targets.hosts {
		total += h.size()
	}
	l.progress.set(0, total)
	for _, h := range targets.hosts {
		for endpoint := range h.endpoints() {
			if !pace.wait(ctx) {
				return
			}
			select {
			case queue <- endpoint:
			case <-ctx.Done():
				return
			}
		}
	}
}

// open opens the driver of a name for a scan.
func (l *looker) open(name string) (driver.Finder, error) {
	options := map[string]string{}
	if name == "tls" && l.flags.timeout > 0 {
		options["timeout"] = l.flags.timeout.String()
	}
	all := drivers.All()
	i := slices.IndexFunc(all, func(d driver.Driver) bool { return d.Name() == name })
	opened, err := all[i].Open(options)
	if err != nil {
		return nil, err
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		return nil, fmt.Errorf("driver %s does not find", name)
	}
	return finder, nil
}

// failures keeps the first of the errors that several goroutines meet.
type failures struct {
	mu    sync.Mutex
	first error // guarded by mu until the goroutines have ended
}

func (f *failures) add(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && f.first == nil && ctx.Err() == nil {
		f.first = err
	}
}

// A pace lets a number of waits pass each second.
type pace struct{ ticker *time.Ticker }

func newPace(each int) pace {
	if each == 0 {
		return pace{}
	}
	return pace{time.NewTicker(max(time.Second/time.Duration(each), 1))}
}

// wait returns false when ctx has ended.
func (p pace) wait(ctx context.Context) bool {
	if p.ticker == nil {
		return ctx.Err() == nil
	}
	select {
	case <-p.ticker.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p pace) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
}

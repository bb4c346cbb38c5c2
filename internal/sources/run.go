// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	listEvery   = time.Second // how often sources that are new or were changed are looked for
	expireEvery = time.Hour
	backoffMin  = 250 * time.Millisecond
	backoffMax  = 10 * time.Second
	// panicRest is how long a source rests that made its reader panic.
	panicRest = 30 * time.Second
)

// A worker reads one source.
type worker struct {
	stop  context.CancelFunc
	ended chan struct{}
}

// Run reads files, directories and what drivers read until ctx ends, and returns why. Sources that
// are added, paused, resumed or removed meanwhile are noticed within 2 seconds.
// What goes wrong is tried again, shows in the source, and failed is told.
func (s *Sources) Run(ctx context.Context, failed func(error)) error {
	workers := map[int64]*worker{}
	rounds, ended := s.newRounds(failed), make(chan struct{})
	go func() { defer close(ended); rounds.run(ctx) }()
	defer func() {
		<-ended
		for _, w := range workers {
			w.stop()
		}
		for _, w := range workers {
			<-w.ended
		}
	}()
	tick := time.NewTicker(listEvery)
	defer tick.Stop()
	var expired time.Time
	for {
		all, err := s.DB.Sources(ctx)
		if err == nil {
			s.assign(ctx, workers, all, failed)
			rounds.assign(all)
			err = rounds.store(ctx)
			if s.Archive != nil && s.Now().Sub(expired) >= expireEvery {
				expired = s.Now()
				err = errors.Join(err, s.expire(ctx, all))
			}
		}
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// assign gives each source that is to be read a worker, and takes it from those
// that are not.
func (s *Sources) assign(ctx context.Context, workers map[int64]*worker, all []store.Source, failed func(error)) {
	wanted := map[int64]bool{}
	for _, one := range all {
		if one.Kind != store.SourceFile && one.Kind != store.SourceDirectory || one.Paused || !one.Done.IsZero() {
			continue
		}
		wanted[one.ID] = true
		if workers[one.ID] != nil {
			select {
			case <-workers[one.ID].ended: // it panicked, or was done in vain
			default:
				continue
			}
		}
		ctx, stop := context.WithCancel(ctx)
		w := &worker{stop: stop, ended: make(chan struct{})}
		workers[one.ID] = w
		go func() {
			defer close(w.ended)
			s.work(ctx, one, failed)
		}()
	}
	for id, w := range workers {
		if wanted[id] {
			continue
		}
		w.stop()
		<-w.ended // it must not go on beside the next one of the same source
		delete(workers, id)
	}
}

// work reads a source until ctx ends or it is done.
func (s *Sources) work(ctx context.Context, one store.Source, failed func(error)) {
	defer func() {
		if failure := recover(); failure != nil {
			failed(fmt.Errorf("source %s: its reader panicked: %v\n%s", one.Name, failure, debug.Stack()))
			rest(ctx, panicRest)
		}
	}()
	w, err := s.newWatcher(ctx, one)
	if errors.Is(err, tallystick.ErrNotFound) || ctx.Err() != nil { // removed, or paused
		return
	}
	if err != nil {
		failed(errors.Join(err, s.DB.FailSource(ctx, one.ID, err.Error())))
		rest(ctx, panicRest)
		return
	}
	wait := backoffMin
	defer func() {
		if err := w.leave(ctx); err != nil {
			failed(fmt.Errorf("source %s: %w", one.Name, err))
		}
	}()
	for ctx.Err() == nil {
		done, err := w.pass(ctx)
		switch {
		case done || errors.Is(err, tallystick.ErrNotFound): // read, or removed
			return
		case err == nil:
			wait = backoffMin
			rest(ctx, s.Poll)
		case ctx.Err() == nil:
			w.changed = true // that it is well again is to be stored
			failed(fmt.Errorf("source %s: %w", one.Name, errors.Join(err, s.DB.FailSource(ctx, one.ID, clip(err.Error())))))
			rest(ctx, wait)
			wait = min(2*wait, backoffMax)
		}
	}
}

// clip bounds what is kept of an error.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), 500)], "") }

// rest waits until ctx ends, and no longer than d.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// expire removes what was kept raw for long enough. Of sources that were removed
// it is kept as long as is usual.
func (s *Sources) expire(ctx context.Context, all []store.Source) error {
	kept, err := s.Archive.Sources()
	if err != nil {
		return err
	}
	for _, id := range kept {
		keep := DefaultKeepRaw
		for _, one := range all {
			if one.ID == id {
				keep = one.KeepRaw
			}
		}
		err = errors.Join(err, s.Archive.Expire(ctx, id, s.Now().Add(-keep)))
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/problem"
)

func errNoToken() error {
	return problem.With(fmt.Errorf("%w: the agent has not enrolled, and there is no token", tallystick.ErrInvalid),
		`Make one with "tally agent add" on the server, put it into a file here, and name that with token_file.`)
}

func keysOf(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// keepLooking tells the server how the doors stand: at the start, again and again, and
// when somebody asks.
func (r *Runner) keepLooking(ctx context.Context) {
	var pause backOff
	for ctx.Err() == nil {
		wait := r.LookEvery
		if err := r.lookAtAll(ctx); err != nil && ctx.Err() == nil {
			r.Failed(err)
			wait = pause.next()
		} else {
			pause.reset()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.look:
		}
		timer.Stop()
	}
}

// lookAtAll looks at every door, a few at once. A door that cannot be looked at is told
// as such.
func (r *Runner) lookAtAll(ctx context.Context) error {
	all := r.Doors.Doors()
	if err := r.ask(ctx, "hello", helloRequest{Version: r.Version, Doors: all, Connect: r.Connect}, &struct{}{}); err != nil {
		return err
	}
	errs := make([]error, len(all))
	room := make(chan struct{}, workers)
	var group sync.WaitGroup
	for i, d := range all {
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			errs[i] = r.lookAt(ctx, d.Name)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (r *Runner) lookAt(ctx context.Context, name string) error {
	view, err := r.Doors.Look(ctx, name)
	message := viewRequest{Door: name, View: &view}
	if err != nil {
		message = viewRequest{Door: name, Error: cut(err.Error(), maxText)}
	} else {
		r.allowed.add(name, view.Listeners)
	}
	err = r.ask(ctx, "view", message, &struct{}{})
	if errors.Is(err, tallystick.ErrInvalid) { // it is too large: say so in its place
		return r.ask(ctx, "view", viewRequest{Door: name, Error: cut(err.Error(), maxText)}, &struct{}{})
	}
	return err
}

// work asks for steps and does them, until ctx ends and all are through.
func (r *Runner) work(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	room := make(chan struct{}, workers)
	var pause backOff
	for ctx.Err() == nil {
		select {
		case room <- struct{}{}: // for one at least
			<-room
		case <-ctx.Done():
			return
		}
		var answer claimAnswer
		if err := r.ask(ctx, "claim", claimRequest{Limit: workers - len(room)}, &answer); err != nil {
			if ctx.Err() == nil {
				r.Failed(err)
				sleep(ctx, pause.next())
			}
			continue
		}
		pause.reset()
		if answer.Look {
			select {
			case r.look <- struct{}{}:
			default: // it is about to
			}
		}
		for _, one := range answer.Steps {
			room <- struct{}{}
			group.Go(func() {
				defer func() { <-room }()
				r.step(ctx, one)
			})
		}
	}
}

// defaultLease is that of a step that brings none.
const defaultLease = 30 * time.Second

// errLost says that a step is not the agent's any more: what came of it is told to nobody.
var errLost = errors.New("the lease is lost")

// step does one step while it holds the lease, and says what came of it.
func (r *Runner) step(ctx context.Context, one Leased) {
	if one.Lease <= 0 {
		one.Lease = defaultLease
	}
	working, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	var group sync.WaitGroup
	group.Go(func() { r.holdOn(working, one, lose) })
	result, err := r.do(working, one.Task)
	if working.Err() == nil {
		err = r.finish(working, one, result, err)
	}
	switch {
	case ctx.Err() != nil: // another time, or another agent
	case errors.Is(context.Cause(working), errLost):
		r.Failed(fmt.Errorf("%s at the door %s was stopped: %w", one.Task.Act, one.Task.Door, context.Cause(working)))
	case err != nil:
		r.Failed(err)
	default:
		r.Said(fmt.Sprintf("%s at the door %s: done (%s)", one.Task.Act, one.Task.Door, one.Task.Name))
	}
	lose(nil)
	group.Wait()
}

// holdOn extends the lease of a step, and ends the work when that is refused, or when
// nobody has answered for as long as the lease was.
func (r *Runner) holdOn(ctx context.Context, one Leased, lose context.CancelCauseFunc) {
	held := r.Now()
	for {
		sleep(ctx, one.Lease/3)
		if ctx.Err() != nil {
			return
		}
		asking, cancel := context.WithTimeout(ctx, one.Lease/3)
		err := r.ask(asking, "extend", extendRequest{Step: one.Step, Fence: one.Fence}, &struct{}{})
		cancel()
		switch {
		case err == nil:
			held = r.Now()
		case errors.Is(err, tallystick.ErrUnavailable):
			if r.Now().Sub(held) > one.Lease {
				lose(fmt.Errorf("%w: %w", errLost, err))
				return
			}
		default:
			lose(fmt.Errorf("%w: %w", errLost, err))
			return
		}
	}
}

// do does a task, if it asks for nothing that the configuration does not allow.
func (r *Runner) do(ctx context.Context, t doors.Task) (doors.Result, error) {
	for _, listener := range t.Tries() {
		if !r.allowed.may(listener.Address) {
			return doors.Result{}, problem.With(fmt.Errorf("couldn't %s at the door %s: %w: the agent may not connect to %s",
				t.Act, t.Door, tallystick.ErrDenied, listener.Address), "Add it to connect in the configuration of the agent.")
		}
	}
	return r.Doors.Do(ctx, t)
}

// finish tells what came of a step until the server has heard it, or wants to hear it no more.
func (r *Runner) finish(ctx context.Context, one Leased, result doors.Result, failed error) error {
	message := doneRequest{Step: one.Step, Fence: one.Fence, Result: result}
	if failed != nil {
		message = doneRequest{Step: one.Step, Fence: one.Fence, Error: cut(withHint(failed), maxText), Kind: KindOf(failed)}
	}
	var pause backOff
	for {
		err := r.ask(ctx, "done", message, &struct{}{})
		switch {
		case err == nil:
			return failed
		case errors.Is(err, tallystick.ErrUnavailable) && ctx.Err() == nil:
			r.Failed(err)
			sleep(ctx, pause.next())
		case errors.Is(err, tallystick.ErrInvalid) && message.Error == "": // it cannot be sent
			message = doneRequest{Step: one.Step, Fence: one.Fence, Error: cut(err.Error(), maxText), Kind: KindOf(err)}
		default:
			return errors.Join(failed, err)
		}
	}
}

// withHint is an error with what to do about it, as one text: hints do not travel.
func withHint(err error) string {
	if hint := problem.Of(err).Hint; hint != "" && KindOf(err) != "other" {
		return err.Error() + ". " + hint
	}
	return err.Error()
}

// allowed knows where the agent may connect to for the server.
type allowed struct {
	reach doors.Reach

	mu  sync.Mutex
	own map[string][]driver.Listener // guarded by mu; of its doors, by name
}

// add takes where a door of the agent listens.
func (a *allowed) add(door string, listeners []driver.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own[door] = listeners
}

// may says whether an address is of a door of the agent, or in the configuration.
func (a *allowed) may(address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, listeners := range a.own {
		if slices.ContainsFunc(listeners, func(l driver.Listener) bool { return l.Address == address }) {
			return true
		}
	}
	return a.reach.May(address)
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/network"
)

var _ driver.Finder = (*Entra)(nil)

// Find looks at tenants, which are named by their ids; without a target at the one of the
// options. It reports every key, secret and federated credential of every application and
// service principal, and every application of somebody else that may do something, with what
// all of them open.
func (e *Entra) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets := request.Targets
	if len(targets) == 0 && e.Tenant != "" {
		targets = []string{e.Tenant}
	}
	if len(targets) == 0 {
		return invalid("name tenants by their ids, as targets or in the option tenant")
	}
	tenants := make([]string, len(targets))
	for i, target := range targets {
		var err error
		if tenants[i], err = guid(target); err != nil {
			return err
		}
	}
	return each(ctx, tenants, e.Concurrency, func(ctx context.Context, tenant string) error {
		return e.findIn(ctx, tenant, request, sink)
	}, sink)
}

// each does something for every tenant, several at a time, until it fails or ctx ends.
func each(ctx context.Context, tenants []string, together int, do func(context.Context, string) error, sink driver.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var workers sync.WaitGroup
	for range min(together, len(tenants)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(tenants)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(ctx, tenants[i]); err != nil {
					cancel(err)
				}
				sink.Progress(done.Add(1), int64(len(tenants)))
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// A survey is a look at one tenant.
type survey struct {
	*client
	sink  driver.Sink
	seen  func() time.Time
	roles map[string]*resource // by the id of the service principal that a permission is for
	// opens has the delegated permissions of service principals by their ids.
	opens map[string][]tallystick.Grant
	ews   *ewsPolicy          // nil where nobody asks, or it cannot be read
	used  map[string][]string // the keys by which applications have signed in, by their client ids
}

// findIn looks at one tenant. Its error is one of the sink or of ctx.
func (e *Entra) findIn(ctx context.Context, tenant string, request driver.FindRequest, sink driver.Sink) error {
	place, now := tallystick.Place("entra://"+tenant), request.Now
	c, err := e.client(ctx, host.Local(), tenant, now)
	if err != nil {
		return notSeen(ctx, sink, place, err, now)
	}
	c.used = request.Used
	l := &survey{client: c, sink: sink, seen: now, roles: map[string]*resource{}, opens: map[string][]tallystick.Grant{}, used: map[string][]string{}}
	for _, part := range []struct {
		kind string
		find func(context.Context) error
	}{
		{ewsPlace, func(ctx context.Context) error { return e.exchangePolicy(ctx, l) }},
		{usedPlace, func(ctx context.Context) error { return e.usedKeys(ctx, l) }},
		{"", l.delegated}, {"/applications", l.applications}, {"/servicePrincipals", l.principals},
	} {
		err := part.find(ctx)
		if _, refused := errors.AsType[*signInError](err); refused && part.kind != ewsPlace {
			return notSeen(ctx, sink, place, err, now) // nobody signs in here, and the rest says the same
		}
		if err == nil {
			continue
		}
		if err := notSeen(ctx, sink, place+tallystick.Place(part.kind), err, now); err != nil {
			return err
		}
	}
	return nil
}

// A signInError is that nobody can sign in at a tenant.
type signInError struct {
	error
	codes []int // of Entra ID
}

func (e *signInError) Unwrap() error { return e.error }

// A sinkError is an error of the sink on its way up, which ends the look.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// notSeen makes a miss of an error. What it returns is an error of the sink or of ctx.
func notSeen(ctx context.Context, sink driver.Sink, place tallystick.Place, err error, now func() time.Time) error {
	failed, ends := errors.AsType[*sinkError](err)
	switch {
	case ends:
		return failed.error
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return sink.Missed(tallystick.Miss{Place: place, Error: word(err), Detail: network.Clean(err.Error()), Seen: now()})
}

// word says in one word why something was not seen.
func word(err error) string {
	said, answered := errors.AsType[*apiError](err)
	switch {
	case answered && said.Status == http.StatusTooManyRequests:
		return "throttled"
	case errors.Is(err, tallystick.ErrDenied):
		return "denied"
	case errors.Is(err, tallystick.ErrNotFound):
		return "not-found"
	case errors.Is(err, tallystick.ErrInvalid):
		return "invalid"
	}
	return "unavailable"
}

// saw reports a sighting.
func (l *survey) saw(place tallystick.Place, c tallystick.Credential, facts *tallystick.EntraFacts) error {
	err := l.sink.Saw(tallystick.Sighting{
		Credential: c, Place: place, Role: tallystick.RoleAccepts, Seen: l.seen(), Facts: tallystick.Facts{Entra: facts},
	})
	if err != nil {
		return &sinkError{err}
	}
	return nil
}

// missed reports a part of an object that could not be read. That nobody can sign in any more is
// no matter of one object, and ends the look.
func (l *survey) missed(ctx context.Context, place tallystick.Place, err error) error {
	if _, refused := errors.AsType[*signInError](err); refused {
		return err
	}
	if err := notSeen(ctx, l.sink, place, err, l.seen); err != nil {
		return &sinkError{err}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package gate is the one place that decides who may do what. Whatever reads a
// credential's detail, changes something or lets somebody in asks it first, and
// goes on only when it answers nil. The gate writes its decision to the audit
// log before it answers, so that nothing happens that is not on record; when it
// cannot write, the answer is no.
package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
)

// An Actor is somebody who wants to do something.
type Actor struct {
	Name string `json:"name"` // of a person or a token
	Role Role   `json:"role"`
	Via  string `json:"via"` // how they came in: "session", "token", "link", "local"
	// MadeBy is who made the token that they came in with: the person behind it, as far as
	// anybody knows. "" is no token.
	MadeBy string `json:"-"`
}

// Local returns the actor for whoever runs a command on the data itself. The
// operating system has let them read and write all of it, so they are an
// administrator; the record says that they came in this way.
func Local(user string) Actor { return Actor{Name: user, Role: Admin, Via: "local"} }

// FirstStart is as whom the first start of a server makes the account of its first
// administrator: whoever started it has that link.
const FirstStart = "first start"

// A Recorder keeps a record for good: *audit.Log.
type Recorder interface {
	// Append is durable when it returns nil.
	Append(ctx context.Context, r audit.Record) error
}

// A Gate decides and records. Its methods are safe to call from several goroutines.
type Gate struct {
	log Recorder
	now func() time.Time

	refusals refusals
}

// New returns a gate that writes to log.
func New(log Recorder, now func() time.Time) *Gate {
	return &Gate{log: log, now: now, refusals: refusals{counts: map[Actor]*count{}}}
}

// Check returns nil when the actor may do the action to the object now, and the
// decision is on record where the table of actions says that it is recorded.
// Otherwise the error is ErrDenied, ErrUnsigned for an actor who is nobody, or
// what kept the record from being written. The object is a name for the record
// alone; it never holds a secret.
//
// Of those whose role is Nobody or Client, at most refusalsPerMinute refusals a minute are
// recorded and the others are counted: anybody who reaches the port could fill
// the disk otherwise. All who have no name share that bound, and each name has
// its own, so an actor without a role has a name only when the store knows it.
func (g *Gate) Check(ctx context.Context, actor Actor, action Action, object string) error {
	p, known := policies[action]
	refusal := decide(actor, action, p, known)
	if refusal == nil && p.quiet {
		return nil
	}
	return g.record(ctx, actor, action, object, refusal)
}

// May says whether Check would let the actor, and records nothing: for what is
// shown besides to those who may see it.
func May(actor Actor, action Action) bool {
	p, known := policies[action]
	return decide(actor, action, p, known) == nil
}

// Refuse records that the actor was turned away for a reason that the table of
// actions knows nothing about, such as a sign-in link that was used before, and
// returns that reason, or it with what kept the record from being written.
func (g *Gate) Refuse(ctx context.Context, actor Actor, action Action, object string, reason error) error {
	return g.record(ctx, actor, action, object, reason)
}

// decide returns why the actor may not, or nil.
func decide(actor Actor, action Action, p policy, known bool) error {
	switch {
	case !known:
		return fmt.Errorf("%w: %q is not a known action", tallystick.ErrDenied, action)
	case actor.Role == Nobody || actor.Name == "":
		return fmt.Errorf("%s: %w", action, tallystick.ErrUnsigned)
	case actor.Role < p.least || actor.Role > Admin:
		return fmt.Errorf("%w: %s needs the role %s and %s has %s",
			tallystick.ErrDenied, action, p.least, actor.Name, actor.Role)
	}
	return nil
}

// record writes the decision and returns refusal, joined with what went wrong.
func (g *Gate) record(ctx context.Context, actor Actor, action Action, object string, refusal error) error {
	r := audit.Record{
		Time: g.now(), Actor: actor.Name, Role: actor.Role.String(), Via: actor.Via,
		Action: string(action), Object: object, Allowed: refusal == nil,
	}
	if refusal != nil {
		r.Detail = refusal.Error()
	}
	if refusal != nil && actor.Role <= Client {
		unrecorded, ok := g.refusals.next(actor, r.Time)
		if !ok {
			return refusal
		}
		if unrecorded > 0 {
			r.Detail += fmt.Sprintf(" (before it, %d more were not recorded)", unrecorded)
		}
	}
	if err := g.log.Append(ctx, r); err != nil {
		err = fmt.Errorf("couldn't record %s by %s: %w", action, actor.Name, err)
		if refusal != nil {
			return errors.Join(refusal, err)
		}
		return err
	}
	return refusal
}

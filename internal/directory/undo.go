// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// undoTime is for how long the change that takes another one back is expected.
	undoTime = 2 * time.Minute
	// undoPatience is for how long a directory is asked: shorter than a server waits for its own
	// answer, so that people are still told that the directory says nothing.
	undoPatience = 45 * time.Second
)

// An Undone is what came of taking a change back.
type Undone struct {
	Change store.AccessChange `json:"change"`
	driver.Undone
}

// Undo takes a change back in the directory in which it was made, by the driver of the source
// that saw it: the values that it added are taken away, those that it removed are put back, and
// what others have changed since stays. With try it only looks and says what would be done. The
// directory is asked for undoPatience at most. Open makes the driver of a source ready. Who asked, and
// whether they may, is in the audit log before the directory is asked; where it comes to nothing that is
// there as well.
//
// That the very values go or come back is expected, so that it alarms nobody, until it fails or undoTime
// is over; anything else that is done to the target alarms. The change itself stays on record, with
// its findings: who made it is still to be asked.
func (d *Directory) Undo(ctx context.Context, actor gate.Actor, id int64, try bool, open func(store.Source) (any, error)) (Undone, error) {
	c, err := d.DB.AccessChange(ctx, id)
	object := strconv.FormatInt(id, 10)
	if err == nil {
		object += " of " + c.Target
	}
	if c.Values != nil {
		object += ", " + c.Values.Attribute + " of " + c.Values.DN
	}
	if try {
		object += ", only to look"
	}
	// Whether there is such a change is told to nobody who may not ask.
	if err := d.Gate.Check(ctx, actor, gate.UndoChange, object); err != nil {
		return Undone{}, err
	}
	if errors.Is(err, tallystick.ErrNotFound) {
		err = problem.With(fmt.Errorf("there is no change %d: %w", id, tallystick.ErrNotFound), `"tally directory changes --json" shows the id of each`)
	}
	if err != nil {
		return Undone{}, err
	}
	undone, err := d.undo(ctx, actor, c, try, open)
	if err != nil && !try {
		err = d.Gate.Refuse(context.WithoutCancel(ctx), actor, gate.UndoChange, object, err)
	}
	return undone, err
}

func (d *Directory) undo(ctx context.Context, actor gate.Actor, c store.AccessChange, try bool, open func(store.Source) (any, error)) (Undone, error) {
	ctx, cancel := context.WithTimeout(ctx, undoPatience)
	defer cancel()
	u, err := d.undoer(ctx, c, open)
	if err != nil {
		return Undone{}, err
	}
	tried, err := u.Undo(ctx, driver.UndoRequest{Values: *c.Values, Try: true})
	if err != nil || try || !tried.Changed {
		return Undone{c, tried}, answered(c.Source, err)
	}
	now := d.Now()
	expected, err := d.DB.ExpectAccessChange(ctx, store.AccessExpectation{
		Target: c.Target, Kind: opposite(c.Kind), Since: now.Add(-time.Second), Until: now.Add(undoTime), By: actor.Name, Reason: fmt.Sprintf("takes back change %d", c.ID),
		TakesBack: c.ID,
	})
	if err != nil {
		return Undone{}, err
	}
	done, err := u.Undo(ctx, driver.UndoRequest{Values: *c.Values})
	if err != nil || !done.Changed { // whoever changes it now is somebody else, also when ctx has ended
		err = errors.Join(err, d.DB.EndAccessExpectation(context.WithoutCancel(ctx), expected.ID))
	}
	done.Before = tried.Before
	return Undone{c, done}, answered(c.Source, err)
}

// Opener makes ready the driver of a source, of those in a list, for Undo.
func Opener(list []driver.Driver) func(store.Source) (any, error) {
	return func(s store.Source) (any, error) {
		for _, one := range list {
			if one.Name() == s.Driver {
				return one.Open(s.Options)
			}
		}
		return nil, problem.With(fmt.Errorf("%w: the source %q is read by no driver", tallystick.ErrInvalid, s.Name), "what files tell has to be taken back by hand")
	}
}

// answered says what to do about what a directory, or the way to it, has answered, where the
// driver does not.
func answered(source string, err error) error {
	switch {
	case tallystick.HintOf(err) != "":
	case errors.Is(err, tallystick.ErrDenied):
		return problem.With(err, fmt.Sprintf("who signs in there may not do that: remove the source %q and add it again, with write-bind and write-password-file of somebody who may; what is changed in between is told by nobody", source))
	case errors.Is(err, tallystick.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return problem.With(err, fmt.Sprintf("see that this machine reaches the directory as the options of the source %q say; then look again, because what was begun may have been done", source))
	}
	return err
}

// undoer opens the driver that saw a change.
func (d *Directory) undoer(ctx context.Context, c store.AccessChange, open func(store.Source) (any, error)) (driver.Undoer, error) {
	if c.Values == nil {
		return nil, problem.With(fmt.Errorf("%w: the record of change %d does not say what stood there before", tallystick.ErrInvalid, c.ID),
			"what the drivers ad and ldap saw can be taken back; others have to be taken back by hand")
	}
	source, err := d.DB.Source(ctx, c.Source)
	if errors.Is(err, tallystick.ErrNotFound) {
		err = problem.With(fmt.Errorf("the source %q that saw change %d is gone: %w", c.Source, c.ID, err), "add it again under that name")
	}
	if err != nil {
		return nil, err
	}
	opened, err := open(source)
	if err != nil {
		return nil, err
	}
	u, ok := opened.(driver.Undoer)
	if !ok {
		return nil, problem.With(fmt.Errorf("%w: driver %q takes nothing back", tallystick.ErrInvalid, source.Driver), "take it back by hand")
	}
	return u, nil
}

// opposite is the kind of the change that takes another one back.
func opposite(kind tallystick.ChangeKind) tallystick.ChangeKind {
	for _, pair := range [][2]tallystick.ChangeKind{
		{tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialRemoved}, {tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved},
		{tallystick.ChangeGrantAdded, tallystick.ChangeGrantRemoved},
	} {
		switch kind {
		case pair[0]:
			return pair[1]
		case pair[1]:
			return pair[0]
		}
	}
	return kind
}

// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// accounts returns what stands behind an actor, for store.SamePerson: their name, who made
// their token, and whether they are who has the machine or started the server.
func (e *Engine) accounts(ctx context.Context, who gate.Actor) ([]string, error) {
	list := []string{who.Name}
	if who.Via == "local" {
		list = append(list, store.MarkLocal)
	}
	if who.MadeBy != "" {
		list = append(list, who.MadeBy)
	}
	people, err := e.DB.People(ctx)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(people, func(p store.Person) bool { return p.CreatedBy == gate.FirstStart && slices.Contains(list, p.Name) }) {
		list = append(list, store.MarkFirst)
	}
	return list, nil
}

// Approve says that somebody else than who asked for it agrees to a deadline of a
// recall: that of one that waits, or one that was asked for since. ErrConflict: that
// deadline is not what waits; ErrDenied: it is the actor's own, as far as the accounts show.
// Either outcome is on record.
func (e *Engine) Approve(ctx context.Context, who gate.Actor, id int64, deadline time.Time) error {
	named, err := e.checked(ctx, who, gate.ApproveRecall, id)
	if err != nil {
		return err
	}
	as, err := e.accounts(ctx, who)
	if err != nil {
		return err
	}
	row, err := e.DB.Recall(ctx, id)
	if err != nil {
		return err
	}
	a := store.Approval{Deadline: deadline, Who: who.Name, As: as, At: e.Now()}
	if err := row.Approvable(a); errors.Is(err, tallystick.ErrDenied) {
		return problem.With(e.Gate.Refuse(ctx, who, gate.ApproveRecall, audit.RecallObject(named.Name), err), "Ask a colleague to approve it.")
	} else if err != nil {
		return err
	}
	if err := e.recordBy(ctx, who, audit.ApprovalRecord(named.Name, deadline)); err != nil {
		return err
	}
	return e.DB.ApproveRecall(ctx, id, a)
}

// recordBy puts what somebody did on record.
func (e *Engine) recordBy(ctx context.Context, who gate.Actor, r audit.Record) error {
	r.Time, r.Actor, r.Role, r.Via = e.Now(), who.Name, who.Role.String(), who.Via
	return e.Log.Append(ctx, r)
}

// Done says that somebody did by hand what was to be done at a target. What they say is on
// record before it counts, as what came of any other step.
func (e *Engine) Done(ctx context.Context, who gate.Actor, target int64, note string) error {
	t, err := e.target(ctx, who, target)
	if err != nil {
		return err
	}
	r, err := e.recall(ctx, t.Recall)
	if err != nil {
		return err
	}
	tasks, err := e.DB.TasksOfPeople(ctx, target)
	if err == nil {
		err = e.replacedByHand(ctx, t, tasks)
	}
	if err != nil {
		return err
	}
	note = strings.TrimSpace(note)
	result := encoded(doneByHand{By: who.Name, Note: note})
	for _, s := range tasks {
		if err := e.recordBy(ctx, who, audit.StepRecord(r.Name, s.ID, audit.StepSaid(string(s.Act), s.Door, "done"), result)); err != nil {
			return err
		}
	}
	call := store.TargetCall{Target: target, Reason: note, At: e.Now(), Event: because(who.Name+" did what was to be done by hand", note)}
	err = e.DB.DoneByPerson(ctx, call, tasks, result)
	e.Wake()
	return err
}

// replacedByHand is an error while the vault has the value that somebody says to have replaced:
// its holder would go on with it.
func (e *Engine) replacedByHand(ctx context.Context, t tallystick.RecallTarget, tasks []store.RecallStepRow) error {
	if !t.Entrusted() || t.Kind != tallystick.TargetPerson || e.Vault == nil || len(tasks) == 0 {
		return nil
	}
	var facts doors.Task
	if err := e.DB.StepFacts(ctx, tasks[0], func(text json.RawMessage, _ bool) error { return json.Unmarshal(text, &facts) }); err != nil {
		return err
	}
	if facts.Secret == nil {
		return fmt.Errorf("couldn't read what the task is about: %w", tallystick.ErrDamaged)
	}
	replaced, err := e.Vault.Replaced(ctx, facts.Secret.ID, facts.Secret.Version)
	if err == nil && !replaced {
		err = problem.With(fmt.Errorf("%w: the vault still has the old value of %s", tallystick.ErrConflict, t.Subject), `entrust the new one first ("tally vault entrust"); if there is none any more, skip the target with a reason`)
	}
	return err
}

// doneByHand is the result of a task for a person.
type doneByHand struct {
	By   string `json:"by"`
	Note string `json:"note,omitempty"`
}

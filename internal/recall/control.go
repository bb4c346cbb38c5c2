// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Open plans a recall and keeps it, for somebody to approve. Who opens it never
// approves it. ErrConflict: there is one of that name, or another one that is not over
// is at work at one of its doors for the same credential.
func (e *Engine) Open(ctx context.Context, who gate.Actor, r Request) (tallystick.Recall, error) {
	if err := e.Gate.Check(ctx, who, gate.OpenRecall, r.What.String()); err != nil {
		return tallystick.Recall{}, err
	}
	p, laid, err := e.plan(ctx, who, r)
	if err == nil {
		laid.OpenedAs, err = e.accounts(ctx, who)
	}
	if err != nil {
		return tallystick.Recall{}, err
	}
	opened, err := e.open(ctx, laid)
	if err != nil {
		return opened, err
	}
	return opened, e.sayDoubts(ctx, opened.ID, p)
}

// sayDoubts writes what the plan does not hold, so that nobody takes it for all there is.
func (e *Engine) sayDoubts(ctx context.Context, id int64, p Plan) error {
	var events []store.RecallEvent
	add := func(text string) {
		events = append(events, store.RecallEvent{At: e.Now(), Kind: store.EventFailure, Text: text})
	}
	for _, door := range p.Unseen {
		add("Not in the plan, because nobody could look: " + door)
	}
	for _, warning := range p.Warnings {
		add("Warning: " + warning + ".")
	}
	if len(events) == 0 {
		return nil
	}
	return e.DB.AddRecallEvents(ctx, id, events...)
}

// open keeps a plan.
func (e *Engine) open(ctx context.Context, laid store.RecallPlan) (tallystick.Recall, error) {
	laid.Recall.State = tallystick.RecallWaiting
	if e.Defaults.Approvals == 0 {
		laid.Recall.State = tallystick.RecallApproved
	}
	r, err := e.DB.InsertRecall(ctx, laid, e.Defaults.Approvals)
	if errors.Is(err, tallystick.ErrConflict) {
		if _, taken := e.DB.RecallByName(ctx, laid.Recall.Name); taken == nil {
			err = fmt.Errorf("couldn't open the recall: %w: there is one called %s", tallystick.ErrConflict, laid.Recall.Name)
		}
		return r, problem.With(err, `"tally recall list" shows what goes on. Let the other recall end, skip the target there, or cancel it; or give this one another name.`)
	}
	if err != nil {
		return r, err
	}
	return r, e.say(ctx, r.ID, 0, fmt.Sprintf("%s opened the recall: %s, %s.", r.OpenedBy, counted(len(laid.Targets), "target"), counted(len(laid.Steps), "step")))
}

// say writes what people did.
func (e *Engine) say(ctx context.Context, recall, target int64, text string) error {
	return e.DB.AddRecallEvents(ctx, recall, store.RecallEvent{At: e.Now(), Target: target, Kind: store.EventPeople, Text: text})
}

// checked asks the gate about a recall.
func (e *Engine) checked(ctx context.Context, who gate.Actor, action gate.Action, id int64) (tallystick.Recall, error) {
	r, err := e.recall(ctx, id)
	if err != nil {
		return r, problem.With(err, `"tally recall list" shows all of them`)
	}
	return r, e.Gate.Check(ctx, who, action, "recall/"+r.Name)
}

// Start begins a recall that was approved.
func (e *Engine) Start(ctx context.Context, who gate.Actor, id int64) error {
	return e.move(ctx, who, id, store.RecallMove{From: []tallystick.RecallState{tallystick.RecallApproved}, To: tallystick.RecallRunning, Event: who.Name + " started the recall."})
}

// Pause lets what is under way come to its end, and begins nothing more. A deadline that
// blocks comes all the same.
func (e *Engine) Pause(ctx context.Context, who gate.Actor, id int64, reason string) error {
	return e.move(ctx, who, id, store.RecallMove{From: []tallystick.RecallState{tallystick.RecallRunning}, To: tallystick.RecallPaused, Reason: strings.TrimSpace(reason),
		Event: because(who.Name+" paused the recall", reason)})
}

// Resume goes on with one that was paused or has stopped. One that has stopped goes on
// when what failed was tried again or skipped.
func (e *Engine) Resume(ctx context.Context, who gate.Actor, id int64) error {
	r, err := e.DB.Recall(ctx, id)
	if err == nil && r.State == tallystick.RecallStopped {
		over, err := e.DB.OverBudget(ctx, id)
		if err != nil {
			return err
		}
		if over != "" {
			return problem.With(fmt.Errorf("%w: %s", tallystick.ErrConflict, over), "Retry the targets that failed, or skip them with a reason; then resume.")
		}
	}
	return e.move(ctx, who, id, store.RecallMove{From: []tallystick.RecallState{tallystick.RecallPaused, tallystick.RecallStopped}, To: tallystick.RecallRunning, Event: who.Name + " resumed the recall."})
}

// move checks and changes the state.
func (e *Engine) move(ctx context.Context, who gate.Actor, id int64, m store.RecallMove) error {
	if _, err := e.checked(ctx, who, gate.ControlRecall, id); err != nil {
		return err
	}
	m.At = e.Now()
	err := e.DB.MoveRecall(ctx, id, m)
	if errors.Is(err, tallystick.ErrConflict) {
		if r, lookErr := e.DB.Recall(ctx, id); lookErr == nil && r.State != m.To {
			err = problem.With(err, standing(r.Recall))
		}
	}
	e.Wake()
	return err
}

// standing says how a recall stands, to somebody whose move does not fit that.
func standing(r tallystick.Recall) string {
	if r.State == tallystick.RecallWaiting {
		return fmt.Sprintf("It waits for approval: tally recall approve %s, by somebody else than %s.", r.Name, r.OpenedBy)
	}
	return fmt.Sprintf("The recall is %s.", r.State)
}

// Cancel ends a recall that is not over, as it is. What a rehearsal blocks is let in
// again all the same, and what is being rolled back is; its keys are destroyed after that.
func (e *Engine) Cancel(ctx context.Context, who gate.Actor, id int64, reason string) error {
	if _, err := e.checked(ctx, who, gate.ControlRecall, id); err != nil {
		return err
	}
	if err := e.DB.CancelRecall(ctx, id, strings.TrimSpace(reason), e.Now(), because(who.Name+" cancelled the recall", reason)); err != nil {
		return err
	}
	e.Wake()
	return nil
}

// Extend asks for another deadline. It stands when as many have approved it as must
// approve a recall.
func (e *Engine) Extend(ctx context.Context, who gate.Actor, id int64, deadline time.Time) error {
	if _, err := e.checked(ctx, who, gate.ExtendRecall, id); err != nil {
		return err
	}
	as, err := e.accounts(ctx, who)
	if err != nil {
		return err
	}
	deadline = deadline.UTC().Truncate(time.Second)
	if !deadline.After(e.Now()) {
		return fmt.Errorf("%w: the deadline %s has passed", tallystick.ErrInvalid, deadline.Format(time.RFC3339))
	}
	return e.DB.WantDeadline(ctx, id, deadline, who.Name, as, e.Now())
}

// target finds a target and asks the gate about its recall.
func (e *Engine) target(ctx context.Context, who gate.Actor, id int64) (tallystick.RecallTarget, error) {
	t, err := e.DB.RecallTarget(ctx, id)
	if err != nil {
		return t, problem.With(err, `"tally recall status" lists the targets of a recall`)
	}
	_, err = e.checked(ctx, who, gate.ControlRecall, t.Recall)
	return t, err
}

// Retry tries again what has failed of a target. ErrConflict: nothing has, or the target
// is being rolled back, or let in again after a rehearsal.
func (e *Engine) Retry(ctx context.Context, who gate.Actor, target int64, reason string) error {
	err := e.call(ctx, who, target, reason, "has it tried again", e.DB.RetryTarget)
	if errors.Is(err, tallystick.ErrConflict) {
		err = problem.With(err, `"tally recall status" shows how the target stands. While it is being rolled back or let in again, wait for that; then retry it, or skip it with a reason.`)
	}
	return err
}

// Skip leaves a target behind, and goes on without it. There must be a reason.
func (e *Engine) Skip(ctx context.Context, who gate.Actor, target int64, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return fmt.Errorf("%w: a target is skipped for a reason", tallystick.ErrInvalid)
	}
	return e.call(ctx, who, target, reason, "skipped it", e.DB.SkipTarget)
}

// Undo rolls a target back, with those that share its new credential: the old one is
// installed again. It cannot be done once the old one is being revoked, or a deadline
// blocks it, or while it is under way.
func (e *Engine) Undo(ctx context.Context, who gate.Actor, target int64, reason string) error {
	return e.call(ctx, who, target, reason, "has it rolled back", e.DB.UndoTarget)
}

// call does something with a target.
func (e *Engine) call(ctx context.Context, who gate.Actor, target int64, reason, verb string, do func(context.Context, store.TargetCall) error) error {
	if _, err := e.target(ctx, who, target); err != nil {
		return err
	}
	reason = strings.TrimSpace(reason)
	err := do(ctx, store.TargetCall{Target: target, Reason: reason, At: e.Now(), Event: because(who.Name+" "+verb, reason)})
	e.Wake()
	return err
}

// because writes a sentence with a reason.
func because(what, reason string) string {
	if reason = strings.TrimSpace(reason); reason != "" {
		what += ": " + reason
	}
	return strings.TrimSuffix(what, ".") + "."
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

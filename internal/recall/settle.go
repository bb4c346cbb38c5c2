// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// How often and for how long a step is tried.
const (
	mostTries   = 5                // of an error that says nothing of its kind
	patience    = 30 * time.Minute // with a door that is away, while the old one still works
	firstRest   = 2 * time.Second
	longestRest = 5 * time.Minute
	mostRounds  = 3 // how often the new credential of a target may be burnt in its turn
)

// temporary says that an error will pass.
func temporary(err error) bool {
	if errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, tallystick.ErrBusy) || errors.Is(err, tallystick.ErrInUse) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	timeout, is := errors.AsType[net.Error](err)
	return is && timeout.Timeout()
}

// backOff returns how long to rest after the nth failure in a row: twice as long as the
// time before, give or take a fifth, so that those that failed together do not come
// again together.
func backOff(n int64) time.Duration {
	d := min(firstRest<<min(max(n-1, 0), 20), longestRest)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// settle records what came of a step.
func (e *Engine) settle(ctx context.Context, s store.ClaimedStep, o outcome) error {
	now := e.Now()
	switch {
	case o.burnt != "":
		return e.beginAgain(ctx, s, o.burnt)
	case o.asks != "":
		return e.ask(ctx, s, o, now)
	case o.err != nil:
		return e.fail(ctx, s, o, now)
	case !o.wait.IsZero():
		s.Failures, s.Trouble, s.Error, s.Next = 0, time.Time{}, o.why, o.wait
		s.Result = resultText(o.result)
		return e.DB.RetryRecallStep(ctx, s.RecallStepRow)
	}
	return e.finish(ctx, s, o, now)
}

func (e *Engine) finish(ctx context.Context, s store.ClaimedStep, o outcome, now time.Time) error {
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return err
	}
	out := store.StepOutcome{Result: resultText(o.result), At: now, Fresh: o.fresh}
	if o.said != "" {
		out.Events = []store.RecallEvent{{At: now, Target: s.Target, Kind: store.EventStep, Text: o.said}}
	}
	if err := e.record(ctx, r, s, "done", out.Result); err != nil {
		return e.fail(ctx, s, outcome{err: err}, now)
	}
	return e.DB.FinishRecallStep(ctx, s.RecallStepRow, out)
}

// ask has the people of a door do what it denies us. The step is tried again all the same,
// seldomer as time goes by: once they did it, it changes nothing and is done. Nobody is asked
// to take part in a rehearsal.
func (e *Engine) ask(ctx context.Context, s store.ClaimedStep, o outcome, now time.Time) error {
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return err
	}
	if r.Rehearse > 0 {
		reason := "not rehearsed: " + short(o.err.Error())
		return e.DB.SkipTarget(ctx, store.TargetCall{Target: s.Target, Reason: reason, At: now, Event: fmt.Sprintf("%s is %s.", s.Door, reason)})
	}
	s.Error, s.Next = o.err.Error(), now.Add(min(max(now.Sub(s.Began)/2, firstRest), longestRest))
	event := store.RecallEvent{At: now, Target: s.Target, Kind: store.EventFailure, Text: fmt.Sprintf("%s is denied%s, and its people are asked to do it: %s", s.Act, at(s), o.err)}
	return e.DB.AskForStep(ctx, s.RecallStepRow, o.asks, event)
}

// record puts what came of a step on record, before it counts. The result is named by
// its SHA-256, so that it cannot be changed afterwards without notice.
func (e *Engine) record(ctx context.Context, r tallystick.Recall, s store.ClaimedStep, how string, result []byte) error {
	who := actor(r.Name)
	if s.Agent != "" {
		who.Name = "agent/" + s.Agent
	}
	record := audit.StepRecord(r.Name, s.ID, audit.StepSaid(string(s.Act), s.Door, how), result)
	return e.recordBy(ctx, who, record)
}

// fail puts a step down until it is tried again, or for good.
func (e *Engine) fail(ctx context.Context, s store.ClaimedStep, o outcome, now time.Time) error {
	s.Failures++
	if s.Trouble.IsZero() {
		s.Trouble = now
	}
	s.Error, s.Result = o.err.Error(), resultText(o.result)
	if !givenUp(s, o, now) {
		s.Next = now.Add(backOff(s.Failures))
		var events []store.RecallEvent
		if s.Failures == 1 {
			text := fmt.Sprintf("%s failed%s and is tried again: %s", s.Act, at(s), o.err)
			events = append(events, store.RecallEvent{At: now, Target: s.Target, Kind: store.EventFailure, Text: text})
		}
		return e.DB.RetryRecallStep(ctx, s.RecallStepRow, events...)
	}
	r, err := e.recall(ctx, s.Recall)
	if err == nil {
		err = e.record(ctx, r, s, "failed: "+short(s.Error), s.Result)
	}
	if err != nil {
		return err // the lease runs out, and it is tried again
	}
	event := store.RecallEvent{At: now, Target: s.Target, Kind: store.EventFailure, Text: fmt.Sprintf("%s failed%s: %s", s.Act, at(s), o.err)}
	out := store.StepOutcome{Result: s.Result, At: now, Events: []store.RecallEvent{event}}
	if err := e.DB.FailRecallStep(ctx, s.RecallStepRow, out, nextAction(s, o.err)); err != nil {
		return err
	}
	if errors.Is(o.err, tallystick.ErrDenied) { // nobody has tried it
		return nil
	}
	return e.rollBack(ctx, s, now)
}

func at(s store.ClaimedStep) string {
	if s.Door == "" {
		return ""
	}
	return " at " + s.Door
}

// short keeps a text to what a record can bear.
func short(text string) string {
	const most = 500
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// givenUp says that a step is not tried again by itself. What takes the old one out of
// use is never given up because somebody does not answer, and what undoes a rehearsal is
// not given up at all.
func givenUp(s store.ClaimedStep, o outcome, now time.Time) bool {
	switch {
	case s.Act == tallystick.ActLift:
		return false
	case o.final:
		return true
	case !temporary(o.err):
		return s.Failures >= mostTries
	case s.Phase == tallystick.PhasePrepare || s.Phase == tallystick.PhaseActivate:
		return now.Sub(s.Trouble) >= patience
	}
	return false
}

// internalKind is the kind of problems whose hint is for our own mistakes.
const internalKind = "internal"

// nextAction says what somebody can do about a failure.
func nextAction(s store.ClaimedStep, err error) string {
	hint := ""
	// What a door denies is no matter of somebody's role here.
	if p := problem.Of(err); p.Kind != internalKind && p.Hint != problem.Of(tallystick.ErrDenied).Hint {
		hint = p.Hint
	}
	if hint == "" {
		switch s.Act {
		case tallystick.ActProbe:
			hint = "See why the other side refuses the new one."
		case tallystick.ActProve:
			hint = "See that the door refuses the old one."
		default:
			hint = "See to what the error says."
		}
	}
	return ". " + sentence(hint) + " Then retry the target, or skip it with a reason."
}

// sentence makes one of a hint: many are written to stand behind a colon.
func sentence(hint string) string {
	first, size := utf8.DecodeRuneInString(hint)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(hint[size:], ".") + "."
}

// rollBack takes a target back whose new credential is not accepted where it must be:
// the holder would have none that works. Targets that share it with others wait for
// somebody to decide.
func (e *Engine) rollBack(ctx context.Context, s store.ClaimedStep, now time.Time) error {
	if s.Act != tallystick.ActProbe {
		return nil
	}
	install, err := e.DB.RecallSteps(ctx, s.Recall, store.StepFilter{Target: s.Target, Act: tallystick.ActInstall}, 0, 2)
	if err != nil || len(install) != 1 || install[0].Shared {
		return err
	}
	err = e.DB.UndoTarget(ctx, store.TargetCall{Target: s.Target, Reason: "the new one is not accepted: " + short(s.Error), At: now, Event: "It is rolled back, because the new one is not accepted."})
	if errors.Is(err, tallystick.ErrConflict) {
		return nil // there is nothing to roll back any more
	}
	return err
}

// beginAgain has a new credential made in place of one that is burnt in its turn.
func (e *Engine) beginAgain(ctx context.Context, s store.ClaimedStep, why string) error {
	now := e.Now()
	c := store.TargetCall{Target: s.Target, At: now, Event: fmt.Sprintf("Its new credential is burnt as well, and another one is made: %s.", why)}
	err := e.DB.BeginAgain(ctx, s.RecallStepRow, c, mostRounds)
	if errors.Is(err, tallystick.ErrConflict) && !errors.Is(err, store.ErrNotOurs) {
		return e.fail(ctx, s, outcome{err: fmt.Errorf("its new credential is burnt: %s: %w", why, tallystick.ErrInvalid), final: true}, now)
	}
	return err
}

// resultText writes a result as it is kept; nothing of nil.
func resultText(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	return encoded(v)
}

// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// agentLease is how long a dead agent holds a step up.
const agentLease = 2 * time.Minute

// AgentSteps is an Engine as agents see it.
type AgentSteps struct{ engine *Engine }

var _ agent.Steps = AgentSteps{}

// ForAgents returns where agents have their work from.
func (e *Engine) ForAgents() AgentSteps { return AgentSteps{e} }

func ownerOf(agent string) string { return "agent/" + agent }

// Claim returns steps at doors of an agent that are ready, each taken up for it.
func (a AgentSteps) Claim(ctx context.Context, name string, limit int) ([]agent.Leased, error) {
	e := a.engine
	steps, err := e.DB.ClaimRecallSteps(ctx, store.StepClaim{Agent: name, Owner: ownerOf(name), Now: e.Now(), Lease: agentLease, Most: limit})
	var list []agent.Leased
	for _, s := range steps {
		task, err := e.forAgent(ctx, s)
		if err != nil {
			return list, err
		}
		if task != nil {
			list = append(list, agent.Leased{Step: s.ID, Fence: s.Fence, Lease: agentLease, Task: *task})
		}
	}
	return list, err
}

// forAgent completes what an agent is to do; nil when it must not be done.
func (e *Engine) forAgent(ctx context.Context, s store.ClaimedStep) (*doors.Task, error) {
	if usesNew(s) {
		why, err := e.burnt(ctx, s)
		if err == nil && why != "" {
			return nil, e.settle(ctx, s, outcome{burnt: why})
		}
		if err != nil {
			return nil, e.settle(ctx, s, outcome{err: err})
		}
	}
	t, err := e.taskOf(ctx, s)
	if err != nil {
		return nil, e.settle(ctx, s, outcome{err: err})
	}
	return &t, nil
}

// leased returns the step that an agent holds. ErrConflict when it does not.
func (e *Engine) leased(ctx context.Context, name string, step, fence int64) (store.ClaimedStep, error) {
	s, err := e.DB.RecallStep(ctx, step)
	if err != nil {
		return s, err
	}
	if s.Agent != name || s.Fence != fence {
		return s, store.ErrNotOurs
	}
	return s, nil
}

// Extend makes a lease as long again as it was.
func (a AgentSteps) Extend(ctx context.Context, name string, step, fence int64) error {
	e := a.engine
	s, err := e.leased(ctx, name, step, fence)
	if err != nil {
		return err
	}
	s.Owner = ownerOf(name)
	lost, err := e.DB.LeaseRecallSteps(ctx, []store.RecallStepRow{s.RecallStepRow}, e.Now().Add(agentLease))
	if err == nil && len(lost) > 0 {
		err = store.ErrNotOurs
	}
	return err
}

// Finish says what came of a step of an agent.
func (a AgentSteps) Finish(ctx context.Context, name string, step, fence int64, result doors.Result, failure, kind string) error {
	e := a.engine
	s, err := e.leased(ctx, name, step, fence)
	if err != nil {
		return err
	}
	if s.State != tallystick.StepRunning {
		if s.State == tallystick.StepDone || s.State == tallystick.StepReady && (s.Failures > 0 || s.Asked) || s.State == tallystick.StepFailed {
			return nil // it was said before
		}
		return store.ErrNotOurs
	}
	t, err := e.taskOf(ctx, s)
	if err != nil {
		return err
	}
	err = e.settle(ctx, s, e.judge(ctx, s, t, result, agent.ErrorOf(failure, kind)))
	e.Wake()
	return err
}

// Over returns those of names, such as "recall/7", that are of recalls which are over or
// are not there.
func (a AgentSteps) Over(ctx context.Context, names []string) ([]string, error) {
	e := a.engine
	var over []string
	for _, name := range names {
		number, is := strings.CutPrefix(name, "recall/")
		id, err := strconv.ParseInt(number, 10, 64)
		if !is || err != nil || name != nameOf(id) {
			return nil, fmt.Errorf("%w: %.80q is not the name of a recall's secrets", tallystick.ErrInvalid, name)
		}
		ended, err := e.DB.RecallOver(ctx, id)
		if err != nil {
			return nil, err
		}
		if ended {
			over = append(over, name)
		}
	}
	return over, nil
}

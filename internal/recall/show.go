// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// A Status is how a recall stands.
type Status struct {
	tallystick.Recall
	Needs    int                 `json:"needs"`           // how many must approve
	Wanted   time.Time           `json:"wanted,omitzero"` // the deadline that somebody asks for
	WantedBy string              `json:"wanted_by,omitempty"`
	Targets  []store.TargetCount `json:"targets"`
	Steps    []store.StepCount   `json:"steps"`
	Done     int64               `json:"done"`  // targets that are proven or skipped
	Total    int64               `json:"total"` // targets
	// Waiting are the holders that drains of entrusted secrets wait for, by name, as far as the first
	// thousand of these drains tell.
	Waiting []Waiting `json:"waiting_for,omitempty"`
	// Idle are the targets of each phase that nobody works at.
	Idle map[tallystick.Phase]int64 `json:"idle,omitempty" doc:"targets that nobody works at, by their phase: they wait for approval, the beginning, a gate, people or other phases, or the recall is over"`
}

// A Waiting is a holder that has not asked the vault for the new values of secrets yet.
type Waiting struct {
	Holder  string `json:"holder"`
	Targets int64  `json:"targets" doc:"whose new values it has not been given"`
}

// An Event is something worth telling of a recall.
type Event = store.RecallEvent

// A Filter picks targets.
type Filter = store.TargetFilter

// mostListed bounds a page.
const mostListed = 1000

// ByName finds a recall.
func (e *Engine) ByName(ctx context.Context, who gate.Actor, name string) (tallystick.Recall, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadRecalls, "recall/"+name); err != nil {
		return tallystick.Recall{}, err
	}
	r, err := e.DB.RecallByName(ctx, name)
	return r.Recall, problem.With(err, `"tally recall list" shows all of them`)
}

// List returns at most limit recalls whose number is below before, the newest first;
// before 0 is from the newest on.
func (e *Engine) List(ctx context.Context, who gate.Actor, before int64, limit int) ([]tallystick.Recall, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadRecalls, "list"); err != nil {
		return nil, err
	}
	rows, err := e.DB.Recalls(ctx, before, max(1, min(limit, mostListed)))
	list := make([]tallystick.Recall, len(rows))
	for i, r := range rows {
		list[i] = r.Recall
	}
	// Processes take numbers in blocks, so that a later one may have the lower number.
	slices.SortStableFunc(list, func(a, b tallystick.Recall) int { return b.Opened.Compare(a.Opened) })
	return list, err
}

// Status says how a recall stands.
func (e *Engine) Status(ctx context.Context, who gate.Actor, id int64) (Status, error) {
	if _, err := e.checked(ctx, who, gate.ReadRecalls, id); err != nil {
		return Status{}, err
	}
	r, err := e.DB.Recall(ctx, id)
	if err != nil {
		return Status{}, err
	}
	s := Status{Recall: r.Recall, Needs: r.Needs, Wanted: r.Wanted, WantedBy: r.WantedBy}
	if s.Targets, err = e.DB.CountRecallTargets(ctx, id); err != nil {
		return s, err
	}
	for _, c := range s.Targets {
		s.Total += c.Count
		if c.State == tallystick.TargetProven || c.State == tallystick.TargetSkipped {
			s.Done += c.Count
		}
	}
	if s.Steps, err = e.DB.CountRecallSteps(ctx, id); err != nil {
		return s, err
	}
	if s.Idle, err = e.idle(ctx, s); err != nil {
		return s, err
	}
	s.Waiting, err = e.waitedFor(ctx, s)
	return s, err
}

// waitedFor returns the holders that drains wait for, as these have last found out.
func (e *Engine) waitedFor(ctx context.Context, s Status) ([]Waiting, error) {
	count := map[string]int64{}
	for _, c := range s.Steps {
		if !ofSecrets(s.What) || s.State.Over() || c.Act != tallystick.ActDrain || c.State != tallystick.StepReady && c.State != tallystick.StepRunning {
			continue
		}
		steps, err := e.DB.RecallSteps(ctx, s.ID, store.StepFilter{Act: c.Act, State: c.State}, 0, mostListed)
		if err != nil {
			return nil, err
		}
		for _, step := range steps {
			var taken vault.Taken
			if len(step.Result) > 0 && json.Unmarshal(step.Result, &taken) == nil && taken.Holder != "" && taken.Given.IsZero() {
				count[taken.Holder]++
			}
		}
	}
	var list []Waiting
	for _, holder := range slices.Sorted(maps.Keys(count)) {
		list = append(list, Waiting{holder, count[holder]})
	}
	return list, nil
}

// Targets returns at most limit targets of a recall that a filter picks and whose
// number is above after, in the order of the plan.
func (e *Engine) Targets(ctx context.Context, who gate.Actor, id int64, f Filter, after int64, limit int) ([]tallystick.RecallTarget, error) {
	if _, err := e.checked(ctx, who, gate.ReadRecalls, id); err != nil {
		return nil, err
	}
	return e.DB.RecallTargets(ctx, id, f, after, max(1, min(limit, mostListed)))
}

// Steps returns at most limit steps of a recall, or with a target of it, whose number
// is above after, in the order of the plan.
func (e *Engine) Steps(ctx context.Context, who gate.Actor, id, target, after int64, limit int) ([]tallystick.RecallStep, error) {
	if _, err := e.checked(ctx, who, gate.ReadRecalls, id); err != nil {
		return nil, err
	}
	rows, err := e.DB.RecallSteps(ctx, id, store.StepFilter{Target: target}, after, max(1, min(limit, mostListed)))
	list := make([]tallystick.RecallStep, len(rows))
	for i, r := range rows {
		list[i] = r.RecallStep
	}
	return list, err
}

// Events returns at most limit events of a recall behind the nth, in their order.
func (e *Engine) Events(ctx context.Context, who gate.Actor, id, after int64, limit int) ([]Event, error) {
	if _, err := e.checked(ctx, who, gate.ReadRecalls, id); err != nil {
		return nil, err
	}
	return e.DB.RecallEvents(ctx, id, after, max(1, min(limit, mostListed)))
}

// A Broken is a connection of a rehearsal whose holder went on to use the old
// credential while it was blocked: in earnest it would be without one.
type Broken struct {
	Target tallystick.RecallTarget `json:"target"`
	From   time.Time               `json:"from"`
	Answer DrainAnswer             `json:"uses"`
	Error  string                  `json:"error,omitempty"` // why the books could not be asked
}

// Broken returns who broke in a rehearsal, as far as the books know by now.
func (e *Engine) Broken(ctx context.Context, who gate.Actor, id int64) ([]Broken, error) {
	r, err := e.checked(ctx, who, gate.ReadRecalls, id)
	if err != nil || r.Rehearse == 0 {
		return nil, err
	}
	list := []Broken{}
	for after := int64(0); ; {
		steps, err := e.DB.RecallSteps(ctx, id, store.StepFilter{Act: tallystick.ActBlock}, after, mostListed)
		if err != nil || len(steps) == 0 {
			return list, err
		}
		for _, s := range steps {
			after = s.ID
			b, err := e.brokenAt(ctx, s)
			if err != nil {
				return list, err
			}
			if b.Error != "" || b.Answer.Uses > 0 {
				list = append(list, b)
			}
		}
	}
}

func (e *Engine) brokenAt(ctx context.Context, s store.RecallStepRow) (Broken, error) {
	if s.Began.IsZero() || e.Uses == nil {
		return Broken{}, nil
	}
	full, err := e.DB.RecallStep(ctx, s.ID)
	if err != nil {
		return Broken{}, err
	}
	facts, err := factsOf(full)
	if err != nil {
		return Broken{}, err
	}
	b := Broken{From: s.Began}
	if b.Target, err = e.DB.RecallTarget(ctx, s.Target); err != nil {
		return b, err
	}
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return b, err
	}
	until := s.Began.Add(r.Rehearse)
	if b.Answer, err = e.Uses.Quiet(ctx, DrainQuestion{Credential: facts.Old.Names(), RelyingParties: partiesOf(facts), Since: s.Began, Until: until}); err != nil {
		b.Error = err.Error()
	}
	return b, nil
}

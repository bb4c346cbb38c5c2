// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
)

// recallTargetPage answers: what was done here, what came of it, and what can I do?
type recallTargetPage struct {
	frame
	recallTargetRow
	Recall tallystick.Recall
	Path   string // of the recall
	Live   bool
	// LastEvent is the number of the last event that the page has in it.
	LastEvent int64
	Steps     []stepRow
	More      int64
	Tried     []recall.StillTried // the old one, since it was refused
	Can       struct{ Retry, Skip, Undo, Done bool }
}

// A stepRow is one step with what came of it.
type stepRow struct {
	tallystick.RecallStep
	Bad    bool
	Tries  []driver.Attempt
	Fresh  []driver.Attempt // tries of the new one
	How    []string
	Left   []string // open connections that were left
	Raw    string   // all of it, as JSON
	Who    string
	Waiter string // why it has not begun
}

// stepRows is how many steps, and tries of a step, the page shows.
const (
	stepRows = 60
	tryRows  = 12
	maxCame  = 6000
)

// RecallTarget is one target with its steps.
func (s *Site) RecallTarget(w http.ResponseWriter, r *http.Request) {
	p, err := s.recallTargetPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "recalltarget", p)
}

// targetOf is the recall and the target of the path.
func (s *Site) targetOf(r *http.Request) (tallystick.Recall, tallystick.RecallTarget, error) {
	one, err := s.recallOf(r)
	if err != nil {
		return one, tallystick.RecallTarget{}, err
	}
	id, err := numberOf(r.PathValue("id"))
	if err != nil {
		return one, tallystick.RecallTarget{}, err
	}
	t, err := s.Recalls.DB.RecallTarget(r.Context(), id)
	if err == nil && t.Recall != one.ID {
		err = fmt.Errorf("the recall %s has no target %d: %w", clip(60, one.Name), id, tallystick.ErrNotFound)
	}
	return one, t, err
}

func (s *Site) recallTargetPage(r *http.Request) (*recallTargetPage, error) {
	one, t, err := s.targetOf(r)
	if err != nil {
		return nil, err
	}
	p := &recallTargetPage{Recall: one, Path: recallPath(one.Name), recallTargetRow: targetRow(one, t)}
	p.frame = frame{Title: clip(80, p.Where) + " in " + one.Name, Section: "recalls"}
	steps, err := s.Recalls.Steps(r.Context(), actorOf(r), one.ID, t.ID, 0, stepRows+1)
	if err != nil {
		return nil, err
	}
	last, err := s.Recalls.DB.LastRecallEvents(r.Context(), one.ID, 0, 1)
	if err != nil {
		return nil, err
	}
	for _, event := range last {
		p.LastEvent = event.N
	}
	if t.Entrusted() {
		if p.Tried, err = s.Recalls.StillTried(r.Context(), actorOf(r), one.ID, t.ID); err != nil {
			return nil, err
		}
	}
	p.Live = !one.State.Over()
	p.More = int64(max(0, len(steps)-stepRows))
	for _, step := range head(stepRows, steps) {
		p.Steps = append(p.Steps, stepRowOf(step))
	}
	p.may(r, steps)
	return p, nil
}

// may says what can be done about the target. The engine decides again.
func (p *recallTargetPage) may(r *http.Request, steps []tallystick.RecallStep) {
	over := p.Recall.State.Over() || p.State == tallystick.TargetProven || p.State == tallystick.TargetSkipped
	if over || !(&frame{Actor: actorOf(r)}).MayChange() {
		return
	}
	p.Can.Skip = true
	for _, step := range steps {
		p.Can.Retry = p.Can.Retry || step.State == tallystick.StepFailed
		p.Can.Done = p.Can.Done || step.Act == tallystick.ActPerson && step.State == tallystick.StepReady
		p.Can.Undo = p.Can.Undo || step.Act == tallystick.ActInstall && step.State == tallystick.StepDone
	}
	gone := slices.ContainsFunc(steps, func(step tallystick.RecallStep) bool {
		return (step.Act == tallystick.ActRevoke || step.Act == tallystick.ActBlock) && !step.Began.IsZero()
	})
	p.Can.Undo = p.Can.Undo && !gone && p.State != tallystick.TargetUndone && p.Recall.Rehearse == 0
}

// stepRowOf makes of a step what people read.
func stepRowOf(step tallystick.RecallStep) stepRow {
	row := stepRow{RecallStep: step, Bad: step.State == tallystick.StepFailed || step.Failures > 0, Who: "the server"}
	if step.Agent != "" {
		row.Who = "agent " + step.Agent
	}
	if step.Act == tallystick.ActPerson {
		row.Who = "a person"
	}
	if step.State == tallystick.StepWaiting {
		row.Waiter = "waits for " + plural(int64(step.Waits), "other step", "other steps")
	}
	var came struct {
		Installed   *driver.Installed `json:"installed"`
		Changed     *driver.Changed   `json:"changed"`
		Blocked     *driver.Blocked   `json:"blocked"`
		Attempts    []driver.Attempt  `json:"attempts"`
		NewAttempts []driver.Attempt  `json:"new_attempts"`
	}
	if len(step.Result) == 0 || json.Unmarshal(step.Result, &came) != nil {
		return row
	}
	row.Tries, row.Fresh = head(tryRows, came.Attempts), head(tryRows, came.NewAttempts)
	switch {
	case came.Installed != nil:
		row.How = came.Installed.How
	case came.Changed != nil:
		row.How = came.Changed.How
	case came.Blocked != nil:
		row.How, row.Left = came.Blocked.How, head(tryRows, came.Blocked.Left)
	}
	row.How = clipAll(head(6, row.How))
	var pretty bytes.Buffer
	if json.Indent(&pretty, step.Result, "", " ") == nil {
		row.Raw = pretty.String()
		if len(row.Raw) > maxCame {
			row.Raw = strings.ToValidUTF8(row.Raw[:maxCame], "") + "\n… all of it is in the evidence"
		}
	}
	return row
}

// TurnRecallTarget does what somebody wants of a target.
func (s *Site) TurnRecallTarget(w http.ResponseWriter, r *http.Request) {
	type turn func(*recall.Engine, context.Context, gate.Actor, int64, string) error
	turns := map[string]struct {
		do   turn
		word string
	}{
		"retry": {(*recall.Engine).Retry, "target-retried"}, "skip": {(*recall.Engine).Skip, "target-skipped"},
		"undo": {(*recall.Engine).Undo, "target-undone"}, "done": {(*recall.Engine).Done, "target-done"},
	}
	verb := r.PathValue("verb")
	one, known := turns[verb]
	if !known {
		s.NotFound(w, r)
		return
	}
	of, t, err := s.targetOf(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	if err := one.do(s.Recalls, r.Context(), actorOf(r), t.ID, strings.TrimSpace(r.PostFormValue("reason"))); err != nil {
		s.again(w, r, err, verb, r.PostForm, "recalltarget", func() (page, error) {
			p, err := s.recallTargetPage(r)
			if p != nil {
				p.Live = false // at this address there is nothing to read again
			}
			return p, err
		})
		return
	}
	done(w, r, targetPath(of, t.ID), one.word)
}

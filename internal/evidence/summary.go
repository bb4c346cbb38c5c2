// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A summary is what the report and the table say of a recall.
type summary struct {
	rows   []*row
	byID   map[int64]*row
	states map[string]int64
}

// A row is one target with what was done.
type row struct {
	tallystick.RecallTarget
	Done   map[tallystick.Act]time.Time // when each act was done last
	Hands  []string                     // who did it: the server, agents
	How    []string                     // by which ways the old one is refused
	Tried  tries                        // of the old one, to prove that it is dead
	Looked bool                         // instead, that nothing shows it and that the door does not say that it lets it in
	Looks  int                          // at what listeners serve
	Fresh  tries                        // of the new one
	Closed int                          // open connections that were closed
	Left   []string                     // open connections that were left, and why
	Notes  []string                     // what people said, and what was skipped
}

// tries counts attempts by their outcome.
type tries struct {
	Accepted, Refused, NotResumed, Failed int
	Ways                                  []string // in which the outcome was as it should be, without doubles
}

func (t *tries) add(list []driver.Attempt, good string) {
	for _, a := range list {
		switch a.Outcome {
		case driver.OutcomeAccepted:
			t.Accepted++
		case driver.OutcomeRefused:
			t.Refused++
		case driver.OutcomeNotResumed:
			t.NotResumed++
		default:
			t.Failed++
		}
		if a.Outcome == good && !slices.Contains(t.Ways, a.Way) {
			t.Ways = append(t.Ways, a.Way)
		}
	}
}

func newSummary() *summary { return &summary{byID: map[int64]*row{}, states: map[string]int64{}} }

func (s *summary) addTarget(t tallystick.RecallTarget) {
	one := &row{RecallTarget: t, Done: map[tallystick.Act]time.Time{}}
	s.rows = append(s.rows, one)
	s.byID[t.ID] = one
	s.states[t.State]++
}

// A came is what came of a step, as far as the report tells it. The rest is in steps.ndjson.
type came struct {
	Blocked     *driver.Blocked  `json:"blocked"`
	View        *struct{}        `json:"view"` // only whether there is one
	Attempts    []driver.Attempt `json:"attempts"`
	NewAttempts []driver.Attempt `json:"new_attempts"`
	Note        string           `json:"note"`
	Reason      string           `json:"reason"`
}

func (s *summary) addStep(step Step) {
	var result came
	if len(step.Result) > 0 {
		_ = json.Unmarshal(step.Result, &result) // what has another form says nothing here
	}
	for _, id := range append([]int64{step.Target}, step.Also...) {
		if one := s.byID[id]; one != nil {
			one.add(step.RecallStep, result)
		}
	}
}

func (r *row) add(step tallystick.RecallStep, result came) {
	if note := cmp.Or(result.Note, result.Reason); note != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("%s: %s", step.Act, note))
	}
	if step.State != tallystick.StepDone {
		return
	}
	r.Done[step.Act] = step.Ended
	hand := "the server"
	if step.Agent != "" {
		hand = "agent " + step.Agent
	}
	if saidBy(step) != "" {
		hand = "a person"
	}
	if !slices.Contains(r.Hands, hand) {
		r.Hands = append(r.Hands, hand)
	}
	if b := result.Blocked; b != nil && step.Act == tallystick.ActBlock {
		r.How, r.Closed, r.Left = append(r.How, b.How...), r.Closed+b.Closed, append(r.Left, b.Left...)
	}
	switch {
	case step.Act == tallystick.ActProve && result.View != nil:
		// Nobody signed in with anything: "accepted" says of a look that there was an answer.
		r.Looked, r.Looks = true, r.Looks+len(result.Attempts)
	case step.Act == tallystick.ActProve:
		r.Tried.add(result.Attempts, driver.OutcomeRefused)
		r.Fresh.add(result.NewAttempts, driver.OutcomeAccepted)
	case step.Act == tallystick.ActProbe:
		r.Fresh.add(result.Attempts, driver.OutcomeAccepted)
	}
}

// The ways in which it is known of a target that the old one is dead there, as
// ProvenBy tells them.
const (
	byTry  = "try"
	byLook = "look"
	byHand = "hand" // somebody said so
)

// ProvenBy is the best of the ways in which a target is proven, "" when it is not, or by
// nothing that this file has.
func (r *row) ProvenBy() string {
	switch {
	case r.State != tallystick.TargetProven:
		return ""
	case r.Tried.Refused > 0:
		return byTry
	case r.Looked:
		return byLook
	case !r.Done[tallystick.ActPerson].IsZero():
		return byHand
	}
	return ""
}

// Proof says in words what was tried, looked at, or only said.
func (r *row) Proof() string {
	var parts []string
	if r.Tried.Refused > 0 {
		parts = append(parts, fmt.Sprintf("old refused %d× (%s)", r.Tried.Refused, strings.Join(r.Tried.Ways, ", ")))
	}
	if r.Tried.NotResumed > 0 {
		parts = append(parts, fmt.Sprintf("old not resumed %d×", r.Tried.NotResumed))
	}
	if r.Tried.Accepted > 0 {
		parts = append(parts, fmt.Sprintf("old accepted %d×", r.Tried.Accepted))
	}
	switch {
	case r.Looked && r.Kind == tallystick.TargetPlace:
		parts = append(parts, "looked at, not tried: nothing shows the old one")
	case r.Looked:
		parts = append(parts, "looked at, not tried: the door does not say that it lets the old one in")
	case r.ProvenBy() == byHand:
		parts = append(parts, "done by hand, and neither tried nor looked at")
	}
	if r.Looks > 0 {
		parts = append(parts, fmt.Sprintf("what listeners serve looked at %d×", r.Looks))
	}
	if r.Fresh.Accepted > 0 {
		parts = append(parts, fmt.Sprintf("new accepted %d×", r.Fresh.Accepted))
	}
	return strings.Join(parts, "; ")
}

// Where says where a target is.
func (r *row) Where() string {
	switch {
	case r.Relying != "" && r.Holder != "":
		return r.Holder + " → " + r.Relying
	case r.Relying != "":
		return r.Relying
	}
	return r.Holder
}

// Acts are those that were done, in their order of time.
func (r *row) Acts() []tallystick.Act {
	var acts []tallystick.Act
	for act := range r.Done {
		acts = append(acts, act)
	}
	slices.SortFunc(acts, func(a, b tallystick.Act) int { return cmp.Or(r.Done[a].Compare(r.Done[b]), cmp.Compare(a, b)) })
	return acts
}

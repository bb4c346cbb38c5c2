// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
)

// remote has the doors of app2 worked at by an agent.
type remote struct{ *house }

// Look finds every agent at its place.
func (r remote) Look(context.Context) ([]string, error) { return nil, nil }

// Doors says how the agent's doors stand.
func (r remote) Doors(ctx context.Context) ([]recall.AgentDoor, error) {
	var list []recall.AgentDoor
	for _, d := range r.estate.Doors() {
		if !theirs(d.Name) {
			continue
		}
		view, err := r.estate.Look(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		d.Agent = "site"
		list = append(list, recall.AgentDoor{Door: d, View: view, Looked: r.clock.now()})
	}
	return list, nil
}

func theirs(door string) bool {
	return door == "app2" || door == "mail1" || door == "mail2" || door == "mail3"
}

// ours are the doors of the server alone.
type ours struct{ *recalltest.Estate }

func (o ours) Doors() []doors.Door {
	var list []doors.Door
	for _, d := range o.Estate.Doors() {
		if !theirs(d.Name) {
			list = append(list, d)
		}
	}
	return list
}

func (o ours) Do(ctx context.Context, t doors.Task) (doors.Result, error) {
	if theirs(t.Door) {
		return doors.Result{}, errors.New("the server reaches out to a door of an agent")
	}
	return o.Estate.Do(ctx, t)
}

func TestAnAgentWorks(t *testing.T) {
	h := onSQLite(t, nil)
	c := h.Config
	c.Doors, c.Agents = ours{h.estate}, remote{h}
	var err error
	h.Engine, err = recall.New(c)
	h.must(err)
	r := h.open(nil)
	steps := h.ForAgents()
	if list, err := steps.Claim(t.Context(), "another", 10); err != nil || len(list) > 0 {
		t.Fatalf("another agent has %v, %v", list, err)
	}
	first := true
	for range 200 {
		h.turn()
		list, err := steps.Claim(t.Context(), "site", 10)
		h.must(err)
		for _, s := range list {
			if s.Task.Act == tallystick.ActKey && len(s.Task.New.Chain) > 0 || s.Task.KeyName == "" && s.Task.Act == tallystick.ActInstall {
				t.Errorf("the task %+v", s.Task)
			}
			h.must(steps.Extend(t.Context(), "site", s.Step, s.Fence))
			if err := steps.Extend(t.Context(), "another", s.Step, s.Fence); !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("another extends it: %v", err)
			}
			if first { // what an agent says fails is tried again, and to say it twice is no error
				first = false
				for range 2 {
					h.must(steps.Finish(t.Context(), "site", s.Step, s.Fence, doors.Result{}, "out of reach", "unavailable"))
				}
				continue
			}
			result, err := h.estate.Do(t.Context(), s.Task)
			h.must(err)
			for range 2 {
				h.must(steps.Finish(t.Context(), "site", s.Step, s.Fence, result, "", agent.KindOf(nil)))
			}
		}
		if h.status(r.ID).State.Over() {
			break
		}
		h.clock.pass(3 * second)
	}
	h.check(r.ID)
	over, err := steps.Over(t.Context(), []string{"recall/1", "recall/77"})
	if diff := cmp.Diff([]string{"recall/1", "recall/77"}, over); err != nil || diff != "" {
		t.Errorf("over: %v %s", err, diff)
	}
	if _, err := steps.Over(t.Context(), []string{"recall/01"}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a wrong name: %v", err)
	}
}

// What only a person can do waits for one, who says so.
func TestAPersonDoesIt(t *testing.T) {
	h := onSQLite(t, func(c *recall.Config) { c.Defaults.Approvals = -1 })
	old := h.olds["app1"]
	plan := store.RecallPlan{
		Recall: tallystick.Recall{Name: "by-hand", What: h.burntKey(), Waves: tallystick.Waves{Canary: 1, Growth: 1}, Deadline: h.clock.now().Add(second * 3600), Opened: h.clock.now()},
		Targets: []store.PlannedTarget{
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetPerson, Wave: 1, Instructions: "Call the vendor."}},
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetConnection, Wave: 1, Holder: "app1", Relying: "ldap", Old: old.Names()[0]}, Facts: facts(t, old)},
		},
		Steps: []store.PlannedStep{
			{Act: tallystick.ActPerson, Phase: tallystick.PhaseActivate, Targets: []int{0}, From: -1},
			{Act: tallystick.ActBlock, Phase: tallystick.PhaseRevoke, Targets: []int{1}, Door: "ldap", From: -1, After: []int{0}},
		},
	}
	r, err := recall.OpenLaid(h.Engine, t.Context(), plan)
	h.must(err)
	h.must(h.Start(t.Context(), olga, r.ID))
	h.turn()
	targets, err := h.Targets(t.Context(), vera, r.ID, recall.Filter{}, 0, 10)
	h.must(err)
	if h.estate.Denies("ldap", old) || targets[0].State != string(tallystick.PhaseActivate) {
		t.Fatalf("nobody has done it, and it is %+v", targets)
	}
	if err := h.Done(t.Context(), vera, targets[0].ID, "I was told"); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("a viewer says that it is done: %v", err)
	}
	h.must(h.Done(t.Context(), olga, targets[0].ID, "ticket 4711"))
	if err := h.Done(t.Context(), olga, targets[0].ID, "again"); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("it is done twice: %v", err)
	}
	h.turn()
	if s := h.status(r.ID); !h.estate.Denies("ldap", old) || s.State != tallystick.RecallDone {
		h.tell(r.ID)
		t.Errorf("it is %s", s.State)
	}
}

func facts(t *testing.T, old driver.Public) []byte {
	t.Helper()
	text, err := encode(doors.Task{Old: old, Like: old})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

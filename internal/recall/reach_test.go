// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
)

// A site is some doors of the house that an agent works at.
type site struct {
	*house
	doors   []string
	connect []string
}

func (s site) Look(context.Context) ([]string, error) { return nil, nil }

func (s site) Doors(ctx context.Context) ([]recall.AgentDoor, error) {
	var list []recall.AgentDoor
	for _, d := range s.estate.Doors() {
		if slices.Contains(s.doors, d.Name) {
			view, err := s.estate.Look(ctx, d.Name)
			if err != nil {
				return nil, err
			}
			d.Agent, d.Connect = "site", s.connect
			list = append(list, recall.AgentDoor{Door: d, View: view, Looked: s.clock.now()})
		}
	}
	return list, nil
}

// rest is the doors that the site has not.
type rest struct {
	*recalltest.Estate
	but []string
}

func (r rest) Doors() []doors.Door {
	return slices.DeleteFunc(r.Estate.Doors(), func(d doors.Door) bool { return slices.Contains(r.but, d.Name) })
}

// settle gives an agent some doors.
func (h *house) settle(connect []string, reach []string, names ...string) {
	c := h.Config
	c.Doors, c.Agents, c.Connect = rest{h.estate, names}, site{h, names, connect}, doors.ReachOf(reach)
	var err error
	h.Engine, err = recall.New(c)
	h.must(err)
}

// work does the steps of the agent.
func (h *house) work() {
	list, err := h.ForAgents().Claim(h.t.Context(), "site", 10)
	h.must(err)
	for _, s := range list {
		result, err := h.estate.Do(h.t.Context(), s.Task)
		h.must(err)
		h.must(h.ForAgents().Finish(h.t.Context(), "site", s.Step, s.Fence, result, "", ""))
	}
}

// An agent cannot lead the server anywhere: it tries credentials where its own doors are, and
// where the configuration lets it.
func TestAnAgentLeadsTheServerNowhere(t *testing.T) {
	for _, reach := range [][]string{nil, {"ldap:443"}} {
		h := onSQLite(t, nil)
		h.settle(nil, reach, "ldap")
		p, err := h.Plan(t.Context(), olga, recall.Request{What: h.burntKey()})
		h.must(err)
		named := slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "the server may not connect to ldap:443") })
		r := h.open(nil)
		for range 20 {
			h.turn()
			h.work()
			h.clock.pass(6 * second)
		}
		target := h.targets(r.ID)["app1 ldap"]
		switch refused := strings.Contains(target.Error, "only an agent has named"); {
		case refused != (reach == nil) || named != (reach == nil):
			t.Errorf("with %q it is refused: %v, and named: %v", reach, refused, named)
		case refused && !strings.Contains(target.Error, "Add it to connect under recall"):
			t.Errorf("nothing says what to do: %s", target.Error)
		case refused && h.status(r.ID).State != tallystick.RecallStopped:
			t.Errorf("it is %s", h.status(r.ID).State)
		}
	}
}

// A plan says where an agent will not be able to try.
func TestThePlanForeseesWhereAnAgentMayNotConnect(t *testing.T) {
	for _, connect := range [][]string{nil, {"mail1", "mail2", "mail3"}} {
		h := onSQLite(t, nil)
		h.settle(connect, nil, "app2")
		p, err := h.Plan(t.Context(), olga, recall.Request{What: h.burntKey()})
		h.must(err)
		named := 0
		for _, w := range p.Warnings {
			if strings.Contains(w, "the agent site may not connect to mail") {
				named++
			}
		}
		if want := 3 - len(connect); named != want {
			t.Errorf("with %q %d are named: %q", connect, named, p.Warnings)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/web"
)

type recallTargetsInput struct {
	RecallName
	State string `query:"state" maxLength:"20" doc:"a phase that is under way, or proven, failed, skipped, undone"`
	Wave  int    `query:"wave" minimum:"0"`
	Kind  string `query:"kind" enum:"place,connection,person"`
	Door  string `query:"door" maxLength:"300" doc:"as holder or as what lets it in"`
	Owner string `query:"owner" maxLength:"200"`
	Late  bool   `query:"late" doc:"only those that were not ready at the deadline"`
	After string `query:"after" maxLength:"20" doc:"where the page begins"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type recallTargetsBody struct {
	Items []tallystick.RecallTarget `json:"items"`
	Next  string                    `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) recallTargets(ctx context.Context, actor gate.Actor, in *recallTargetsInput) (recallTargetsBody, error) {
	body := recallTargetsBody{Items: []tallystick.RecallTarget{}}
	r, err := a.recallOf(ctx, actor, in.Name)
	if err != nil {
		return body, err
	}
	after, err := cursor(in.After)
	if err != nil {
		return body, err
	}
	f := recall.Filter{State: in.State, Wave: in.Wave, Kind: in.Kind, Door: in.Door, Owner: in.Owner, Late: in.Late}
	list, err := a.Recalls.Targets(ctx, actor, r.ID, f, after, in.Limit)
	body.Items = append(body.Items, list...)
	if len(list) == in.Limit {
		body.Next = strconv.FormatInt(list[len(list)-1].ID, 10)
	}
	return body, err
}

type recallStepsInput struct {
	RecallName
	Target int64  `query:"target" minimum:"0" doc:"only those of this target"`
	After  string `query:"after" maxLength:"20" doc:"where the page begins"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type recallStepsBody struct {
	Items []tallystick.RecallStep `json:"items"`
	Next  string                  `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) recallSteps(ctx context.Context, actor gate.Actor, in *recallStepsInput) (recallStepsBody, error) {
	body := recallStepsBody{Items: []tallystick.RecallStep{}}
	r, err := a.recallOf(ctx, actor, in.Name)
	if err != nil {
		return body, err
	}
	after, err := cursor(in.After)
	if err != nil {
		return body, err
	}
	list, err := a.Recalls.Steps(ctx, actor, r.ID, in.Target, after, in.Limit)
	body.Items = append(body.Items, list...)
	if len(list) == in.Limit {
		body.Next = strconv.FormatInt(list[len(list)-1].ID, 10)
	}
	return body, err
}

type recallLogInput struct {
	RecallName
	After int64 `query:"after" minimum:"0" doc:"only what is behind the event with this number"`
	Limit int   `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type recallLogBody struct {
	Items []recall.Event `json:"items"`
}

func (a *api) recallLog(ctx context.Context, actor gate.Actor, in *recallLogInput) (recallLogBody, error) {
	body := recallLogBody{Items: []recall.Event{}}
	r, err := a.recallOf(ctx, actor, in.Name)
	if err != nil {
		return body, err
	}
	list, err := a.Recalls.Events(ctx, actor, r.ID, in.After, in.Limit)
	body.Items = append(body.Items, list...)
	return body, err
}

type recallTargetInput struct {
	RecallName
	ID   int64 `path:"id"`
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"2000" doc:"why; of a task that is done, what was done"`
	}
}

// turnTarget returns a call that does something with a target of a recall.
func (a *api) turnTarget(turn func(*recall.Engine, context.Context, gate.Actor, int64, string) error) func(context.Context, gate.Actor, *recallTargetInput) (tallystick.RecallTarget, error) {
	return func(ctx context.Context, actor gate.Actor, in *recallTargetInput) (tallystick.RecallTarget, error) {
		r, err := a.recallOf(ctx, actor, in.Name)
		if err != nil {
			return tallystick.RecallTarget{}, err
		}
		t, err := a.Recalls.DB.RecallTarget(ctx, in.ID)
		if err == nil && t.Recall != r.ID {
			err = fmt.Errorf("the recall %s has no target %d: %w", r.Name, in.ID, tallystick.ErrNotFound)
		}
		if err == nil {
			err = turn(a.Recalls, ctx, actor, t.ID, in.Body.Reason)
		}
		if err != nil {
			return tallystick.RecallTarget{}, err
		}
		return a.Recalls.DB.RecallTarget(ctx, in.ID)
	}
}

// recallEvents sends the events of a recall as they happen.
func (s *Server) recallEvents(w http.ResponseWriter, r *http.Request) {
	a := api{Server: s}
	one, err := a.recallOf(r.Context(), actorOf(r.Context()), r.PathValue("name"))
	if err == nil {
		err = s.streams.Stream(w, r, actorOf(r.Context()), one.ID)
	}
	if err != nil {
		s.writeProblem(w, r, err)
	}
}

// recallEvidence sends the evidence of a recall.
func (s *Server) recallEvidence(w http.ResponseWriter, r *http.Request) {
	a := api{Server: s}
	one, err := a.recallOf(r.Context(), actorOf(r.Context()), r.PathValue("name"))
	if err == nil {
		e := evidence.Exporter{DB: s.Recalls.DB, Gate: s.Gate, Log: s.Audit, Uses: s.Usage, Now: s.Now}
		err = web.SendEvidence(w, r, e, actorOf(r.Context()), one)
	}
	if err != nil {
		s.writeProblem(w, r, err)
	}
}

// describeRecalls adds to the description of the API what is sent as a stream or a file.
func (a *api) describeRecalls() {
	name := &huma.Param{Name: "name", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}
	after := &huma.Param{Name: "after", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Only what is behind the event with this number; the header Last-Event-ID goes before."}
	a.huma.OpenAPI().AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: apiRoot + "/recalls/{name}/events", OperationID: "recall-events", Summary: "What happens in a recall, as it happens", Parameters: []*huma.Param{name, after},
		Description: "Server-sent events; each has the number of an event as its id, and the event as JSON. A stream ends after ten minutes at most: come again with Last-Event-ID.",
		Responses:   map[string]*huma.Response{"200": {Description: "The events.", Content: map[string]*huma.MediaType{"text/event-stream": {}}}},
	})
	a.huma.OpenAPI().AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: apiRoot + "/recalls/{name}/evidence", OperationID: "recall-evidence", Summary: "The evidence of a recall, as a file", Parameters: []*huma.Param{name},
		Description: "docs/evidence.md says what is in it. That it was made is on record.",
		Responses:   map[string]*huma.Response{"200": {Description: "The file.", Content: map[string]*huma.MediaType{"application/zip": {}}}},
	})
}

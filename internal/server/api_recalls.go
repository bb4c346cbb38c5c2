// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/recall"
)

// recalls is an error where nothing can be recalled.
func (a *api) recalls() error {
	if a.Recalls == nil {
		return problem.With(fmt.Errorf("nothing is recalled here: %w", tallystick.ErrNotFound), `Start the server with "tally up".`)
	}
	return nil
}

// recallBody is a recall as programs see it: times of day in UTC, spans in seconds.
type recallBody struct {
	tallystick.Recall
	Quiet    int64 `json:"quiet" doc:"seconds for which the holder must not have used the old one"`
	Rehearse int64 `json:"rehearse,omitempty" doc:"seconds after which each block undoes itself; absent of a recall in earnest"`
}

func recallBodyOf(r tallystick.Recall) recallBody {
	return recallBody{Recall: r, Quiet: int64(r.Quiet / time.Second), Rehearse: int64(r.Rehearse / time.Second)}
}

// recallStatusBody is how a recall stands.
type recallStatusBody struct {
	recall.Status
	Quiet    int64 `json:"quiet" doc:"seconds for which the holder must not have used the old one"`
	Rehearse int64 `json:"rehearse,omitempty" doc:"seconds after which each block undoes itself; absent of a recall in earnest"`
}

func recallStatusBodyOf(s recall.Status) recallStatusBody {
	return recallStatusBody{Status: s, Quiet: int64(s.Quiet / time.Second), Rehearse: int64(s.Rehearse / time.Second)}
}

// openRecallInput says what to recall.
type openRecallInput struct {
	Body struct {
		Name       string            `json:"name,omitempty" maxLength:"60" doc:"lower-case letters, digits and hyphens; made from the date when it is absent"`
		What       tallystick.Burnt  `json:"what"`
		Why        string            `json:"why,omitempty" maxLength:"2000"`
		Since      time.Time         `json:"since,omitzero" doc:"from when on it may have been in other hands"`
		Deadline   time.Time         `json:"deadline,omitzero"`
		AtDeadline string            `json:"at_deadline,omitempty" enum:"block,hold"`
		Quiet      int64             `json:"quiet,omitempty" minimum:"0" maximum:"31536000" doc:"seconds for which the holder must not have used the old one"`
		Waves      *tallystick.Waves `json:"waves,omitempty"`
		Rehearse   int64             `json:"rehearse,omitempty" minimum:"0" maximum:"86400" doc:"seconds after which each block undoes itself; 0 is in earnest"`
	}
}

func (in *openRecallInput) request() recall.Request {
	b := in.Body
	return recall.Request{
		Name: b.Name, What: b.What, Why: b.Why, Since: b.Since.UTC(), Deadline: b.Deadline.UTC(), AtDeadline: b.AtDeadline, Quiet: time.Duration(b.Quiet) * time.Second,
		Waves: b.Waves, Rehearse: time.Duration(b.Rehearse) * time.Second,
	}
}

// recallPlanBody is what a recall would do.
type recallPlanBody struct {
	recall.Plan
	Recall   recallBody `json:"recall"`
	Shortest int64      `json:"shortest" doc:"seconds that it takes at least"`
}

func (a *api) planRecall(ctx context.Context, actor gate.Actor, in *openRecallInput) (recallPlanBody, error) {
	if err := a.recalls(); err != nil {
		return recallPlanBody{}, err
	}
	p, err := a.Recalls.Plan(ctx, actor, in.request())
	return recallPlanBody{Plan: p, Recall: recallBodyOf(p.Recall), Shortest: int64(p.Shortest / time.Second)}, err
}

func (a *api) openRecall(ctx context.Context, actor gate.Actor, in *openRecallInput) (recallBody, error) {
	if err := a.recalls(); err != nil {
		return recallBody{}, err
	}
	r, err := a.Recalls.Open(ctx, actor, in.request())
	return recallBodyOf(r), err
}

type listRecallsInput struct {
	After string `query:"after" maxLength:"20" doc:"where the page begins"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type recallsBody struct {
	Items []recallBody `json:"items"`
	Next  string       `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) listRecalls(ctx context.Context, actor gate.Actor, in *listRecallsInput) (recallsBody, error) {
	body := recallsBody{Items: []recallBody{}}
	if err := a.recalls(); err != nil {
		return body, err
	}
	before, err := cursor(in.After)
	if err != nil {
		return body, err
	}
	list, err := a.Recalls.List(ctx, actor, before, in.Limit)
	for _, r := range list {
		body.Items = append(body.Items, recallBodyOf(r))
	}
	if len(list) == in.Limit {
		body.Next = strconv.FormatInt(list[len(list)-1].ID, 10)
	}
	return body, err
}

// RecallName names a recall in a path.
type RecallName struct {
	Name string `path:"name" maxLength:"100"`
}

// recallOf finds the recall of a path.
func (a *api) recallOf(ctx context.Context, actor gate.Actor, name string) (tallystick.Recall, error) {
	if err := a.recalls(); err != nil {
		return tallystick.Recall{}, err
	}
	return a.Recalls.ByName(ctx, actor, name)
}

func (a *api) recallStatus(ctx context.Context, actor gate.Actor, in *RecallName) (recallStatusBody, error) {
	r, err := a.recallOf(ctx, actor, in.Name)
	if err != nil {
		return recallStatusBody{}, err
	}
	s, err := a.Recalls.Status(ctx, actor, r.ID)
	return recallStatusBodyOf(s), err
}

// turnRecall changes a recall and returns how it stands then.
func (a *api) turnRecall(ctx context.Context, actor gate.Actor, name string, turn func(context.Context, gate.Actor, int64) error) (recallStatusBody, error) {
	r, err := a.recallOf(ctx, actor, name)
	if err == nil {
		err = turn(ctx, actor, r.ID)
	}
	if err != nil {
		return recallStatusBody{}, err
	}
	return a.recallStatus(ctx, actor, &RecallName{name})
}

type recallDeadlineInput struct {
	RecallName
	Body struct {
		Deadline time.Time `json:"deadline"`
	}
}

func (a *api) approveRecall(ctx context.Context, actor gate.Actor, in *recallDeadlineInput) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error {
		return a.Recalls.Approve(ctx, who, id, in.Body.Deadline.UTC())
	})
}

func (a *api) extendRecall(ctx context.Context, actor gate.Actor, in *recallDeadlineInput) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error {
		return a.Recalls.Extend(ctx, who, id, in.Body.Deadline.UTC())
	})
}

func (a *api) startRecall(ctx context.Context, actor gate.Actor, in *RecallName) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error { return a.Recalls.Start(ctx, who, id) })
}

func (a *api) resumeRecall(ctx context.Context, actor gate.Actor, in *RecallName) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error { return a.Recalls.Resume(ctx, who, id) })
}

type recallReasonInput struct {
	RecallName
	Body struct {
		Reason string `json:"reason" maxLength:"2000"`
	}
}

func (a *api) pauseRecall(ctx context.Context, actor gate.Actor, in *recallReasonInput) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error {
		return a.Recalls.Pause(ctx, who, id, in.Body.Reason)
	})
}

func (a *api) cancelRecall(ctx context.Context, actor gate.Actor, in *recallReasonInput) (recallStatusBody, error) {
	return a.turnRecall(ctx, actor, in.Name, func(ctx context.Context, who gate.Actor, id int64) error {
		return a.Recalls.Cancel(ctx, who, id, in.Body.Reason)
	})
}

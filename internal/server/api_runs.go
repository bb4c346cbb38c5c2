// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// jobBody is a discovery.Job without its options: some hold passphrases.
type jobBody struct {
	Name         string   `json:"name"`
	Driver       string   `json:"driver"`
	Targets      []string `json:"targets"`
	EverySeconds int64    `json:"every_seconds" doc:"0 is only when asked"`
}

type jobsBody struct {
	Items []jobBody `json:"items"`
}

func (a *api) jobs(ctx context.Context, actor gate.Actor, _ *struct{}) (jobsBody, error) {
	body := jobsBody{Items: []jobBody{}}
	if err := a.Gate.Check(ctx, actor, gate.ReadInventory, "jobs"); err != nil {
		return body, err
	}
	for _, j := range a.Discovery.Jobs() {
		body.Items = append(body.Items, jobBody{j.Name, j.Driver, append([]string{}, j.Targets...), int64(j.Every.Seconds())})
	}
	return body, nil
}

type runsBody struct {
	Items []store.Run `json:"items"`
	Next  string      `json:"next,omitempty"`
}

type listRunsInput struct {
	Job string `query:"job" doc:"of this job"`
	PageQuery
}

func (a *api) listRuns(ctx context.Context, actor gate.Actor, in *listRunsInput) (runsBody, error) {
	before, err := numberAfter(in.After)
	if err != nil {
		return runsBody{}, err
	}
	runs, err := a.Discovery.Runs(ctx, actor, in.Job, before, in.Limit)
	body := runsBody{Items: runs}
	if len(runs) == in.Limit {
		body.Next = strconv.FormatInt(runs[len(runs)-1].ID, 10)
	}
	return body, err
}

// numberAfter reads "after" of a list that is paged by number; "" is 0.
func numberAfter(after string) (int64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%w: this is not a place in a list; begin again at its first page", tallystick.ErrInvalid)
	}
	return n, nil
}

type startRunInput struct {
	Body struct {
		Job string `json:"job"`
	}
}

func (a *api) startRun(ctx context.Context, actor gate.Actor, in *startRunInput) (store.Run, error) {
	return a.Discovery.Start(ctx, actor, in.Body.Job)
}

// A RunName names one run.
type RunName struct {
	ID int64 `path:"id"`
}

// A SinceQuery compares a run with an earlier one.
type SinceQuery struct {
	Since int64 `query:"since" minimum:"0" doc:"an earlier run of the same job: what is different since that one; without it, since the run before"`
}

type runInput struct {
	RunName
	SinceQuery
}

// runBody is discovery.Report for programs.
type runBody struct {
	Run      store.Run          `json:"run"`
	Since    *store.Run         `json:"since,omitempty" doc:"the run that it is compared with"`
	Changes  store.ChangeCounts `json:"changes" doc:"once it has ended"`
	Sentence string             `json:"sentence" doc:"the changes in words: 12 new, 3 gone, 5 renewed"`
	Missed   map[string]int64   `json:"missed" doc:"how many places it could not see, by the reason"`
	Appeared []store.RunChange  `json:"appeared" doc:"the first 500; GET /runs/{id}/changes lists all"`
	Vanished []store.RunChange  `json:"vanished" doc:"the first 500"`
	Misses   []tallystick.Miss  `json:"misses" doc:"the first 500; GET /runs/{id}/misses lists all"`
}

// runRows is how long the lists of a runBody are.
const runRows = 500

func (a *api) run(ctx context.Context, actor gate.Actor, in *runInput) (runBody, error) {
	r, err := a.Discovery.Report(ctx, actor, in.ID, in.Since)
	if err != nil {
		return runBody{}, err
	}
	body := runBody{
		Run: r.Run, Since: r.Since, Changes: r.Changes, Sentence: discovery.Sentence(r.Changes), Missed: r.Missed,
		Appeared: []store.RunChange{}, Vanished: []store.RunChange{},
	}
	if body.Missed == nil {
		body.Missed = map[string]int64{}
	}
	for _, kind := range []string{store.ChangeNew, store.ChangeRenewed, store.ChangeWentBack, store.ChangeReturned, store.ChangeGone, store.ChangeReplaced} {
		into := &body.Appeared
		if kind == store.ChangeGone || kind == store.ChangeReplaced {
			into = &body.Vanished
		}
		if len(*into) == runRows {
			continue
		}
		page, err := a.Discovery.ListChanges(ctx, actor, in.ID, in.Since, kind, store.PageRequest{Limit: runRows - len(*into)})
		if err != nil {
			return body, err
		}
		*into = append(*into, page.Items...)
	}
	body.Misses, err = a.Discovery.Misses(ctx, actor, in.ID, store.MissFilter{}, "", runRows)
	return body, err
}

type runChangesInput struct {
	RunName
	SinceQuery
	Kind string `query:"kind" enum:"new,gone,renewed,went-back,returned,changed,replaced" default:"new" doc:"which changes"`
	Sort string `query:"sort" enum:"place,credential,found" default:"place"`
	SortQuery
	PageQuery
}

func (a *api) runChanges(ctx context.Context, actor gate.Actor, in *runChangesInput) (store.Page[store.RunChange], error) {
	page := store.PageRequest{Sort: in.Sort, Desc: in.Desc, After: in.After, Limit: in.Limit}
	return a.Discovery.ListChanges(ctx, actor, in.ID, in.Since, in.Kind, page)
}

type runMissesInput struct {
	RunName
	Error   string `query:"error" required:"true" doc:"for this reason, a key of the run's \"missed\""`
	Network string `query:"network" doc:"in this network"`
	PageQuery
}

type missesBody struct {
	Items []tallystick.Miss `json:"items"`
	Next  string            `json:"next,omitempty"`
}

func (a *api) runMisses(ctx context.Context, actor gate.Actor, in *runMissesInput) (missesBody, error) {
	filter := store.MissFilter{Word: in.Error, Network: in.Network}
	misses, err := a.Discovery.Misses(ctx, actor, in.ID, filter, tallystick.Place(in.After), in.Limit)
	body := missesBody{Items: misses}
	if len(misses) == in.Limit {
		body.Next = string(misses[len(misses)-1].Place)
	}
	return body, err
}

func (a *api) cancelRun(ctx context.Context, actor gate.Actor, in *RunName) (nothing, error) {
	return nothing{}, a.Discovery.Cancel(ctx, actor, in.ID)
}

func (a *api) pauseRun(ctx context.Context, actor gate.Actor, in *RunName) (nothing, error) {
	return nothing{}, a.Discovery.Pause(ctx, actor, in.ID)
}

func (a *api) resumeRun(ctx context.Context, actor gate.Actor, in *RunName) (nothing, error) {
	return nothing{}, a.Discovery.Resume(ctx, actor, in.ID)
}

// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick"
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

func (a *api) listRuns(ctx context.Context, actor gate.Actor, in *PageQuery) (runsBody, error) {
	before, err := numberAfter(in.After)
	if err != nil {
		return runsBody{}, err
	}
	runs, err := a.Discovery.Runs(ctx, actor, before, in.Limit)
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

type runName struct {
	ID int64 `path:"id"`
}

// runBody is discovery.Report for programs.
type runBody struct {
	Run      store.Run         `json:"run"`
	Appeared []store.RunChange `json:"appeared" doc:"the first 500"`
	Vanished []store.RunChange `json:"vanished" doc:"the first 500"`
	Misses   []tallystick.Miss `json:"misses" doc:"the first 500"`
}

func (a *api) run(ctx context.Context, actor gate.Actor, in *runName) (runBody, error) {
	r, err := a.Discovery.Report(ctx, actor, in.ID)
	return runBody{r.Run, r.Appeared, r.Vanished, r.Misses}, err
}

func (a *api) cancelRun(ctx context.Context, actor gate.Actor, in *runName) (nothing, error) {
	return nothing{}, a.Discovery.Cancel(ctx, actor, in.ID)
}

// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/url"

	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
)

// A FindingsName names findings by what they have in common.
type FindingsName struct {
	Rule       string `json:"rule,omitempty"`
	Place      string `json:"place,omitempty" maxLength:"4096" doc:"at this place or beneath it, and nowhere else; an absolute path is a file's or a trust store's"`
	Credential string `json:"credential,omitempty" maxLength:"200" doc:"a fingerprint, or the beginning of one that is unique (6 digits or more)"`
	Severity   string `json:"severity,omitempty" enum:"info,low,medium,high,critical" doc:"as bad as this, or worse"`
	Owner      string `json:"owner,omitempty" doc:"- is nobody"`
	AssignedTo string `json:"assigned_to,omitempty" doc:"- is nobody"`
	Count      *int   `json:"count,omitempty" doc:"how many you expect; when there are more or fewer, nothing is done (409)"`
}

// changedBody says what became of a change to many findings.
type changedBody struct {
	Count     int   `json:"count" doc:"how many findings were changed"`
	Elsewhere int64 `json:"elsewhere" doc:"how many were left out, because their credential is also at other places"`
}

// changeMany does something to the findings of a state that in names.
func (a *api) changeMany(ctx context.Context, actor gate.Actor, in FindingsName, state string, change func(finding.Selection) (int, error)) (changedBody, error) {
	filter, err := finding.ParseFilter(url.Values{
		"rule": {in.Rule}, "severity": {in.Severity}, "credential": {in.Credential}, "place": {in.Place}, "owner": {in.Owner}, "assignee": {in.AssignedTo}, "state": {state},
	}, a.Findings.RuleNames())
	if err != nil {
		return changedBody{}, err
	}
	selected, err := a.Findings.Select(ctx, actor, filter)
	if err == nil && in.Count != nil {
		err = selected.Expect(*in.Count)
	}
	if err != nil {
		return changedBody{}, err
	}
	n, err := change(selected)
	return changedBody{n, selected.Elsewhere}, err
}

type acceptManyInput struct {
	Body struct {
		FindingsName
		AcceptInputBody
	}
}

func (a *api) acceptFindings(ctx context.Context, actor gate.Actor, in *acceptManyInput) (changedBody, error) {
	return a.changeMany(ctx, actor, in.Body.FindingsName, "open", func(s finding.Selection) (int, error) {
		return a.Findings.Accept(ctx, actor, s, in.Body.Reason, in.Body.Until)
	})
}

type reopenManyInput struct{ Body FindingsName }

func (a *api) reopenFindings(ctx context.Context, actor gate.Actor, in *reopenManyInput) (changedBody, error) {
	return a.changeMany(ctx, actor, in.Body, "accepted", func(s finding.Selection) (int, error) { return a.Findings.Reopen(ctx, actor, s) })
}

type assignManyInput struct {
	Body struct {
		FindingsName
		AssignInputBody
	}
}

func (a *api) assignFindings(ctx context.Context, actor gate.Actor, in *assignManyInput) (changedBody, error) {
	return a.changeMany(ctx, actor, in.Body.FindingsName, "open", func(s finding.Selection) (int, error) {
		return a.Findings.Assign(ctx, actor, s, in.Body.Assignee)
	})
}

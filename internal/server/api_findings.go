// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/url"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

type listFindingsInput struct {
	Rule       string `query:"rule"`
	Severity   string `query:"severity" enum:"info,low,medium,high,critical" doc:"as bad as this, or worse"`
	Credential string `query:"credential" doc:"a fingerprint"`
	Owner      string `query:"owner" doc:"- is nobody"`
	Assignee   string `query:"assignee" doc:"- is nobody"`
	State      string `query:"state" enum:"open,accepted,closed,all" default:"open" doc:"open ones that nobody has accepted, accepted ones, closed ones, or open ones accepted or not"`
	Sort       string `query:"sort" enum:"severity,opened" default:"severity"`
	Asc        bool   `query:"asc" doc:"the least bad or the oldest first"`
	PageQuery
}

func (a *api) listFindings(ctx context.Context, actor gate.Actor, in *listFindingsInput) (list[store.FindingRow], error) {
	filter, err := finding.ParseFilter(url.Values{
		"rule": {in.Rule}, "severity": {in.Severity}, "credential": {in.Credential}, "owner": {in.Owner}, "assignee": {in.Assignee}, "state": {in.State},
	})
	if err != nil {
		return list[store.FindingRow]{}, err
	}
	page := store.PageRequest{Sort: in.Sort, Desc: !in.Asc, After: in.After, Limit: in.Limit}
	rows, total, err := a.Findings.List(ctx, actor, filter, page)
	return listOf(rows, total), err
}

// ruleBody is a rule.Rule for programs.
type ruleBody struct {
	Name      string              `json:"name"`
	Title     string              `json:"title"`
	About     string              `json:"about,omitempty"`
	Severity  tallystick.Severity `json:"severity"`
	Citation  string              `json:"citation,omitempty"`
	URL       string              `json:"url,omitempty"`
	Effective time.Time           `json:"effective,omitzero"`
	Do        string              `json:"do,omitempty"`
	Survey    bool                `json:"survey" doc:"whether it compares credentials with each other"`
}

func ruleBodyOf(r rule.Rule) ruleBody {
	return ruleBody{r.Name, r.Title, r.About, r.Severity, r.Citation, r.URL, r.Effective, r.Do, r.Survey != nil}
}

type groupBody struct {
	store.FindingGroup
	Title string `json:"title"`
	Do    string `json:"do,omitempty"`
}

type groupsBody struct {
	Items []groupBody `json:"items"`
}

func (a *api) findingGroups(ctx context.Context, actor gate.Actor, _ *struct{}) (groupsBody, error) {
	groups, err := a.Findings.Groups(ctx, actor)
	body := groupsBody{Items: make([]groupBody, 0, len(groups))}
	for _, g := range groups {
		body.Items = append(body.Items, groupBody{g.FindingGroup, g.Rule.Title, g.Rule.Do})
	}
	return body, err
}

type FindingName struct {
	ID int64 `path:"id"`
}

type acceptInput struct {
	FindingName
	Body struct {
		Reason string    `json:"reason" minLength:"1" maxLength:"2000"`
		Until  time.Time `json:"until" doc:"at most a year from now"`
	}
}

func (a *api) acceptFinding(ctx context.Context, actor gate.Actor, in *acceptInput) (nothing, error) {
	return nothing{}, a.Findings.Accept(ctx, actor, in.ID, in.Body.Reason, in.Body.Until)
}

func (a *api) reopenFinding(ctx context.Context, actor gate.Actor, in *FindingName) (nothing, error) {
	return nothing{}, a.Findings.Reopen(ctx, actor, in.ID)
}

type assignInput struct {
	FindingName
	Body struct {
		Assignee string `json:"assignee" maxLength:"200" doc:"empty is nobody"`
	}
}

func (a *api) assignFinding(ctx context.Context, actor gate.Actor, in *assignInput) (nothing, error) {
	return nothing{}, a.Findings.Assign(ctx, actor, in.ID, in.Body.Assignee)
}

type rulesBody struct {
	Items []ruleBody `json:"items"`
}

func (a *api) rules(ctx context.Context, actor gate.Actor, _ *struct{}) (rulesBody, error) {
	var body rulesBody
	if err := a.Gate.Check(ctx, actor, gate.ReadInventory, "rules"); err != nil {
		return body, err
	}
	for _, r := range a.Findings.Rules {
		body.Items = append(body.Items, ruleBodyOf(r))
	}
	return body, nil
}

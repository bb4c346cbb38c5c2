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
	Credential string `query:"credential" maxLength:"200" doc:"a fingerprint, or the beginning of one that is unique (6 digits or more)"`
	Place      string `query:"place" maxLength:"4096" doc:"at this place or beneath it; an absolute path is a file's or a trust store's"`
	Owner      string `query:"owner" doc:"- is nobody"`
	Assignee   string `query:"assignee" doc:"- is nobody"`
	State      string `query:"state" enum:"open,accepted,closed,all" default:"open" doc:"open ones that nobody has accepted, accepted ones, closed ones, or open ones accepted or not"`
	Sort       string `query:"sort" enum:"severity,opened" default:"severity"`
	Asc        bool   `query:"asc" doc:"the least bad or the oldest first"`
	PageQuery
}

func (a *api) listFindings(ctx context.Context, actor gate.Actor, in *listFindingsInput) (list[store.FindingRow], error) {
	filter, err := finding.ParseFilter(url.Values{
		"rule": {in.Rule}, "severity": {in.Severity}, "credential": {in.Credential}, "place": {in.Place}, "owner": {in.Owner}, "assignee": {in.Assignee}, "state": {in.State},
	}, a.Findings.RuleNames())
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
	Judges    string              `json:"judges" enum:"credential,estate,use,book,change,wrapping" doc:"what it looks at: one credential, all of them, one use, the book of a source, a change of who gets in, or a wrapping key"`
}

func ruleBodyOf(r rule.Rule) ruleBody {
	return ruleBody{r.Name, r.Title, r.About, r.Severity, r.Citation, r.URL, r.Effective, r.Do, r.Survey != nil, judges(r)}
}

// judges returns what a rule looks at, by the function that it has.
func judges(r rule.Rule) string {
	switch {
	case r.Survey != nil:
		return "estate"
	case r.Use != nil:
		return "use"
	case r.Book != nil:
		return "book"
	case r.Change != nil:
		return "change"
	case r.Wrapping != nil:
		return "wrapping"
	}
	return "credential"
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

// An AcceptInputBody is why findings may stand, and for how long.
type AcceptInputBody struct {
	Reason string    `json:"reason" minLength:"1" maxLength:"2000"`
	Until  time.Time `json:"until" doc:"at most a year from now"`
}

type acceptInput struct {
	FindingName
	Body AcceptInputBody
}

func (a *api) acceptFinding(ctx context.Context, actor gate.Actor, in *acceptInput) (nothing, error) {
	_, err := a.Findings.Accept(ctx, actor, finding.One(in.ID), in.Body.Reason, in.Body.Until)
	return nothing{}, err
}

func (a *api) reopenFinding(ctx context.Context, actor gate.Actor, in *FindingName) (nothing, error) {
	_, err := a.Findings.Reopen(ctx, actor, finding.One(in.ID))
	return nothing{}, err
}

// An AssignInputBody says who is to see to findings.
type AssignInputBody struct {
	Assignee string `json:"assignee" maxLength:"200" doc:"empty is nobody"`
}

type assignInput struct {
	FindingName
	Body AssignInputBody
}

func (a *api) assignFinding(ctx context.Context, actor gate.Actor, in *assignInput) (nothing, error) {
	_, err := a.Findings.Assign(ctx, actor, finding.One(in.ID), in.Body.Assignee)
	return nothing{}, err
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

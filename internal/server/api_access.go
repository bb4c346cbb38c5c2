// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
)

func (a *api) records() gate.Records { return gate.Records{Gate: a.Gate, Log: a.Audit} }

type listAuditInput struct {
	Actor  string    `query:"actor"`
	Action string    `query:"action"`
	Denied bool      `query:"denied" doc:"only what was not allowed"`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until" doc:"not included"`
	PageQuery
}

type auditBody struct {
	Items []audit.Entry `json:"items"`
	Next  string        `json:"next,omitempty"`
}

func (a *api) listAudit(ctx context.Context, actor gate.Actor, in *listAuditInput) (auditBody, error) {
	before, err := numberAfter(in.After)
	if err != nil {
		return auditBody{}, err
	}
	filter := audit.Filter{Actor: in.Actor, Action: in.Action, Denied: in.Denied, Since: in.Since, Until: in.Until}
	entries, err := a.records().List(ctx, actor, filter, before, in.Limit)
	body := auditBody{Items: entries}
	if len(entries) == in.Limit {
		body.Next = strconv.FormatInt(entries[len(entries)-1].ID, 10)
	}
	return body, err
}

type verifyAuditInput struct {
	Kept []string `query:"checkpoint" doc:"checkpoints that you have kept; each must be of this log"`
}

func (a *api) verifyAudit(ctx context.Context, actor gate.Actor, in *verifyAuditInput) (audit.Report, error) {
	return a.records().Verify(ctx, actor, in.Kept...)
}

type tokensBody struct {
	Items []access.Token `json:"items"`
}

func (a *api) listTokens(ctx context.Context, actor gate.Actor, _ *struct{}) (tokensBody, error) {
	tokens, err := a.Access.ListTokens(ctx, actor)
	return tokensBody{tokens}, err
}

type createTokenInput struct {
	Body struct {
		Name string    `json:"name"`
		Role gate.Role `json:"role" enum:"viewer,operator,admin"`
		Days int       `json:"days" minimum:"1" maximum:"366" doc:"how long it is good"`
	}
}

type newTokenBody struct {
	Secret string       `json:"secret"`
	Token  access.Token `json:"token"`
}

func (a *api) createToken(ctx context.Context, actor gate.Actor, in *createTokenInput) (newTokenBody, error) {
	life := time.Duration(in.Body.Days) * 24 * time.Hour
	secret, token, err := a.Access.CreateToken(ctx, actor, in.Body.Name, in.Body.Role, life)
	return newTokenBody{secret, token}, err
}

type tokenName struct {
	ID int64 `path:"id"`
}

func (a *api) revokeToken(ctx context.Context, actor gate.Actor, in *tokenName) (nothing, error) {
	return nothing{}, a.Access.RevokeToken(ctx, actor, in.ID)
}

type peopleBody struct {
	Items []access.Person `json:"items"`
}

func (a *api) listPeople(ctx context.Context, actor gate.Actor, _ *struct{}) (peopleBody, error) {
	people, err := a.Access.ListPeople(ctx, actor)
	return peopleBody{people}, err
}

type createLinkInput struct {
	Body struct {
		Name string    `json:"name"`
		Role gate.Role `json:"role" enum:"viewer,operator,admin"`
	}
}

type linkBody struct {
	Path string    `json:"path" doc:"of the link, on this server; it works once"`
	Was  gate.Role `json:"was,omitempty" doc:"the role of somebody who was known already, and has the new one from now on"`
}

func (a *api) createLink(ctx context.Context, actor gate.Actor, in *createLinkInput) (linkBody, error) {
	people, err := a.Access.ListPeople(ctx, actor)
	if err != nil {
		return linkBody{}, err
	}
	secret, err := a.Access.CreateLink(ctx, actor, in.Body.Name, in.Body.Role)
	body := linkBody{Path: "/sign-in/" + secret}
	for _, person := range people {
		if person.Name == in.Body.Name {
			body.Was = person.Role
		}
	}
	return body, err
}

type personName struct {
	Name string `path:"name"`
}

func (a *api) disablePerson(ctx context.Context, actor gate.Actor, in *personName) (nothing, error) {
	return nothing{}, a.Access.Disable(ctx, actor, in.Name)
}

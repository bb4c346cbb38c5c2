// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

type listRequestsInput struct {
	State string `query:"state" enum:"waiting,approved,issued,refused,failed"`
	PageQuery
}

type requestsBody struct {
	Items []store.IssueRequest `json:"items"`
	Next  string               `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) listRequests(ctx context.Context, actor gate.Actor, in *listRequestsInput) (requestsBody, error) {
	before, err := cursor(in.After)
	if err != nil {
		return requestsBody{}, err
	}
	rows, err := a.Issuing.CA.Requests(ctx, actor, in.State, before, in.Limit)
	body := requestsBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = strconv.FormatInt(rows[len(rows)-1].ID, 10)
	}
	return body, err
}

type RequestName struct {
	ID int64 `path:"id"`
}

func (a *api) approveRequest(ctx context.Context, actor gate.Actor, in *RequestName) (issuedBody, error) {
	made, err := a.Issuing.CA.Approve(ctx, actor, in.ID)
	if err != nil {
		return issuedBody{}, err
	}
	return issuedBody{Serial: made.Serial, NotAfter: made.NotAfter, Certificate: certificatePEM(made), Chain: pemOf(made.Chain)}, nil
}

type refuseInput struct {
	RequestName
	Body struct {
		Why string `json:"why" minLength:"1" maxLength:"500" doc:"for whoever asked"`
	}
}

func (a *api) refuseRequest(ctx context.Context, actor gate.Actor, in *refuseInput) (nothing, error) {
	return nothing{}, a.Issuing.CA.RefuseRequest(ctx, actor, in.ID, in.Body.Why)
}

// A profileBody is what certificates of one sort are for.
type profileBody struct {
	Name        string   `json:"name"`
	About       string   `json:"about,omitempty"`
	Kind        string   `json:"kind" enum:"x509,ssh"`
	Authority   string   `json:"authority,omitempty" doc:"that signs it; absent is the one that is asked"`
	Accepts     []string `json:"accepts" doc:"sorts of names"`
	Lifetime    float64  `json:"lifetime" doc:"seconds, unless another time is asked for"`
	MaxLifetime float64  `json:"max_lifetime" doc:"seconds"`
	Keys        []string `json:"keys,omitempty" doc:"sorts of keys; absent is all that are not weak"`
	Approval    bool     `json:"approval,omitempty" doc:"somebody who did not ask must approve each one"`
}

type profilesBody struct {
	Items []profileBody `json:"items"`
	Rules []ruleOfBody  `json:"rules" doc:"of the policy, in the order in which they are asked"`
}

// A ruleOfBody is a rule of the policy.
type ruleOfBody struct {
	Name     string    `json:"name"`
	When     string    `json:"when,omitempty" doc:"CEL: it applies where this is true"`
	Require  string    `json:"require,omitempty" doc:"CEL: what must be true then"`
	Approve  bool      `json:"approve,omitempty"`
	Grants   bool      `json:"grants,omitempty" doc:"what fulfils it need not be proven"`
	Because  string    `json:"because,omitempty"`
	Citation string    `json:"citation,omitempty"`
	From     time.Time `json:"from,omitzero" doc:"it holds from then on"`
}

func (a *api) profiles(ctx context.Context, actor gate.Actor, _ *struct{}) (profilesBody, error) {
	var body profilesBody
	list, err := a.Issuing.Profiles(ctx, actor)
	if err != nil {
		return body, err
	}
	for _, p := range list {
		body.Items = append(body.Items, profileBody{p.Name, p.About, p.Kind, p.Authority, p.Accepts, p.Lifetime.Seconds(), p.MaxLifetime.Seconds(), p.Keys, p.Approval})
	}
	rules, err := a.Issuing.Rules(ctx, actor)
	for _, r := range rules {
		body.Rules = append(body.Rules, ruleOfBody(r))
	}
	return body, err
}

type tryInput struct {
	Body struct {
		CSR       string    `json:"csr,omitempty" maxLength:"32768" doc:"PKCS #10, PEM; absent: a key of the sort key"`
		Key       string    `json:"key,omitempty" doc:"a sort of key, such as ecdsa-p256"`
		Authority string    `json:"authority,omitempty" maxLength:"100"`
		Profile   string    `json:"profile,omitempty" maxLength:"100" doc:"absent is server"`
		Names     *ca.Names `json:"names,omitempty" doc:"in place of those of the CSR"`
		Lifetime  float64   `json:"lifetime,omitempty" minimum:"0" maximum:"1e9" doc:"seconds"`
		Proven    bool      `json:"proven,omitempty" doc:"control of every name was shown, as ACME does"`
		Via       string    `json:"via,omitempty" enum:"api,acme,est,ssh,spiffe,renewal,local" default:"api"`
		As        string    `json:"as,omitempty" maxLength:"300" doc:"who would ask; absent is whoever tries"`
		Role      string    `json:"role,omitempty" enum:"client,viewer,operator,admin" default:"client" doc:"of whoever would ask"`
		Binding   string    `json:"binding,omitempty" maxLength:"300" doc:"of ACME: the external account"`
	}
}

// A decisionBody is what would become of a request.
type decisionBody struct {
	Allowed  bool             `json:"allowed"`
	Approval bool             `json:"approval,omitempty" doc:"and only with somebody's word"`
	Why      string           `json:"why,omitempty"`
	Verdicts []policy.Verdict `json:"verdicts,omitempty" doc:"what each rule says; absent when no rule was asked"`
}

func (a *api) tryPolicy(ctx context.Context, actor gate.Actor, in *tryInput) (decisionBody, error) {
	b := &in.Body
	trial := issuing.Trial{Key: b.Key, Request: ca.Request{
		Authority: b.Authority, Profile: b.Profile, CSR: []byte(b.CSR), Names: b.Names, Lifetime: seconds(b.Lifetime), Proven: b.Proven, Via: b.Via, Binding: b.Binding,
	}}
	if b.As != "" {
		role, err := gate.ParseRole(b.Role)
		if err != nil {
			return decisionBody{}, err
		}
		trial.As = gate.Actor{Name: b.As, Role: role, Via: b.Via}
	}
	d, err := a.Issuing.Try(ctx, actor, trial)
	return decisionBody{d.Allowed, d.Approval, d.Why, d.Verdicts}, err
}

type crlsBody struct {
	Items []revocation.Health `json:"items"`
}

func (a *api) crls(ctx context.Context, actor gate.Actor, _ *struct{}) (crlsBody, error) {
	list, err := a.Issuing.Health(ctx, actor)
	return crlsBody{list}, err
}

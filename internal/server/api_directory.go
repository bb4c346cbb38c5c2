// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A changeKind is one of directory.Kinds, as the description of the API has it.
type changeKind string

// Schema lists the kinds.
func (changeKind) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, kind := range directory.KindWords() {
		s.Enum = append(s.Enum, kind)
	}
	s.PrecomputeMessages()
	return s
}

type listAccessChangesInput struct {
	Target     string     `query:"target" maxLength:"2100" doc:"one that ends with a colon is all that begin so: entra-app:"`
	Kind       changeKind `query:"kind"`
	Actor      string     `query:"actor" maxLength:"1000" doc:"account: before it may be left out"`
	Unexpected bool       `query:"unexpected" doc:"only what happened and nobody expected"`
	SpanQuery
	PageQuery
}

func (a *api) listAccessChanges(ctx context.Context, actor gate.Actor, in *listAccessChangesInput) (list[store.AccessChange], error) {
	filter, err := directory.ParseFilter(url.Values{
		"target": {in.Target}, "kind": {string(in.Kind)}, "actor": {in.Actor}, "unexpected": {strconv.FormatBool(in.Unexpected)}, "from": {in.From}, "to": {in.To},
	})
	if err != nil {
		return list[store.AccessChange]{}, err
	}
	page, total, err := a.Directory.Changes(ctx, actor, filter, store.PageRequest{After: in.After, Limit: in.Limit})
	return listOf(page, total), err
}

type expectationsBody struct {
	Items []store.AccessExpectation `json:"items"`
}

func (a *api) listExpectations(ctx context.Context, actor gate.Actor, _ *struct{}) (expectationsBody, error) {
	items, err := a.Directory.Expected(ctx, actor)
	return expectationsBody{items}, err
}

// An ExpectInputBody says that a change is expected.
type ExpectInputBody struct {
	Target string     `json:"target" minLength:"1" maxLength:"2100" doc:"as /access-changes has it"`
	Kind   changeKind `json:"kind,omitempty" doc:"absent is any"`
	Actor  string     `json:"actor,omitempty" maxLength:"1000" doc:"absent is anybody"`
	Until  time.Time  `json:"until" doc:"at most a year from now"`
	Reason string     `json:"reason" minLength:"1" maxLength:"2000"`
}

type expectInput struct {
	Body ExpectInputBody
}

func (a *api) expectAccessChange(ctx context.Context, actor gate.Actor, in *expectInput) (store.AccessExpectation, error) {
	b := in.Body
	return a.Directory.Expect(ctx, actor, store.AccessExpectation{
		Target: b.Target, Kind: tallystick.ChangeKind(b.Kind), Actor: b.Actor, Until: b.Until, Reason: b.Reason,
	})
}

type undoInput struct {
	ID   int64 `path:"id" doc:"as /access-changes has it"`
	Body struct {
		Try bool `json:"try,omitempty" doc:"only look, and say what would be written"`
	}
}

func (a *api) undoAccessChange(ctx context.Context, actor gate.Actor, in *undoInput) (directory.Undone, error) {
	return a.Directory.Undo(ctx, actor, in.ID, in.Body.Try, directory.Opener(a.Sources.Watchers()))
}

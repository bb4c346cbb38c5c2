// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/query"
	renewals "github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// cursor reads the number that a page of a list ended at; "" is 0.
func cursor(after string) (int64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%w: %.40q is not where a page begins", tallystick.ErrInvalid, after)
	}
	return n, nil
}

type listACMEInput struct {
	Account string `query:"account" maxLength:"100"`
	Status  string `query:"status" maxLength:"20"`
	PageQuery
}

func (in *listACMEInput) list() store.ACMEList {
	return store.ACMEList{Account: in.Account, Status: in.Status, Before: in.After, Limit: in.Limit}
}

type acmeAccountsBody struct {
	Items []acme.AccountRow `json:"items"`
	Next  string            `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) acmeAccounts(ctx context.Context, actor gate.Actor, in *listACMEInput) (acmeAccountsBody, error) {
	rows, err := a.Issuing.ACME.Accounts(ctx, actor, in.list())
	body := acmeAccountsBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = rows[len(rows)-1].ID
	}
	return body, err
}

type acmeOrdersBody struct {
	Items []acme.OrderRow `json:"items"`
	Next  string          `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) acmeOrders(ctx context.Context, actor gate.Actor, in *listACMEInput) (acmeOrdersBody, error) {
	rows, err := a.Issuing.ACME.Orders(ctx, actor, in.list())
	body := acmeOrdersBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = rows[len(rows)-1].ID
	}
	return body, err
}

type issuersBody struct {
	Items []renewals.IssuerState `json:"items"`
}

func (a *api) listIssuers(ctx context.Context, actor gate.Actor, _ *struct{}) (issuersBody, error) {
	list, err := a.Issuing.Renewals.IssuerStates(ctx, actor)
	return issuersBody{list}, err
}

type listRenewalsInput struct {
	Issuer string `query:"issuer" maxLength:"100"`
	Like   string `query:"q" maxLength:"300" doc:"part of what it is called, or of one of its names"`
	State  string `query:"state" enum:"paused,refused,failing,overdue,expired,waiting"`
	PageQuery
}

type renewalsBody struct {
	Items []renewals.Renewal `json:"items"`
	Next  string             `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) listRenewals(ctx context.Context, actor gate.Actor, in *listRenewalsInput) (renewalsBody, error) {
	rows, err := a.Issuing.Renewals.List(ctx, actor, store.RenewalFilter{Issuer: in.Issuer, Like: in.Like, State: in.State}, in.After, in.Limit)
	body := renewalsBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = rows[len(rows)-1].Name
	}
	return body, err
}

type RenewalName struct {
	Name string `path:"name" maxLength:"63"`
}

func (a *api) renewal(ctx context.Context, actor gate.Actor, in *RenewalName) (renewals.Renewal, error) {
	return a.Issuing.Renewals.Get(ctx, actor, in.Name)
}

// A RenewalInputBody is what somebody wants to have renewed.
type RenewalInputBody struct {
	Name      string         `json:"name" maxLength:"63" doc:"lower-case letters, digits and hyphens"`
	Issuer    string         `json:"issuer" maxLength:"100" doc:"one of the configuration, or ca/NAME for a CA of ours"`
	Profile   string         `json:"profile,omitempty" maxLength:"63" doc:"absent is server"`
	Names     []string       `json:"names" minItems:"1" maxItems:"100"`
	Key       string         `json:"key,omitempty" doc:"a sort of key; absent is ecdsa-p256"`
	KeepKey   bool           `json:"keep_key,omitempty" doc:"from certificate to certificate, unless it is recalled"`
	Lifetime  float64        `json:"lifetime,omitempty" minimum:"0" maximum:"1e9" doc:"seconds; absent is what the issuer gives"`
	Share     float64        `json:"share,omitempty" minimum:"0" maximum:"0.9" doc:"of the lifetime after which it is renewed; absent is two thirds"`
	Directory string         `json:"directory,omitempty" maxLength:"4000" doc:"where its files are written, which administrators alone may say"`
	Hook      *renewals.Hook `json:"hook,omitempty" doc:"what is run then, which administrators alone may say"`
}

type addRenewalInput struct{ Body RenewalInputBody }

func (a *api) addRenewal(ctx context.Context, actor gate.Actor, in *addRenewalInput) (renewals.Renewal, error) {
	b := &in.Body
	return a.Issuing.Renewals.Add(ctx, actor, renewals.Wanted{
		Name: b.Name, Issuer: b.Issuer, Profile: b.Profile, Names: b.Names, Key: b.Key, KeepKey: b.KeepKey, Lifetime: seconds(b.Lifetime), Share: b.Share,
		Directory: b.Directory, Hook: b.Hook,
	})
}

func (a *api) renewNow(ctx context.Context, actor gate.Actor, in *RenewalName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.Ask(ctx, actor, in.Name)
}

func (a *api) pauseRenewal(ctx context.Context, actor gate.Actor, in *RenewalName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.Pause(ctx, actor, in.Name)
}

func (a *api) resumeRenewal(ctx context.Context, actor gate.Actor, in *RenewalName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.Resume(ctx, actor, in.Name)
}

func (a *api) removeRenewal(ctx context.Context, actor gate.Actor, in *RenewalName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.Remove(ctx, actor, in.Name)
}

type renewalOrdersInput struct {
	Renewal string `query:"renewal" maxLength:"63"`
	PageQuery
}

type renewalOrdersBody struct {
	Items []renewals.Order `json:"items"`
	Next  string           `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
}

func (a *api) renewalOrders(ctx context.Context, actor gate.Actor, in *renewalOrdersInput) (renewalOrdersBody, error) {
	before, err := cursor(in.After)
	if err != nil {
		return renewalOrdersBody{}, err
	}
	rows, err := a.Issuing.Renewals.Orders(ctx, actor, in.Renewal, before, in.Limit)
	body := renewalOrdersBody{Items: rows}
	if len(rows) == in.Limit {
		body.Next = strconv.FormatInt(rows[len(rows)-1].ID, 10)
	}
	return body, err
}

type calendarInput struct {
	From     string  `query:"from" doc:"a day; absent is today"`
	To       string  `query:"to" doc:"a day; absent is a year after from"`
	Lifetime float64 `query:"lifetime" minimum:"0" maximum:"1e9" doc:"seconds: what would be if no certificate were good for longer"`
}

// A calendarBody is how much will be renewed on which day.
type calendarBody struct {
	From    time.Time      `json:"from"`
	Issuers []string       `json:"issuers" doc:"in the order of by_issuer"`
	Days    []renewals.Day `json:"days"`
	Total   int64          `json:"total"`
	Peak    int64          `json:"peak" doc:"of the fullest day"`
	PeakDay time.Time      `json:"peak_day,omitzero"`
}

func (a *api) renewalCalendar(ctx context.Context, actor gate.Actor, in *calendarInput) (calendarBody, error) {
	from, err := query.ParseTime(in.From)
	if err != nil {
		return calendarBody{}, err
	}
	to, err := query.ParseTime(in.To)
	if err != nil {
		return calendarBody{}, err
	}
	if from.IsZero() {
		from = a.Now().UTC().Truncate(24 * time.Hour)
	}
	if to.IsZero() {
		to = from.AddDate(1, 0, 0)
	}
	c, err := a.Issuing.Renewals.Calendar(ctx, actor, from, to, seconds(in.Lifetime))
	return calendarBody{c.From, c.Issuers, c.Days, c.Total, c.Peak, c.PeakDay}, err
}

type moveInput struct {
	Body struct {
		Renewals      []string          `json:"renewals,omitempty" maxItems:"1000" doc:"patterns of what they are called, as in shop-*"`
		Names         []string          `json:"names,omitempty" maxItems:"1000" doc:"patterns, one of which fits a name that they certify"`
		Issuers       []string          `json:"issuers,omitempty" maxItems:"1000"`
		Profiles      []string          `json:"profiles,omitempty" maxItems:"1000"`
		To            string            `json:"to" maxLength:"100" doc:"the issuer"`
		ProfilesThere map[string]string `json:"profiles_there,omitempty" doc:"what profiles are called there"`
		NamesThere    map[string]string `json:"names_there,omitempty" doc:"what names become there; empty leaves one out"`
		Waves         []int             `json:"waves,omitempty" maxItems:"20" doc:"percentages that grow; absent is one, then a tenth, then all"`
		Skip          bool              `json:"skip,omitempty" doc:"leave out what the new issuer would refuse; otherwise nothing begins then"`
		DryRun        bool              `json:"dry_run,omitempty" doc:"say what would be, and do nothing"`
	}
}

func (a *api) moveRenewals(ctx context.Context, actor gate.Actor, in *moveInput) (renewals.Move, error) {
	b := &in.Body
	request := renewals.MoveRequest{
		Selection: renewals.Selection{Renewals: b.Renewals, Names: b.Names, Issuers: b.Issuers, Profiles: b.Profiles},
		To:        b.To, ProfilesThere: b.ProfilesThere, NamesThere: b.NamesThere, Waves: b.Waves, Skip: b.Skip,
	}
	if b.DryRun {
		return a.Issuing.Renewals.TryMove(ctx, actor, request)
	}
	return a.Issuing.Renewals.Move(ctx, actor, request)
}

type listMovesInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"how many at most"`
}

type movesBody struct {
	Items []renewals.Move `json:"items"`
}

func (a *api) listMoves(ctx context.Context, actor gate.Actor, in *listMovesInput) (movesBody, error) {
	list, err := a.Issuing.Renewals.Moves(ctx, actor, in.Limit)
	return movesBody{list}, err
}

type MoveName struct {
	ID int64 `path:"id"`
}

func (a *api) move(ctx context.Context, actor gate.Actor, in *MoveName) (renewals.Move, error) {
	return a.Issuing.Renewals.MoveStatus(ctx, actor, in.ID)
}

func (a *api) stopMove(ctx context.Context, actor gate.Actor, in *MoveName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.StopMove(ctx, actor, in.ID)
}

func (a *api) retryMove(ctx context.Context, actor gate.Actor, in *MoveName) (nothing, error) {
	return nothing{}, a.Issuing.Renewals.RetryMove(ctx, actor, in.ID)
}

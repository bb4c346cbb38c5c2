// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// vaultRoutes are the calls about what customers have entrusted.
func (a *api) vaultRoutes() {
	call(a, "GET", "/vault/secrets", "entrusted-secrets", "List what is entrusted, never a value", a.listEntrusted)
	call(a, "POST", "/vault/secrets", "entrust", "Take a value in, or the next version of the one that opens the same", a.entrust)
	call(a, "GET", "/vault/secrets/{id}", "entrusted-secret", "Everything about a secret but its value: its versions, and where each could be read", a.entrustedSecret)
	call(a, "POST", "/vault/secrets/{id}/reveal", "reveal", "Give a value to its holder, who asks", a.reveal)
	call(a, "DELETE", "/vault/secrets/{id}", "destroy-entrusted", "Make all versions of a secret unreadable for good", a.destroyEntrusted)
	call(a, "POST", "/vault/rotate", "rotate-entrusted", "Say that secrets are to be replaced now", a.rotateEntrusted)
	call(a, "GET", "/vault/readable", "readable", "List what could be read from a host, or with a wrapping key", a.readable)
	call(a, "GET", "/vault/keys", "wrapping-keys", "List the wrapping keys, how strong they are, and what is under each", a.wrappingKeys)
	call(a, "GET", "/vault/hosts", "vault-hosts", "List which hosts can or could use which wrapping keys", a.vaultHosts)
	call(a, "GET", "/vault/summary", "vault-summary", "The vault in numbers", a.vaultSums)
}

type listEntrustedInput struct {
	Text        string `query:"q" maxLength:"300" doc:"a part of the customer, the system or the account"`
	Customer    string `query:"customer" maxLength:"300"`
	System      string `query:"system" maxLength:"300"`
	Account     string `query:"account" maxLength:"300"`
	Kind        string `query:"kind" enum:"password,client-secret,api-key,certificate,other"`
	Holder      string `query:"holder" maxLength:"300" doc:"who is given the newest version"`
	WrappingKey string `query:"wrapping_key" maxLength:"300" doc:"that the newest version is under"`
	Due         bool   `query:"due" doc:"only what is to be replaced now"`
	Stale       bool   `query:"stale" doc:"only what a restored database has lost the newest version of"`
	Destroyed   bool   `query:"destroyed" doc:"those that were destroyed, instead"`
	Sort        string `query:"sort" enum:"customer,since,due" default:"customer"`
	SortQuery
	PageQuery
}

func (a *api) listEntrusted(ctx context.Context, actor gate.Actor, in *listEntrustedInput) (list[store.EntrustedSecret], error) {
	filter, err := a.Vault.ParseFilter(url.Values{
		"q": {in.Text}, "customer": {in.Customer}, "system": {in.System}, "account": {in.Account}, "kind": {in.Kind}, "holder": {in.Holder},
		"wrapping_key": {in.WrappingKey}, "due": {strconv.FormatBool(in.Due)}, "stale": {strconv.FormatBool(in.Stale)}, "destroyed": {strconv.FormatBool(in.Destroyed)},
	})
	if err != nil {
		return list[store.EntrustedSecret]{}, err
	}
	page, total, err := a.Vault.List(ctx, actor, filter, store.PageRequest{Sort: in.Sort, Desc: in.Desc, After: in.After, Limit: in.Limit})
	return listOf(page, total), err
}

// entrustInput is a value with what it opens.
type entrustInput struct {
	Body struct {
		Customer string `json:"customer" minLength:"1" maxLength:"300" doc:"whose it is"`
		System   string `json:"system" minLength:"1" maxLength:"300" doc:"what it opens: a system of the customer"`
		Account  string `json:"account" minLength:"1" maxLength:"300" doc:"and an account or a connection there"`
		Kind     string `json:"kind" enum:"password,client-secret,api-key,certificate,other"`
		Opens    string `json:"opens,omitempty" maxLength:"2000" doc:"what it opens, in words"`
		Holder   string `json:"holder,omitempty" maxLength:"300" doc:"who alone is given the value: token:7, person:ada, local:root; absent is nobody"`
		MaxAge   int64  `json:"max_age,omitempty" minimum:"0" maximum:"315360000" doc:"replace it after so many seconds"`
		Value    string `json:"value" maxLength:"87384" contentEncoding:"base64" doc:"the value, in base64: any bytes, at most 64 KiB"`
	}
}

func (a *api) entrust(ctx context.Context, actor gate.Actor, in *entrustInput) (store.EntrustedSecret, error) {
	b := in.Body
	value, err := base64.StdEncoding.DecodeString(b.Value)
	if err != nil {
		return store.EntrustedSecret{}, fmt.Errorf("%w: the value is not base64", tallystick.ErrInvalid)
	}
	defer clear(value)
	return a.Vault.Entrust(ctx, actor, vault.Entrust{
		Name:  vault.Name{Customer: b.Customer, System: b.System, Account: b.Account, Kind: b.Kind},
		Opens: b.Opens, Holder: b.Holder, MaxAge: time.Duration(b.MaxAge) * time.Second, Value: driver.NewSecret(string(value)),
	})
}

type entrustedInput struct {
	ID string `path:"id" maxLength:"100"`
}

func (a *api) entrustedSecret(ctx context.Context, actor gate.Actor, in *entrustedInput) (vault.Lineage, error) {
	return a.Vault.Lineage(ctx, actor, in.ID)
}

func (a *api) destroyEntrusted(ctx context.Context, actor gate.Actor, in *entrustedInput) (store.EntrustedSecret, error) {
	return a.Vault.Destroy(ctx, actor, in.ID)
}

type revealInput struct {
	ID      string `path:"id" maxLength:"100"`
	Version int64  `query:"version" minimum:"0" doc:"such as the one before; absent is the newest"`
}

// A revealedBody is a value on its way to its holder.
type revealedBody struct {
	Version int64  `json:"version"`
	Value   string `json:"value" contentEncoding:"base64" doc:"the value, in base64"`
}

func (a *api) reveal(ctx context.Context, actor gate.Actor, in *revealInput) (revealedBody, error) {
	value, one, err := a.Vault.Reveal(ctx, actor, in.ID, in.Version)
	if err != nil {
		return revealedBody{}, err
	}
	return revealedBody{Version: one.Number, Value: base64.StdEncoding.EncodeToString([]byte(value.Reveal()))}, nil
}

// rotateInput says what is to be replaced: secrets by their ids, or what a question names.
type rotateInput struct {
	Body struct {
		Reason string   `json:"reason" minLength:"1" maxLength:"2000"`
		IDs    []string `json:"ids,omitempty" maxItems:"1000" doc:"secrets; or else all that the following names"`
		Host   string   `json:"host,omitempty" maxLength:"300" doc:"what could be read from this host"`
		Key    string   `json:"key,omitempty" maxLength:"300" doc:"what could be read with this wrapping key"`
		From   string   `json:"from,omitempty" maxLength:"40" doc:"a day or a time; included"`
		To     string   `json:"to,omitempty" maxLength:"40" doc:"a day or a time; not included"`
	}
}

type rotatedBody struct {
	Secrets int64 `json:"secrets" doc:"how many are to be replaced; nothing was replaced by it"`
}

func (a *api) rotateEntrusted(ctx context.Context, actor gate.Actor, in *rotateInput) (rotatedBody, error) {
	b := in.Body
	if len(b.IDs) > 0 {
		if b.Host != "" || b.Key != "" {
			return rotatedBody{}, fmt.Errorf("%w: name secrets, or a host or a wrapping key, not both", tallystick.ErrInvalid)
		}
		n, err := a.Vault.Mark(ctx, actor, b.Reason, b.IDs...)
		return rotatedBody{n}, err
	}
	q, err := vault.ParseQuestion(url.Values{"host": {b.Host}, "key": {b.Key}, "from": {b.From}, "to": {b.To}})
	if err != nil {
		return rotatedBody{}, err
	}
	n, err := a.Vault.MarkReadable(ctx, actor, q, b.Reason)
	return rotatedBody{n}, err
}

type readableInput struct {
	Host string `query:"host" maxLength:"300" doc:"while it had a wrapping key"`
	Key  string `query:"key" maxLength:"300" doc:"a wrapping key, in place of a host"`
	SpanQuery
	PageQuery
}

func (a *api) readable(ctx context.Context, actor gate.Actor, in *readableInput) (list[store.Exposure], error) {
	q, err := vault.ParseQuestion(url.Values{"host": {in.Host}, "key": {in.Key}, "from": {in.From}, "to": {in.To}})
	if err != nil {
		return list[store.Exposure]{}, err
	}
	page, total, err := a.Vault.Readable(ctx, actor, q, store.PageRequest{After: in.After, Limit: in.Limit})
	return listOf(page, total), err
}

type wrappingKeysBody struct {
	Items []vault.KeyStrength `json:"items" doc:"the oldest first"`
}

func (a *api) wrappingKeys(ctx context.Context, actor gate.Actor, _ *struct{}) (wrappingKeysBody, error) {
	items, err := a.Vault.KeyStrengths(ctx, actor)
	return wrappingKeysBody{items}, err
}

type vaultHostsBody struct {
	Items []store.Reader `json:"items"`
}

func (a *api) vaultHosts(ctx context.Context, actor gate.Actor, _ *struct{}) (vaultHostsBody, error) {
	items, err := a.Vault.Hosts(ctx, actor)
	return vaultHostsBody{items}, err
}

func (a *api) vaultSums(ctx context.Context, actor gate.Actor, _ *struct{}) (store.EntrustedSums, error) {
	return a.Vault.Sums(ctx, actor)
}

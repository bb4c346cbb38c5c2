// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// issues, lists, serves and renews say whether a part of issuing is there; calls
// that need one are registered with it.

func (a *api) issues() error {
	if a.Issuing == nil {
		return problem.With(fmt.Errorf("nothing is issued by this server: %w", tallystick.ErrNotFound), `Make a CA: "tally ca init NAME".`)
	}
	return nil
}

func (a *api) serves() error {
	if a.Issuing == nil || a.Issuing.ACME == nil {
		return problem.With(fmt.Errorf("this server has no ACME: %w", tallystick.ErrNotFound), `Set issuing.acme in the configuration.`)
	}
	return nil
}

func (a *api) renews() error {
	if a.Issuing == nil || a.Issuing.Renewals == nil {
		return problem.With(fmt.Errorf("nothing is renewed by this server: %w", tallystick.ErrNotFound), `Add a renewal: "tally renew add".`)
	}
	return nil
}

// with makes a call that is ErrNotFound where what it needs is not there.
func with[I, O any](there func() error, fn func(context.Context, gate.Actor, *I) (O, error)) func(context.Context, gate.Actor, *I) (O, error) {
	return func(ctx context.Context, actor gate.Actor, in *I) (O, error) {
		if err := there(); err != nil {
			var none O
			return none, err
		}
		return fn(ctx, actor, in)
	}
}

// An authorityBody is a CA with what became of what it signed.
type authorityBody struct {
	ca.Authority
	Counts *countsBody `json:"counts,omitempty"`
	PEM    string      `json:"pem,omitempty" doc:"its certificate; of kind ssh: its public key as authorized_keys has it"`
	Chain  string      `json:"chain,omitempty" doc:"the certificates above it, PEM, the root last"`
}

type countsBody struct {
	Total    int64 `json:"total"`
	Good     int64 `json:"good" doc:"valid and not revoked"`
	Revoked  int64 `json:"revoked" doc:"and not ended"`
	Expiring int64 `json:"expiring" doc:"good, and ending within a week"`
	Recalled int64 `json:"recalled" doc:"and not ended: their clients are told to renew now"`
	Answered int64 `json:"answered" doc:"of those recalled: replaced by a newer one"`
	InUse    int64 `json:"in_use" doc:"good, and not replaced by a newer one"`
}

func authorityBodyOf(a ca.Authority) authorityBody {
	return authorityBody{Authority: a, PEM: a.PEM(), Chain: pemOf(a.Chain)}
}

func withCounts(o ca.Overview) authorityBody {
	body := authorityBodyOf(o.Authority)
	c := o.Counts
	body.Counts = &countsBody{c.Total, c.Good, c.Revoked, c.Expiring, c.Recalled, c.Answered, c.InUse}
	return body
}

// pemOf writes certificates as PEM, one after the other.
func pemOf(chain [][]byte) string {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(text)
}

type authoritiesBody struct {
	Items []authorityBody `json:"items"`
}

func (a *api) listAuthorities(ctx context.Context, actor gate.Actor, _ *struct{}) (authoritiesBody, error) {
	list, err := a.Issuing.CA.Overview(ctx, actor)
	body := authoritiesBody{Items: make([]authorityBody, 0, len(list))}
	for _, one := range list {
		body.Items = append(body.Items, withCounts(one))
	}
	return body, err
}

type AuthorityName struct {
	Name string `path:"name" maxLength:"100"`
}

func (a *api) authority(ctx context.Context, actor gate.Actor, in *AuthorityName) (authorityBody, error) {
	list, err := a.Issuing.CA.Overview(ctx, actor)
	if err != nil {
		return authorityBody{}, err
	}
	for _, one := range list {
		if one.Name == in.Name {
			return withCounts(one), nil
		}
	}
	_, err = a.Issuing.CA.Authority(ctx, in.Name)
	return authorityBody{}, err
}

// An InitInputBody is a new CA.
type InitInputBody struct {
	Name         string   `json:"name" maxLength:"48" doc:"lower-case letters, digits and hyphens; it stands in addresses"`
	Kind         string   `json:"kind,omitempty" enum:"x509,ssh" default:"x509"`
	CommonName   string   `json:"common_name,omitempty" maxLength:"64" doc:"absent is the name"`
	Organization string   `json:"organization,omitempty" maxLength:"64"`
	Parent       string   `json:"parent,omitempty" doc:"a CA of ours that signs it; absent makes a root"`
	External     bool     `json:"external,omitempty" doc:"somebody else signs it: settings.csr is what to send them"`
	Key          string   `json:"key,omitempty" doc:"ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096"`
	Lifetime     float64  `json:"lifetime,omitempty" minimum:"0" maximum:"1e9" doc:"seconds; absent is ten years for a root and two for others"`
	PathLength   *int     `json:"path_length,omitempty" minimum:"-1" maximum:"10" doc:"how many CAs may stand below it; -1 is any number; absent is 1 for a root and 0 for others"`
	PermittedDNS []string `json:"permitted_dns,omitempty" maxItems:"100" doc:"name constraints (RFC 5280 section 4.2.1.10)"`
	ExcludedDNS  []string `json:"excluded_dns,omitempty" maxItems:"100"`
	PermittedIPs []string `json:"permitted_ips,omitempty" maxItems:"100" doc:"networks, as in 10.0.0.0/8"`
	ExcludedIPs  []string `json:"excluded_ips,omitempty" maxItems:"100"`
	Note         string   `json:"note,omitempty" maxLength:"500" doc:"what it is for"`
}

type initInput struct{ Body InitInputBody }

func (a *api) initAuthority(ctx context.Context, actor gate.Actor, in *initInput) (authorityBody, error) {
	b := in.Body
	r := ca.InitRequest{
		Name: b.Name, Kind: b.Kind, CommonName: b.CommonName, Organization: b.Organization, Parent: b.Parent, External: b.External, Key: custody.KeyType(b.Key),
		Lifetime: seconds(b.Lifetime), PathLen: b.PathLength, PermittedDNS: b.PermittedDNS, ExcludedDNS: b.ExcludedDNS, Note: b.Note,
	}
	for _, of := range []struct {
		to    *[]netip.Prefix
		texts []string
	}{{&r.PermittedIPs, b.PermittedIPs}, {&r.ExcludedIPs, b.ExcludedIPs}} {
		for _, text := range of.texts {
			network, err := netip.ParsePrefix(text)
			if err != nil {
				return authorityBody{}, problem.With(fmt.Errorf("%w: %.80q is not a network", tallystick.ErrInvalid, text), "Write it as 10.0.0.0/8.")
			}
			*of.to = append(*of.to, network)
		}
	}
	made, err := a.Issuing.CA.Init(ctx, actor, r)
	if err != nil {
		return authorityBody{}, err
	}
	return authorityBodyOf(made), nil
}

type rolloverInput struct {
	AuthorityName
	Body struct {
		Step  string `json:"step" enum:"prepare,activate,distrust" doc:"prepare: make the next generation, to be trusted everywhere; activate: it signs from now on; distrust: the old one is to be trusted no more"`
		Key   string `json:"key,omitempty" doc:"of prepare: the sort of key, when it is to be another"`
		Force bool   `json:"force,omitempty" doc:"of distrust: even while certificates by it are in use"`
	}
}

func (a *api) rollover(ctx context.Context, actor gate.Actor, in *rolloverInput) (authorityBody, error) {
	var made ca.Authority
	var err error
	switch in.Body.Step {
	case "prepare":
		made, err = a.Issuing.CA.Prepare(ctx, actor, in.Name, custody.KeyType(in.Body.Key))
	case "activate":
		made, err = a.Issuing.CA.Activate(ctx, actor, in.Name)
	default: // the schema lets nothing else through
		made, err = a.Issuing.CA.Distrust(ctx, actor, in.Name, in.Body.Force)
	}
	if err != nil {
		return authorityBody{}, err
	}
	return authorityBodyOf(made), nil
}

type compromiseInput struct {
	AuthorityName
	Body struct {
		URL   string    `json:"url,omitempty" maxLength:"2048" doc:"where people read what happened; ACME clients show it"`
		Since time.Time `json:"since,omitzero" doc:"since when the key may be in other hands"`
	}
}

type recalledBody struct {
	Count int64 `json:"count" doc:"how many certificates have to be replaced"`
}

func (a *api) compromise(ctx context.Context, actor gate.Actor, in *compromiseInput) (recalledBody, error) {
	n, err := a.Issuing.CA.Compromise(ctx, actor, in.Name, in.Body.URL, in.Body.Since)
	return recalledBody{n}, err
}

type blockedKeysInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"how many at most"`
}

type blockedKeysBody struct {
	Items []store.BlockedKey `json:"items"`
}

func (a *api) blockedKeys(ctx context.Context, actor gate.Actor, in *blockedKeysInput) (blockedKeysBody, error) {
	list, err := a.Issuing.CA.BlockedKeys(ctx, actor, in.Limit)
	return blockedKeysBody{list}, err
}

type blockInput struct {
	Body struct {
		Keys   []tallystick.KeyID `json:"keys" minItems:"1" maxItems:"10000" doc:"SHA-256 of SubjectPublicKeyInfo, hexadecimal"`
		Reason string             `json:"reason" minLength:"1" maxLength:"500"`
	}
}

type blockedBody struct {
	Count int64 `json:"count" doc:"how many were not blocked before"`
}

func (a *api) blockKeys(ctx context.Context, actor gate.Actor, in *blockInput) (blockedBody, error) {
	n, err := a.Issuing.CA.Block(ctx, actor, in.Body.Keys, in.Body.Reason)
	return blockedBody{n}, err
}

// describeIssuing adds the answer of a request that waits, which huma does not see.
func (a *api) describeIssuing() {
	spec := a.huma.OpenAPI()
	schema := spec.Components.Schemas.Schema(reflect.TypeFor[issuedBody](), true, "IssuedBody")
	spec.Paths[apiRoot+"/certificates"].Post.Responses["202"] = &huma.Response{
		Description: http.StatusText(http.StatusAccepted) + ": somebody must approve it. Ask for the same again, with the same key, to collect it.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}
}

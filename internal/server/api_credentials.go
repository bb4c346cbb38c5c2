// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
)

// A list is a page of anything.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"where the next page begins; absent on the last one"`
	Total int64  `json:"total" doc:"how many there are, counted up to 10,000"`
}

func listOf[T any](page store.Page[T], total int64) list[T] {
	return list[T]{Items: page.Items, Next: page.Next, Total: total}
}

// A PageQuery is where in a list. Like all that is embedded in inputs it is
// exported, or huma would not see its fields.
type PageQuery struct {
	After string `query:"after" maxLength:"2000" doc:"what the page before returned as next"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"how many at most"`
}

// A SortQuery is in what order.
type SortQuery struct {
	Desc bool `query:"desc" doc:"the other way round"`
}

// CredentialQuery has the parameters of the pages.
type CredentialQuery struct {
	Text        string `query:"q" maxLength:"500" doc:"words that must begin a name, a word of the subject, the serial, the fingerprint or the key id"`
	Kind        string `query:"kind" doc:"certificate, key, ssh-certificate, sealed (that nobody could open) or named (known by its uses alone)"`
	Algorithm   string `query:"algorithm" doc:"of the key, such as rsa-2048, or a family: rsa"`
	Issuer      string `query:"issuer"`
	Key         string `query:"key" doc:"SHA-256 of the SubjectPublicKeyInfo"`
	Owner       string `query:"owner" doc:"- is nobody"`
	Environment string `query:"environment"`
	Tag         string `query:"tag"`
	Rule        string `query:"rule" doc:"with an open finding of this rule"`
	Severity    string `query:"severity" enum:"info,low,medium,high,critical" doc:"with an open finding as bad as this, or worse"`
	Place       string `query:"place" doc:"this very place; an absolute path is a file's or a trust store's"`
	Scheme      string `query:"scheme" doc:"at a place of this scheme: file, tls, truststore, ssh"`
	Network     string `query:"network" doc:"at a place in this network, as 10.0.2.0/24, 2001:db8:0:1::/64 or example.net"`
	Role        string `query:"role" doc:"in this role somewhere: holds, presents, accepts"`
	EndsAfter   string `query:"ends_after" doc:"a day or a time"`
	EndsBefore  string `query:"ends_before" doc:"a day or a time"`
	Leaf        bool   `query:"leaf" doc:"end-entity certificates only"`
	Gone        bool   `query:"gone" doc:"those that are nowhere any more, instead"`
	Sample      string `query:"sample" enum:"true,false" doc:"true: those alone that packages bring along and nothing uses; false: all others alone"`
}

// filter reads the parameters as the pages do.
func (q CredentialQuery) filter(rules []string) (store.CredentialFilter, error) {
	return inventory.ParseCredentialFilter(url.Values{
		"q": {q.Text}, "kind": {q.Kind}, "algorithm": {q.Algorithm}, "issuer": {q.Issuer}, "key": {q.Key}, "owner": {q.Owner},
		"environment": {q.Environment}, "tag": {q.Tag}, "rule": {q.Rule}, "severity": {q.Severity}, "place": {q.Place},
		"scheme": {q.Scheme}, "network": {q.Network}, "role": {q.Role}, "ends_after": {q.EndsAfter}, "ends_before": {q.EndsBefore},
		"leaf": {strconv.FormatBool(q.Leaf)}, "gone": {strconv.FormatBool(q.Gone)}, "sample": {q.Sample},
	}, rules)
}

type listCredentialsInput struct {
	CredentialQuery
	Sort string `query:"sort" enum:"expires,subject,seen,places,severity" default:"expires"`
	SortQuery
	PageQuery
}

func (a *api) listCredentials(ctx context.Context, actor gate.Actor, in *listCredentialsInput) (list[store.CredentialRow], error) {
	filter, err := in.filter(a.Findings.RuleNames())
	if err != nil {
		return list[store.CredentialRow]{}, err
	}
	page := store.PageRequest{Sort: in.Sort, Desc: in.Desc, After: in.After, Limit: in.Limit}
	rows, total, err := a.Inventory.Credentials(ctx, actor, filter, page)
	return listOf(rows, total), err
}

// CredentialName names one credential.
type CredentialName struct {
	ID string `path:"id" maxLength:"200" doc:"a fingerprint, or the beginning of one that is unique (6 digits or more)"`
}

// credentialBody is inventory.Detail for programs.
type credentialBody struct {
	Credential  *tallystick.Credential   `json:"credential"`
	Annotation  tallystick.Annotation    `json:"annotation"`
	FirstSeen   time.Time                `json:"first_seen"`
	Sightings   []store.SightingRow      `json:"sightings" doc:"where it is and was, the current first"`
	Holders     []store.SightingRow      `json:"holders" doc:"where the private half of its key is"`
	Opens       []store.SightingRow      `json:"opens" doc:"where its key is accepted"`
	SameKey     []store.CredentialRow    `json:"same_key"`
	Issuers     []*tallystick.Credential `json:"issuers" doc:"CA certificates that may have issued it"`
	Findings    []store.FindingRow       `json:"findings"`
	Past        []store.FindingRow       `json:"past_findings"`
	Annotations []store.PastAnnotation   `json:"annotations" doc:"what was said about it, the newest first"`
}

func (a *api) credential(ctx context.Context, actor gate.Actor, in *CredentialName) (credentialBody, error) {
	d, err := a.Inventory.Credential(ctx, actor, in.ID)
	if err != nil {
		return credentialBody{}, err
	}
	return credentialBody{
		Credential: d.Credential, Annotation: d.Row.Annotation, FirstSeen: d.Row.FirstSeen, Sightings: d.Sightings, Holders: d.Holders,
		Opens: d.Opens, SameKey: d.SameKey, Issuers: d.Issuers, Findings: d.Findings, Past: d.Past, Annotations: d.Annotations,
	}, nil
}

// annotationPatch replaces the members that are there (RFC 7396).
type annotationPatch struct {
	Owner       *string   `json:"owner,omitempty"`
	Environment *string   `json:"environment,omitempty"`
	Tags        *[]string `json:"tags,omitempty"`
	Notes       *string   `json:"notes,omitempty"`
}

type annotateInput struct {
	CredentialName
	Body annotationPatch
}

func (a *api) annotate(ctx context.Context, actor gate.Actor, in *annotateInput) (tallystick.Annotation, error) {
	d, err := a.Inventory.Credential(ctx, actor, in.ID)
	if err != nil {
		return tallystick.Annotation{}, err
	}
	change := inventory.Change{Owner: in.Body.Owner, Environment: in.Body.Environment, Tags: in.Body.Tags, Notes: in.Body.Notes}
	said, err := a.Inventory.Amend(ctx, actor, []tallystick.Fingerprint{d.Credential.ID}, change)
	if err != nil {
		return tallystick.Annotation{}, err
	}
	return said[0], nil
}

type annotateManyInput struct {
	Body struct {
		Credentials []tallystick.Fingerprint `json:"credentials" minItems:"1" maxItems:"1000"`
		Annotation  tallystick.Annotation    `json:"annotation" doc:"replaces what was said about each"`
	}
}

func (a *api) annotateMany(ctx context.Context, actor gate.Actor, in *annotateManyInput) (nothing, error) {
	return nothing{}, a.Inventory.Annotate(ctx, actor, in.Body.Credentials, in.Body.Annotation)
}

type listPlacesInput struct {
	Prefix  string `query:"prefix" doc:"of the place as written: file:///etc/nginx/; a path is a file's"`
	Scheme  string `query:"scheme"`
	Network string `query:"network" doc:"in this network, as 10.0.2.0/24, 2001:db8:0:1::/64 or example.net"`
	Empty   bool   `query:"empty" doc:"those where nothing is any more, instead"`
	Sort    string `query:"sort" enum:"place,credentials" default:"place"`
	SortQuery
	PageQuery
}

func (a *api) listPlaces(ctx context.Context, actor gate.Actor, in *listPlacesInput) (list[store.PlaceRow], error) {
	filter, err := inventory.ParsePlaceFilter(url.Values{"prefix": {in.Prefix}, "scheme": {in.Scheme}, "network": {in.Network}, "empty": {strconv.FormatBool(in.Empty)}})
	if err != nil {
		return list[store.PlaceRow]{}, err
	}
	page := store.PageRequest{Sort: in.Sort, Desc: in.Desc, After: in.After, Limit: in.Limit}
	rows, total, err := a.Inventory.Places(ctx, actor, filter, page)
	return listOf(rows, total), err
}

type placeInput struct {
	URI string `query:"uri" required:"true" maxLength:"4096"`
}

type placeBody struct {
	Sightings []store.SightingRow `json:"sightings" doc:"what is there and what was, the current first"`
}

func (a *api) place(ctx context.Context, actor gate.Actor, in *placeInput) (placeBody, error) {
	rows, err := a.Inventory.PlaceDetail(ctx, actor, tallystick.Place(in.URI))
	return placeBody{rows}, err
}

func (a *api) summary(ctx context.Context, actor gate.Actor, _ *struct{}) (store.Summary, error) {
	return a.Inventory.Summary(ctx, actor)
}

type networksBody struct {
	Items []store.Network `json:"items"`
	Next  string          `json:"next,omitempty"`
}

func (a *api) networks(ctx context.Context, actor gate.Actor, in *PageQuery) (networksBody, error) {
	list, err := a.Inventory.Networks(ctx, actor, in.After, in.Limit)
	body := networksBody{Items: append([]store.Network{}, list...)}
	if len(list) == in.Limit {
		body.Next = list[len(list)-1].Name
	}
	return body, err
}

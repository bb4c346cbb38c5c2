// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// A UsedQuery names a credential that is used.
type UsedQuery struct {
	Credential string `query:"credential" maxLength:"1000" doc:"a fingerprint, the beginning of one that is unique (6 digits or more), or a name under which it is used, such as x5t:..."`
}

// A SpanQuery is a time.
type SpanQuery struct {
	From string `query:"from" doc:"a day or a time; included"`
	To   string `query:"to" doc:"a day or a time; not included"`
}

type listUsesInput struct {
	UsedQuery
	Verdict  string `query:"verdict" enum:"foreign,unconfirmed,attempt,matched,pending" doc:"matched and pending ones are listed of one credential at a time"`
	Side     string `query:"side" enum:"holder,relying"`
	Source   string `query:"source" maxLength:"1000" doc:"the book"`
	Party    string `query:"relying_party" maxLength:"1000" doc:"as the records have it"`
	Address  string `query:"address" maxLength:"1000"`
	Incident int64  `query:"incident" minimum:"1"`
	SpanQuery
	PageQuery
}

func (in *listUsesInput) filter() (usage.Filter, error) {
	q := url.Values{
		"credential": {in.Credential}, "verdict": {in.Verdict}, "side": {in.Side}, "source": {in.Source}, "relying_party": {in.Party}, "address": {in.Address},
		"from": {in.From}, "to": {in.To},
	}
	if in.Incident > 0 {
		q.Set("incident", strconv.FormatInt(in.Incident, 10))
	}
	return usage.ParseFilter(q)
}

// A useBody is a usage.Record for programs.
type useBody struct {
	Key        string             `json:"key" doc:"names the record"`
	Credential usage.Credential   `json:"credential"`
	Verdict    tallystick.Verdict `json:"verdict"`
	Reason     string             `json:"reason,omitempty" doc:"half a sentence for people"`
	Incident   int64              `json:"incident,omitempty"`
	Use        json.RawMessage    `json:"use" doc:"version 1 of the use record, docs/use-record.schema.json"`
}

func useBodyOf(r usage.Record) (useBody, error) {
	text, err := json.Marshal(r.Use)
	return useBody{r.Key, r.Credential, r.Verdict, r.Reason, r.Incident, text}, err
}

func useBodiesOf(list []usage.Record) ([]useBody, error) {
	bodies := make([]useBody, 0, len(list))
	for _, r := range list {
		body, err := useBodyOf(r)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// usesBody is a list whose total is not always counted.
type usesBody struct {
	Items []useBody `json:"items"`
	Next  string    `json:"next,omitempty" doc:"where the next page begins; absent on the last one. A page may have fewer items than were asked for and still a next one"`
	Total int64     `json:"total,omitempty" doc:"how many there are, counted up to 10,000; absent where matched records would have to be counted"`
}

func (a *api) listUses(ctx context.Context, actor gate.Actor, in *listUsesInput) (usesBody, error) {
	filter, err := in.filter()
	if err != nil {
		return usesBody{}, err
	}
	page, total, err := a.Usage.Records(ctx, actor, filter, store.PageRequest{After: in.After, Limit: in.Limit})
	if err != nil {
		return usesBody{}, err
	}
	body := usesBody{Next: page.Next, Total: total}
	body.Items, err = useBodiesOf(page.Items)
	return body, err
}

type useChartInput struct {
	UsedQuery
	SpanQuery
}

// A chartBody is a usage.Chart with its step in seconds.
type chartBody struct {
	From time.Time   `json:"from"`
	To   time.Time   `json:"to"`
	Step int64       `json:"step" doc:"seconds"`
	Bins []usage.Bin `json:"bins"`
}

func (a *api) useChart(ctx context.Context, actor gate.Actor, in *useChartInput) (chartBody, error) {
	filter, err := usage.ParseFilter(url.Values{"credential": {in.Credential}, "from": {in.From}, "to": {in.To}})
	if err != nil {
		return chartBody{}, err
	}
	c, err := a.Usage.Chart(ctx, actor, filter)
	return chartBody{c.From, c.To, int64(c.Step / time.Second), c.Bins}, err
}

type useName struct {
	Key string `path:"key" maxLength:"100"`
}

// useDetailBody is a usage.Detail for programs.
type useDetailBody struct {
	useBody
	Other *useBody  `json:"other,omitempty" doc:"the record of the other side that it is matched with"`
	Near  []useBody `json:"near" doc:"records of the other side within ten minutes, ten at most"`
	Raw   string    `json:"raw,omitempty" doc:"what the source wrote, for operators, where it is kept"`
}

func (a *api) use(ctx context.Context, actor gate.Actor, in *useName) (useDetailBody, error) {
	d, err := a.Usage.Record(ctx, actor, in.Key)
	if err != nil {
		return useDetailBody{}, err
	}
	body := useDetailBody{Raw: d.Raw}
	if body.useBody, err = useBodyOf(d.Record); err != nil {
		return body, err
	}
	if d.Other != nil {
		other, err := useBodyOf(*d.Other)
		if err != nil {
			return body, err
		}
		body.Other = &other
	}
	body.Near, err = useBodiesOf(d.Near)
	return body, err
}

type listIncidentsInput struct {
	UsedQuery
	State string `query:"state" enum:"open,all" default:"open" doc:"open: without those that turned out to be none"`
	SpanQuery
	PageQuery
}

func (a *api) listIncidents(ctx context.Context, actor gate.Actor, in *listIncidentsInput) (list[usage.Incident], error) {
	filter, err := usage.ParseIncidentFilter(url.Values{"credential": {in.Credential}, "state": {in.State}, "from": {in.From}, "to": {in.To}})
	if err != nil {
		return list[usage.Incident]{}, err
	}
	page, total, err := a.Usage.Incidents(ctx, actor, filter, store.PageRequest{After: in.After, Limit: in.Limit})
	return listOf(page, total), err
}

type incidentName struct {
	ID int64 `path:"id"`
}

func (a *api) incident(ctx context.Context, actor gate.Actor, in *incidentName) (*usage.Incident, error) {
	return a.Usage.Incident(ctx, actor, in.ID)
}

type booksBody struct {
	Items []usage.BookBody `json:"items"`
}

func (a *api) books(ctx context.Context, actor gate.Actor, _ *struct{}) (booksBody, error) {
	books, err := a.Usage.Books(ctx, actor)
	return booksBody{usage.BookBodiesOf(books)}, err
}

// A mapBody is a usage.Map for programs.
type mapBody struct {
	usage.Map
	Books []usage.BookBody `json:"books"`
}

func (a *api) useMap(ctx context.Context, actor gate.Actor, _ *struct{}) (mapBody, error) {
	m, err := a.Usage.Map(ctx, actor)
	if err != nil {
		return mapBody{}, err
	}
	return mapBody{*m, usage.BookBodiesOf(m.Books)}, nil
}

type listConnectionsInput struct {
	UsedQuery
	Party string `query:"relying_party" maxLength:"1000" doc:"as the records have it"`
	Sort  string `query:"sort" enum:"relying_party,foreign" default:"relying_party" doc:"foreign: those with the most foreign uses first, then the last used"`
	SortQuery
	PageQuery
}

func (a *api) listConnections(ctx context.Context, actor gate.Actor, in *listConnectionsInput) (list[usage.Connection], error) {
	page, total, err := a.Usage.Connections(ctx, actor, in.Credential, in.Party, store.PageRequest{Sort: in.Sort, Desc: in.Desc, After: in.After, Limit: in.Limit})
	return listOf(page, total), err
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick"
)

// The unified audit of mail by the audit search of Microsoft Graph, by the pages
// "auditLogQuery resource type" and "List auditLogRecords": a query of a stretch of time is put,
// runs for minutes, and then has its records for a while.

const (
	searchPath = "/v1.0/security/auditLog/queries"
	// searchEvery is how often the newest is searched for, at most: each search reads again
	// what is younger than contentLate.
	searchEvery = 15 * time.Minute
	// searchPoll is how often it is looked whether a query has ended, and searchTime how long
	// one may run.
	searchPoll = 30 * time.Second
	searchTime = 6 * time.Hour
	// searchSpan is how much time one query is put for.
	searchSpan = 24 * time.Hour
	// searchPages is how many pages are read in one round.
	searchPages = 30
	// searchKept is for how long records can be found, with the licence that most have
	// ("Manage audit log retention policies").
	searchKept = 180 * 24 * time.Hour
)

// searchRecords are the kinds of records that tell of mail.
var searchRecords = [...]string{"exchangeItem", "exchangeItemGroup", "exchangeItemAggregated"}

// A search is how far the audit was searched.
type search struct {
	standing
	To  time.Time `json:"to,omitzero"`  // up to when all was found that was there then
	At  time.Time `json:"at,omitzero"`  // up to when the search is that goes on
	End time.Time `json:"end,omitzero"` // up to when it will be
	// ID is that of the query that was put at Asked, for the time from At to Till; Link leads
	// to the next page of its records.
	ID    string    `json:"id,omitempty"`
	Asked time.Time `json:"asked,omitzero"`
	Till  time.Time `json:"till,omitzero"`
	Link  string    `json:"link,omitempty"`
	Wide  int64     `json:"wide,omitempty"` // seconds that a query is put for; 0 is searchSpan
}

// closed returns up to when nothing more will come.
func (p *search) closed() time.Time {
	if p.To.IsZero() {
		return time.Time{}
	}
	return p.To.Add(-contentLate)
}

// search goes on with a search: it puts a query, or looks whether it has ended, or reads what it found.
func (w *watching) search(ctx context.Context, p *search) error {
	now := w.now()
	switch {
	case p.ID == "":
		return w.put(ctx, p)
	case p.Link == "":
		var query struct {
			Status string `json:"status"`
		}
		err := w.client.get(ctx, searchPath+"/"+p.ID, nil, &query)
		switch {
		case errors.Is(err, tallystick.ErrNotFound):
			query.Status = "gone"
		case err != nil:
			return err
		}
		switch query.Status {
		case "succeeded":
			p.Link = w.client.url(searchPath+"/"+p.ID+"/records", url.Values{"$top": {pageSize}}).String()
		case "failed", "cancelled", "gone":
			p.ID = ""
			return fmt.Errorf("%w: the search of the audit log has %s, and is begun anew", tallystick.ErrUnavailable, query.Status)
		default: // it is not started, or runs
			if p.Next = now.Add(searchPoll); now.Sub(p.Asked) > searchTime {
				p.ID = ""
				return fmt.Errorf("%w: a search of the audit log has not ended in %v, and is begun anew", tallystick.ErrUnavailable, searchTime)
			}
			return nil
		}
	}
	return w.found(ctx, p)
}

// put puts the next query.
func (w *watching) put(ctx context.Context, p *search) error {
	now := w.now().UTC().Truncate(time.Second)
	if p.End.IsZero() {
		p.End, p.At = now, now.Add(-contentLate)
		if p.To.IsZero() {
			p.At = now.Add(-w.Since)
		} else if p.To.Before(p.At) {
			p.At = later(p.To, now.Add(-searchKept))
		}
	}
	wide := searchSpan
	if p.Wide > 0 {
		wide = time.Duration(p.Wide) * time.Second
	}
	if p.Till = p.At.Add(wide); p.Till.After(p.End) {
		p.Till = p.End
	}
	if !p.At.Before(p.Till) { // nothing is asked for yet
		p.To, p.End, p.Next = p.End, time.Time{}, now.Add(searchPoll)
		return nil
	}
	var query struct {
		ID string `json:"id"`
	}
	err := w.client.send(ctx, http.MethodPost, searchPath, map[string]any{
		"displayName": "Tallystick", "filterStartDateTime": p.At.Format(time.RFC3339), "filterEndDateTime": p.Till.Format(time.RFC3339),
		"recordTypeFilters": searchRecords,
	}, &query)
	if err != nil {
		return err
	}
	if query.ID, err = guid(query.ID); err != nil {
		return fmt.Errorf("%w: a search of the audit log was put, and has no id", tallystick.ErrUnavailable)
	}
	p.ID, p.Asked, p.Link, p.Next = query.ID, now, "", now.Add(searchPoll)
	return nil
}

// found reads what a query has found, as far as a round goes.
func (w *watching) found(ctx context.Context, p *search) error {
	b := &batch{watching: w, log: reportLog{name: logSearch, format: "unified-audit-graph"}, pass: &pass{}}
	for range searchPages {
		read, err := w.client.page(ctx, p.Link, func(record json.RawMessage) error { return b.add(record) })
		if said, ok := errors.AsType[*apiError](err); ok && (said.Status == http.StatusBadRequest || said.Status == http.StatusGone || said.Status == http.StatusNotFound) {
			// Links do not stay good for ever: less is asked for at once.
			p.Wide = max(60, int64(p.Till.Sub(p.At)/(2*time.Second)))
			p.ID, p.Link, p.Next = "", "", w.now().Add(searchPoll)
			return nil
		}
		if err != nil {
			return err
		}
		if read.Next == p.Link {
			return fmt.Errorf("%w: a page of %s leads to itself", tallystick.ErrUnavailable, w.client.base.Host)
		}
		if p.Link = read.Next; p.Link == "" {
			p.done(w.now(), w.Every)
		} else {
			p.Next = w.now()
		}
		if err := b.give(); err != nil || p.Link == "" {
			return err
		}
	}
	return nil
}

// done notes that all was read that a query has found.
func (p *search) done(now time.Time, every time.Duration) {
	p.ID, p.At, p.Next = "", p.Till, now
	if !p.At.Before(p.End) {
		p.To, p.End, p.Next, p.Wide = p.End, time.Time{}, now.Add(max(every, searchEvery)), 4*p.Wide
	}
	if p.Wide >= int64(searchSpan/time.Second) {
		p.Wide = 0
	}
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
)

// A listLog is a list that cannot be asked for by time: it is read to its end again and again,
// and what is new in it is handed over.
type listLog struct {
	name, format string
	path         string
	permission   string
	every        time.Duration
	pause        time.Duration // between pages
	overlap      time.Duration // how late something can turn up in it
	report       bool          // it shares the requests of reports
	at           func(record json.RawMessage) time.Time
}

// lists are these logs by their names.
var lists = map[string]listLog{
	// What is told of a last use may be a day old ("signInActivity resource type").
	logLastUse: {
		name: logLastUse, format: "entra-last-use", path: "/beta/reports/appCredentialSignInActivities", permission: "AuditLog.Read.All of Microsoft Graph",
		every: time.Hour, pause: reportTime / reportRequests, overlap: 48 * time.Hour, report: true, at: lastUsed,
	},
	// Of identity protection a tenant answers a request a second ("Microsoft Graph service-specific
	// throttling limits", section Identity protection and conditional access).
	logRisks: {
		name: logRisks, format: "entra-risk", path: "/v1.0/identityProtection/servicePrincipalRiskDetections",
		permission: "IdentityRiskyServicePrincipal.Read.All of Microsoft Graph",
		every:      15 * time.Minute, pause: 2 * time.Second, overlap: 24 * time.Hour, at: riskSeen,
	},
}

// lastUsed is when a credential signed in last.
func lastUsed(record json.RawMessage) time.Time {
	var r struct {
		Activity struct {
			Last time.Time `json:"lastSignInDateTime"`
		} `json:"signInActivity"`
	}
	if json.Unmarshal(record, &r) != nil {
		return time.Time{} // it was never used, as far as anybody can say
	}
	return r.Activity.Last
}

// riskSeen is when identity protection last said something of what it noticed.
func riskSeen(record json.RawMessage) time.Time {
	var r struct {
		Detected time.Time `json:"detectedDateTime"`
		Updated  time.Time `json:"lastUpdatedDateTime"`
	}
	if json.Unmarshal(record, &r) != nil {
		return time.Time{}
	}
	return later(r.Detected, r.Updated)
}

// A listing is how far such a list is read.
type listing struct {
	standing
	Link  string    `json:"link,omitempty"`  // to the next page
	Began time.Time `json:"began,omitzero"`  // when the reading began that goes on
	Since time.Time `json:"since,omitzero"`  // what is older was handed over
	Pages int       `json:"pages,omitempty"` // of this reading
}

// list reads the next page of a list.
func (w *watching) list(ctx context.Context, l listLog, p *listing) error {
	now := w.now()
	if ok, free := w.at.ask(now); l.report && !ok {
		p.Next = free
		return nil
	}
	link := p.Link
	if link == "" {
		link, p.Began, p.Pages = w.client.url(l.path, nil).String(), now, 0
	}
	since := later(p.Since, now.Add(-w.Since))
	b := &batch{watching: w, log: reportLog{name: l.name, format: l.format, only: w.Only, nameless: true}, pass: &pass{}}
	read, err := w.client.page(ctx, link, func(record json.RawMessage) error {
		if l.at(record).Before(since) {
			return nil
		}
		return b.add(record)
	})
	if said, ok := errors.AsType[*apiError](err); ok && p.Link != "" && (said.Status == http.StatusBadRequest || said.Status == http.StatusGone) {
		p.Link, p.Next = "", now.Add(time.Minute) // the link has ended, and the list is begun anew
		return nil
	}
	if err != nil {
		return err
	}
	p.Link, p.Next, p.Pages = read.Next, now.Add(l.pause), p.Pages+1
	switch {
	case p.Link != "" && p.Pages >= contentPages:
		p.Link = ""
		return fmt.Errorf("%w: a list of %s has more than %d pages", tallystick.ErrUnavailable, w.client.base.Host, contentPages)
	case p.Link == "":
		p.Since, p.Next = p.Began.Add(-l.overlap), now.Add(max(w.Every, l.every))
	}
	return b.give()
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// renewalsPage answers: what will renew when, and does it?
type renewalsPage struct {
	frame
	Offers   []offer
	Often    []offer
	WhatIf   []offer
	Calendar calendarChart
	Chips    []chip
	Rows     []renewalRow
	Pager    pager
	Back     string
	Ever     bool // whether anything is renewed
}

// renewalFields are the parameters of the filter.
var renewalFields = []field{{"q", "Name"}, {"issuer", "Issuer"}, {"state", "State"}}

// A renewalRow is a renewal in the list.
type renewalRow struct {
	renewal.Renewal
	Few    []string
	More   int64
	Bad    bool
	Paused bool
}

// OrdersURL is the list of its orders.
func (r renewalRow) OrdersURL() string { return "/orders?renewal=" + url.QueryEscape(r.Name) }

// renewalsURL returns the address of the renewals that a few parameters let through.
func renewalsURL(parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	return "/renewals?" + q.Encode()
}

// lifetimes are those of ballot SC-081v3 of the CA/Browser Forum.
func lifetimes() []string { return []string{"200", "100", "47"} }

// Renewals is the calendar of a year ahead, and the list.
func (s *Site) Renewals(w http.ResponseWriter, r *http.Request) {
	if !s.renews(w, r) {
		return
	}
	p := &renewalsPage{frame: frame{Title: "Renewals", Section: "issuers"}, Offers: issuerOffers("/renewals"), Chips: chipsOf(r, renewalFields), Back: here(r)}
	if err := s.fillRenewals(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "renewals", p)
}

func (s *Site) fillRenewals(r *http.Request, p *renewalsPage) error {
	ctx, actor, q := r.Context(), actorOf(r), r.URL.Query()
	days, err := numberOf(q.Get("lifetime"))
	if err != nil {
		return err
	}
	today := s.Now().UTC().Truncate(day)
	calendar, err := s.Issuing.Renewals.Calendar(ctx, actor, today, today.Add(calendarDays*day), time.Duration(min(days, 36_500))*day)
	if err != nil {
		return err
	}
	p.Calendar = calendarChartOf(calendar)
	p.WhatIf = []offer{{Label: "As they are", URL: withParameter(here(r), "lifetime", ""), On: days == 0}}
	for _, n := range lifetimes() {
		p.WhatIf = append(p.WhatIf, offer{Label: n + " days", URL: withParameter(here(r), "lifetime", n), On: q.Get("lifetime") == n})
	}
	filter := store.RenewalFilter{Issuer: q.Get("issuer"), Like: q.Get("q"), State: q.Get("state")}
	rows, err := s.Issuing.Renewals.List(ctx, actor, filter, q.Get("after"), pageRows)
	if err != nil {
		return err
	}
	for _, one := range rows {
		bad := one.State == "expired" || one.State == "refused" || one.State == "failing"
		p.Rows = append(p.Rows, renewalRow{one, head(3, one.Names), int64(max(0, len(one.Names)-3)), bad, one.State == "paused"})
	}
	next := ""
	if len(rows) == pageRows {
		next = rows[pageRows-1].Name
	}
	p.Pager = pagerOf(r, "after", 0, next)
	p.Ever = len(rows) > 0 || len(p.Chips) > 0 || q.Get("after") != ""
	p.Often = []offer{{Label: "All", URL: "/renewals", On: len(p.Chips) == 0}}
	for _, of := range []struct{ label, state string }{{"Failing", "failing"}, {"Refused", "refused"}, {"Overdue", "overdue"}, {"Expired", "expired"}, {"Under way", "waiting"}, {"Paused", "paused"}} {
		p.Often = append(p.Often, offer{Label: of.label, URL: renewalsURL("state", of.state), On: q.Get("state") == of.state})
	}
	return nil
}

// RenewNow has a certificate renewed now.
func (s *Site) RenewNow(w http.ResponseWriter, r *http.Request) {
	s.turnRenewal(w, r, "renewal-asked", (*renewal.Engine).Ask)
}

// PauseRenewal keeps a renewal from going on.
func (s *Site) PauseRenewal(w http.ResponseWriter, r *http.Request) {
	s.turnRenewal(w, r, "renewal-paused", (*renewal.Engine).Pause)
}

// ResumeRenewal lets a renewal go on.
func (s *Site) ResumeRenewal(w http.ResponseWriter, r *http.Request) {
	s.turnRenewal(w, r, "renewal-resumed", (*renewal.Engine).Resume)
}

func (s *Site) turnRenewal(w http.ResponseWriter, r *http.Request, word string, turn func(*renewal.Engine, context.Context, gate.Actor, string) error) {
	if !s.renews(w, r) {
		return
	}
	if err := turn(s.Issuing.Renewals, r.Context(), actorOf(r), r.PathValue("name")); err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/renewals"), word)
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"strconv"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// ordersPage answers: what is under way, and what failed at which step?
type ordersPage struct {
	frame
	Offers   []offer
	Served   []servedOrder
	Renewed  []renewal.Order
	Serves   bool // ACME is there
	Renews   bool
	Account  string
	Renewal  string
	States   []offer // of those served
	ACME     pager
	Renewals pager
}

// A servedOrder is an order of an ACME client.
type servedOrder struct {
	acme.OrderRow
	Few  []string
	More int64
	Bad  bool
}

// orderRows is how many orders of each sort the page shows.
const orderRows = 30

// Orders is what clients ordered by ACME, and what is renewed for us.
func (s *Site) Orders(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	q := r.URL.Query()
	p := &ordersPage{
		frame: frame{Title: "Orders", Section: "issuers"}, Offers: issuerOffers("/orders"), Account: q.Get("account"), Renewal: q.Get("renewal"),
		Serves: s.Issuing.ACME != nil && q.Get("renewal") == "", Renews: s.Issuing.Renewals != nil && q.Get("account") == "",
	}
	var err error
	if p.Serves {
		err = s.fillServed(r, p)
	}
	if p.Renews && err == nil {
		err = s.fillRenewed(r, p)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "orders", p)
}

func (s *Site) fillServed(r *http.Request, p *ordersPage) error {
	status := r.URL.Query().Get("status")
	for _, of := range []struct{ label, status string }{{"All", ""}, {"Failed", "invalid"}, {"Under way", "pending"}, {"Fulfilled", "valid"}} {
		p.States = append(p.States, offer{Label: of.label, URL: withParameter(fromStart(here(r)), "status", of.status), On: status == of.status})
	}
	rows, err := s.Issuing.ACME.Orders(r.Context(), actorOf(r), store.ACMEList{Account: p.Account, Status: status, Before: r.URL.Query().Get("after"), Limit: orderRows})
	for _, o := range rows {
		names := o.Names
		p.Served = append(p.Served, servedOrder{o, head(5, names), int64(max(0, len(names)-5)), o.Status == "invalid"})
	}
	next := ""
	if len(rows) == orderRows {
		next = rows[orderRows-1].ID
	}
	p.ACME = pagerOf(r, "after", 0, next)
	return err
}

func (s *Site) fillRenewed(r *http.Request, p *ordersPage) error {
	before, err := numberOf(r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	p.Renewed, err = s.Issuing.Renewals.Orders(r.Context(), actorOf(r), p.Renewal, before, orderRows)
	next := ""
	if len(p.Renewed) == orderRows {
		next = strconv.FormatInt(p.Renewed[orderRows-1].ID, 10)
	}
	p.Renewals = pagerOf(r, "before", 0, next)
	return err
}

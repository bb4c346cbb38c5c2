// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

// issuersPage answers: who signs for us, and is it healthy?
type issuersPage struct {
	frame
	Offers      []offer
	Needs       []need
	Loud        bool // whether the first of Needs is bad news
	Authorities []authorityRow
	Upstream    []upstreamRow
	Failures    []store.IssueRequest
}

// issuerOffers leads through the pages about issuing.
func issuerOffers(on string) []offer {
	list := []offer{
		{Label: "Issuers", URL: "/issuers"}, {Label: "Certificates", URL: "/issued"}, {Label: "Renewals", URL: "/renewals"},
		{Label: "Orders", URL: "/orders"}, {Label: "Requests", URL: "/requests"}, {Label: "Policies", URL: "/policies"},
	}
	for i := range list {
		list[i].On = list[i].URL == on
	}
	return list
}

// An authorityRow is a CA in the tree.
type authorityRow struct {
	ca.Overview
	Depth int // 0 to 3
	CRL   *crlView
	Next  step
}

// URL is the page of the CA.
func (a authorityRow) URL() string { return issuerURL(a.Name) }

// IssuedURL is the list of what it signed, of a state.
func (a authorityRow) IssuedURL(state string) string {
	return issuedURL("authority", a.Name, "state", state)
}

// EndingURL is the list of what it signed and that ends within a week.
func (a authorityRow) EndingURL() string {
	return issuedURL("authority", a.Name, "state", "good", "within", "7")
}

// LeftURL is the list of what was recalled and is not replaced.
func (a authorityRow) LeftURL() string {
	return issuedURL("authority", a.Name, "state", "recalled", "answered", "no")
}

func issuerURL(name string) string { return "/issuers/" + url.PathEscape(name) }

// issuedURL returns the address of the certificates that a few parameters let
// through: name, value, name, value. Empty values are left out.
func issuedURL(parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		if parameters[i+1] != "" {
			q.Set(parameters[i], parameters[i+1])
		}
	}
	return "/issued?" + q.Encode()
}

// A crlView is the complete list of a CA.
type crlView struct {
	revocation.Health
	Bad bool // late, expired or not there
}

// An upstreamRow is an issuer that renewals use.
type upstreamRow struct {
	renewal.IssuerState
	Budget string // "12 of 300 this hour"; "" without one
	URL    string // its renewals
	Bad    string // the list of those that fail; "" when none does
}

// issues says whether anything is issued, and answers the request otherwise.
func (s *Site) issues(w http.ResponseWriter, r *http.Request) bool {
	if s.Issuing == nil {
		s.render(w, r, http.StatusOK, "issuers", &issuersPage{frame: frame{Title: "Issuers", Section: "issuers"}})
		return false
	}
	return true
}

// renews says whether anything is renewed, and answers the request otherwise.
func (s *Site) renews(w http.ResponseWriter, r *http.Request) bool {
	if !s.issues(w, r) {
		return false
	}
	if s.Issuing.Renewals == nil {
		s.Error(w, r, errNoPage)
		return false
	}
	return true
}

// newestFailures is how many requests that failed the page shows.
const newestFailures = 5

// Issuers is the tree of CAs, and the issuers of other people.
func (s *Site) Issuers(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	p := &issuersPage{frame: frame{Title: "Issuers", Section: "issuers"}, Offers: issuerOffers("/issuers")}
	if err := s.fillIssuers(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "issuers", p)
}

func (s *Site) fillIssuers(r *http.Request, p *issuersPage) error {
	ctx, actor := r.Context(), actorOf(r)
	all, lists, err := s.authorities(r)
	if err != nil {
		return err
	}
	p.Authorities = tree(all, lists, s.Now())
	waiting, err := s.Issuing.CA.Requests(ctx, actor, store.RequestWaiting, 0, pageRows)
	if err != nil {
		return err
	}
	for _, state := range []string{store.RequestFailed, store.RequestRefused} {
		failures, err := s.Issuing.CA.Requests(ctx, actor, state, 0, newestFailures)
		if err != nil {
			return err
		}
		p.Failures = append(p.Failures, failures...)
	}
	if p.Upstream, err = s.upstream(r, actor); err != nil {
		return err
	}
	p.Needs = issuerNeeds(p, len(waiting))
	return nil
}

// authorities returns all CAs with their complete lists of revoked certificates.
func (s *Site) authorities(r *http.Request) ([]ca.Overview, map[string]*crlView, error) {
	all, err := s.Issuing.CA.Overview(r.Context(), actorOf(r))
	if err != nil {
		return nil, nil, err
	}
	health, err := s.Issuing.Health(r.Context(), actorOf(r))
	lists := map[string]*crlView{}
	for _, h := range health {
		if h.Shard == store.CompleteList {
			lists[h.Authority] = &crlView{h, h.State != revocation.Fresh || h.Error != ""}
		}
	}
	return all, lists, err
}

// upstream returns the issuers of other people that renewals use.
func (s *Site) upstream(r *http.Request, actor gate.Actor) ([]upstreamRow, error) {
	if s.Issuing.Renewals == nil {
		return nil, nil
	}
	states, err := s.Issuing.Renewals.IssuerStates(r.Context(), actor)
	if err != nil {
		return nil, err
	}
	var rows []upstreamRow
	for _, one := range states {
		if one.Driver == "ca" && one.Renewals == 0 {
			continue // it is in the tree
		}
		row := upstreamRow{IssuerState: one, URL: renewalsURL("issuer", one.Name)}
		switch {
		case one.PerHour > 0:
			row.Budget = number(one.LastHour) + " of " + number(int64(one.PerHour)) + " this hour"
		case one.PerWeek > 0:
			row.Budget = number(one.LastWeek) + " of " + number(int64(one.PerWeek)) + " this week"
		}
		if one.Failing > 0 {
			row.Bad = renewalsURL("issuer", one.Name, "state", "failing")
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// issuerNeeds answers the question of the page, the worst first.
func issuerNeeds(p *issuersPage, waiting int) []need {
	var needs []need
	add := func(n int64, words, address, after string) {
		if n > 0 {
			needs = append(needs, need{"", words, address, after})
		}
	}
	var sign, good, bad, fail int64
	for _, a := range p.Authorities {
		good += a.Counts.Good
		if a.Signs() {
			sign++
		}
		if a.CRL != nil && a.CRL.Bad {
			bad++
		}
	}
	for _, u := range p.Upstream {
		fail += u.Failing
	}
	add(bad, plural(bad, "CRL is", "CRLs are"), "/issuers#tree", " not fresh")
	add(fail, plural(fail, "renewal fails", "renewals fail"), "/renewals?state=failing", "")
	p.Loud = len(needs) > 0
	some := number(int64(waiting))
	if waiting == pageRows {
		some += " or more"
	}
	add(int64(waiting), some+verb(int64(waiting), " request waits", " requests wait"), "/requests", " for somebody's word")
	add(sign, plural(sign, "CA signs", "CAs sign"), "/issuers#tree", "")
	add(good, plural(good, "certificate is", "certificates are"), "/issued?state=good", " good")
	joinNeeds(needs)
	return needs
}

// Indent is the class of a depth.
func (a authorityRow) Indent() string { return "depth" + strconv.Itoa(a.Depth) }

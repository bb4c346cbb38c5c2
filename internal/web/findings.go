// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// findingsPage answers: what is wrong, worst first? Without a filter it shows
// the causes; with one, the findings.
type findingsPage struct {
	frame
	Groups []finding.Group
	Listed bool       // findings are shown, not causes
	Rule   *rule.Rule // that all of them are of, or nil
	Cards  []findingCard
	Filter store.FindingFilter
	State  string
	Values url.Values
	Chips  []chip
	Offers []offer
	Pager  pager
}

// Value returns what a parameter of the filter was given as.
func (p *findingsPage) Value(name string) string { return p.Values.Get(name) }

// findingRows is how many findings a page lists: each brings forms with it.
const findingRows = 25

// findingFields are the parameters of finding.ParseFilter.
var findingFields = []field{
	{"rule", "Rule"}, {"severity", "At least"}, {"owner", "Owner"}, {"assignee", "Assigned to"}, {"credential", "Credential"}, {"state", "State"},
}

// ListFindings is the findings, grouped by cause or as a list.
func (s *Site) ListFindings(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p := &findingsPage{
		frame: frame{Title: "Findings", Section: "findings"}, Values: q, State: q.Get("state"),
		Chips: chipsOf(r, findingFields), Offers: findingOffers(q),
	}
	p.Listed = len(p.Chips) > 0 || q.Get("list") == "true"
	var err error
	if p.Filter, err = finding.ParseFilter(q); err == nil {
		err = s.fillFindings(r, p)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "findings", p)
}

func (s *Site) fillFindings(r *http.Request, p *findingsPage) error {
	var err error
	if !p.Listed {
		p.Groups, err = s.Findings.Groups(r.Context(), actorOf(r))
		return err
	}
	at := pageRequest(p.Values)
	at.Limit = findingRows
	list, count, err := s.Findings.List(r.Context(), actorOf(r), p.Filter, at)
	if err != nil {
		return err
	}
	if p.Filter.Rule != "" {
		named := s.Findings.Rule(p.Filter.Rule)
		p.Rule, p.Title = &named, named.Title
	}
	p.Cards = s.cards(r, list.Items, true)
	for i := range p.Cards {
		if p.Rule == nil {
			p.Cards[i].RuleURL = "/findings?rule=" + p.Cards[i].Rule.Name
			p.Cards[i].ShowDo = true
		}
	}
	p.Pager = pagerOf(r, "after", count, list.Next)
	return nil
}

func findingOffers(q url.Values) []offer {
	offers := []offer{
		{Label: "By cause", URL: "/findings"},
		{Label: "Critical or high", URL: "/findings?severity=high"},
		{Label: "Assigned to nobody", URL: "/findings?assignee=-"},
		{Label: "Accepted", URL: "/findings?state=accepted"},
		{Label: "Closed", URL: "/findings?state=closed"},
	}
	is := url.Values{}
	for _, f := range findingFields {
		if v := q.Get(f.Name); v != "" {
			is.Set(f.Name, v)
		}
	}
	for i := range offers {
		u, err := url.Parse(offers[i].URL)
		offers[i].On = err == nil && u.RawQuery == is.Encode()
	}
	return offers
}

// AcceptFinding lets a finding stand until the end of a day.
func (s *Site) AcceptFinding(w http.ResponseWriter, r *http.Request) {
	until, err := inventory.ParseTime(r.PostFormValue("until"))
	if err == nil && until.Equal(until.Truncate(day)) {
		until = until.Add(day) // the day is included
	}
	s.changeFinding(w, r, "accepted", err, func(id int64) error {
		return s.Findings.Accept(r.Context(), actorOf(r), id, r.PostFormValue("reason"), until)
	})
}

// ReopenFinding takes an acceptance back.
func (s *Site) ReopenFinding(w http.ResponseWriter, r *http.Request) {
	s.changeFinding(w, r, "reopened", nil, func(id int64) error { return s.Findings.Reopen(r.Context(), actorOf(r), id) })
}

// AssignFinding says who is to see to a finding.
func (s *Site) AssignFinding(w http.ResponseWriter, r *http.Request) {
	s.changeFinding(w, r, "assigned", nil, func(id int64) error {
		return s.Findings.Assign(r.Context(), actorOf(r), id, r.PostFormValue("assignee"))
	})
}

// changeFinding does something to the finding of the path and leads back.
func (s *Site) changeFinding(w http.ResponseWriter, r *http.Request, word string, before error, change func(int64) error) {
	id, err := numberOf(r.PathValue("id"))
	if err = errors.Join(before, err); err == nil {
		err = change(id)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/findings"), word)
}

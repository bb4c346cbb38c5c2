// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// findingsPage answers: what is wrong, worst first? Without a filter it shows
// the causes; with one, the findings.
type findingsPage struct {
	frame
	Groups  []finding.Group
	Listed  bool       // findings are shown, not causes
	Rule    *rule.Rule // that all of them are of, or nil
	Cards   []findingCard
	All     allOf   // what can be done to all that are listed
	Partly  int     // of how many the folders are, when they are not of all
	Folders []offer // the places that they are at, to narrow the list
	Filter  store.FindingFilter
	State   string
	Values  url.Values
	Chips   []chip
	Offers  []offer
	Pager   pager
	Back    string // where forms lead back to
}

// Value returns what a parameter of the filter was given as.
func (p *findingsPage) Value(name string) string { return p.Values.Get(name) }

// findingRows is how many findings a page lists: each brings forms with it.
const findingRows = 25

// findingFields are the parameters of finding.ParseFilter.
var findingFields = []field{
	{"rule", "Rule"}, {"severity", "At least"}, {"owner", "Owner"}, {"assignee", "Assigned to"}, {"credential", "Credential"}, {"place", "Place"}, {"state", "State"},
}

// ListFindings is the findings, grouped by cause or as a list.
func (s *Site) ListFindings(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p := &findingsPage{
		frame: frame{Title: "Findings", Section: "findings"}, Values: q, State: q.Get("state"),
		Chips: chipsOf(r, findingFields), Offers: findingOffers(q), Back: fromStart(here(r)),
	}
	p.Listed = len(p.Chips) > 0 || q.Get("list") == "true"
	var err error
	if p.Filter, err = finding.ParseFilter(q, s.Findings.RuleNames()); err == nil {
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
	if err := s.fillAll(r, p, count); err != nil {
		return err
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
	until, err := lastDay(r)
	s.changeFinding(w, r, "accepted", err, func(one finding.Selection) (int, error) {
		return s.Findings.Accept(r.Context(), actorOf(r), one, r.PostFormValue("reason"), until)
	})
}

// lastDay reads until when to accept: to the end of the day that is given.
func lastDay(r *http.Request) (time.Time, error) {
	until, err := query.ParseTime(r.PostFormValue("until"))
	if err == nil && until.Equal(until.Truncate(day)) {
		until = until.Add(day)
	}
	return until, err
}

// ReopenFinding takes an acceptance back.
func (s *Site) ReopenFinding(w http.ResponseWriter, r *http.Request) {
	s.changeFinding(w, r, "reopened", nil, func(one finding.Selection) (int, error) { return s.Findings.Reopen(r.Context(), actorOf(r), one) })
}

// AssignFinding says who is to see to a finding.
func (s *Site) AssignFinding(w http.ResponseWriter, r *http.Request) {
	s.changeFinding(w, r, "assigned", nil, func(one finding.Selection) (int, error) {
		return s.Findings.Assign(r.Context(), actorOf(r), one, r.PostFormValue("assignee"))
	})
}

// changeFinding does something to the finding of the path and leads back.
func (s *Site) changeFinding(w http.ResponseWriter, r *http.Request, word string, before error, change func(finding.Selection) (int, error)) {
	id, err := numberOf(r.PathValue("id"))
	if err = errors.Join(before, err); err == nil {
		_, err = change(finding.One(id))
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/findings"), word)
}

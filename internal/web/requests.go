// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// requestsPage answers: who waits for my word, and what was refused?
type requestsPage struct {
	frame
	Offers  []offer
	States  []offer
	Waiting []requestRow // at the top of the first page
	Rows    []requestRow
	Pager   pager
	State   string
	Loud    bool
}

// A requestRow is a request as the page shows it.
type requestRow struct {
	store.IssueRequest
	Mine  bool // whoever looks has asked for it
	Names []string
	More  int64
	URL   string // of what was issued
}

// requestStates are what a request can be.
func requestStates() []string {
	return []string{store.RequestWaiting, store.RequestIssued, store.RequestRefused, store.RequestFailed}
}

// Requests is what was asked for and not issued at once.
func (s *Site) Requests(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	q := r.URL.Query()
	p := &requestsPage{frame: frame{Title: "Requests", Section: "issuers"}, Offers: issuerOffers("/requests"), State: q.Get("state")}
	if p.State != "" && !slices.Contains(requestStates(), p.State) {
		s.Error(w, r, fmt.Errorf("%w: there is no state %q: it is one of %s", tallystick.ErrInvalid, clip(40, p.State), strings.Join(requestStates(), ", ")))
		return
	}
	before, err := numberOf(q.Get("after"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p.States = []offer{{Label: "All", URL: "/requests", On: p.State == ""}}
	for _, state := range requestStates() {
		p.States = append(p.States, offer{Label: strings.ToUpper(state[:1]) + state[1:], URL: "/requests?state=" + state, On: p.State == state})
	}
	if p.State == "" && before == 0 {
		if p.Waiting, err = s.requests(r, store.RequestWaiting, 0); err != nil {
			s.Error(w, r, err)
			return
		}
	}
	if p.Rows, err = s.requests(r, p.State, before); err != nil {
		s.Error(w, r, err)
		return
	}
	next := ""
	if len(p.Rows) == pageRows {
		next = strconv.FormatInt(p.Rows[pageRows-1].ID, 10)
	}
	p.Pager = pagerOf(r, "after", 0, next)
	if len(p.Waiting) > 0 {
		p.Rows = slices.DeleteFunc(p.Rows, func(row requestRow) bool { return row.State == store.RequestWaiting })
	}
	s.render(w, r, http.StatusOK, "requests", p)
}

func (s *Site) requests(r *http.Request, state string, before int64) ([]requestRow, error) {
	list, err := s.Issuing.CA.Requests(r.Context(), actorOf(r), state, before, pageRows)
	rows := make([]requestRow, 0, len(list))
	for _, one := range list {
		row := requestRow{IssueRequest: one, Mine: one.Requester == actorOf(r).Name, Names: head(5, one.Names), More: int64(max(0, len(one.Names)-5))}
		if len(one.Serial) > 0 {
			row.URL = "/issued/" + hex.EncodeToString(one.Serial)
		}
		rows = append(rows, row)
	}
	return rows, err
}

// DecideRequest approves or refuses, as the address says.
func (s *Site) DecideRequest(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	id, err := numberOf(r.PathValue("id"))
	word := "request-approved"
	switch {
	case err != nil:
	case r.PathValue("verb") == "approve":
		_, err = s.Issuing.CA.Approve(r.Context(), actorOf(r), id)
	case r.PathValue("verb") == "refuse":
		word = "request-refused"
		why := clip(500, strings.TrimSpace(r.PostFormValue("why")))
		if why == "" {
			err = fmt.Errorf("%w: say why it is refused", tallystick.ErrInvalid)
			break
		}
		err = s.Issuing.CA.RefuseRequest(r.Context(), actorOf(r), id, why)
	default:
		err = errNoPage
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/requests", word)
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/query"
)

// auditPage answers: who did what, allowed or denied?
type auditPage struct {
	frame
	Filter   audit.Filter
	Values   url.Values
	Chips    []chip
	Entries  []audit.Entry
	Pager    pager
	Verified *audit.Report // nil unless it was asked for
	Key      string
}

// Value returns what a parameter of the filter was given as.
func (p *auditPage) Value(name string) string { return p.Values.Get(name) }

// auditFields are the parameters of a filter for the log.
var auditFields = []field{{"actor", "Who"}, {"action", "Action"}, {"denied", "Denied only"}, {"since", "Since"}, {"until", "Before"}}

// ListAudit is the audit log; with the parameter verify it is verified as well.
func (s *Site) ListAudit(w http.ResponseWriter, r *http.Request) {
	p := &auditPage{
		frame: frame{Title: "Audit", Section: "audit"}, Values: r.URL.Query(), Chips: chipsOf(r, auditFields),
	}
	if err := s.fillAudit(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "audit", p)
}

func (s *Site) fillAudit(r *http.Request, p *auditPage) error {
	records := gate.Records{Gate: s.Gate, Log: s.Audit}
	before, err := numberOf(p.Value("before"))
	if err != nil {
		return err
	}
	if p.Filter, err = auditFilter(p.Values); err != nil {
		return err
	}
	if p.Entries, err = records.List(r.Context(), actorOf(r), p.Filter, before, pageRows+1); err != nil {
		return err
	}
	var next string
	if len(p.Entries) > pageRows {
		p.Entries = p.Entries[:pageRows]
		next = fmt.Sprint(p.Entries[pageRows-1].ID)
	}
	p.Pager = pagerOf(r, "before", 0, next)
	p.Key = s.Audit.VerifierKey()
	if p.Value("verify") != "true" {
		return nil
	}
	report, err := records.Verify(r.Context(), actorOf(r))
	p.Verified = &report
	return err
}

// auditFilter reads a filter from the parameters of an address: actor, action,
// denied ("true"), since and until (a day or RFC 3339).
func auditFilter(q url.Values) (audit.Filter, error) {
	f := audit.Filter{Actor: q.Get("actor"), Action: q.Get("action"), Denied: q.Get("denied") == "true"}
	var err error
	if f.Since, err = query.ParseTime(q.Get("since")); err != nil {
		return f, err
	}
	f.Until, err = query.ParseTime(q.Get("until"))
	return f, err
}

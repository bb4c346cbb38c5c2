// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// usesPage answers: who used what, from where, and did both sides see it?
type usesPage struct {
	frame
	Needs     []need
	Ranges    []offer
	Range     string // "the last week", "this time"
	Chips     []chip
	Offers    []offer // lists of records
	Values    url.Values
	Mirror    mirror
	Incidents []usage.Incident
	// MoreIncidents counts those of the time that are not listed.
	MoreIncidents int64
	Silent        int64 // books
	Listed        bool  // records are shown
	Narrowed      bool  // the list is of less than the axis
	Records       []usage.Record
	Pager         pager
}

// Value returns what a parameter of the filter was given as.
func (p *usesPage) Value(name string) string { return p.Values.Get(name) }

// useFields are the parameters of useFilter.
var useFields = []field{
	{"credential", "Credential"}, {"verdict", "Verdict"}, {"side", "Side"}, {"source", "Book"}, {"relying_party", "Relying party"}, {"address", "From address"},
	{"from", "From"}, {"to", "Until"},
}

// useRows is how many records a page lists; incidentRows how many incidents.
const (
	useRows      = 50
	incidentRows = 10
)

// useFilter reads a filter from the parameters of an address, with the time that
// it is about; word is that of a range, "" when the time was given.
func useFilter(now time.Time, q url.Values) (f usage.Filter, word string, err error) {
	if f, err = usage.ParseFilter(q); err == nil {
		f.From, f.To, word, err = rangeOf(now, q)
	}
	return f, word, err
}

// Uses is all uses of a time: both sides on one axis, what is foreign by
// incident, and the records where a filter asks for them.
func (s *Site) Uses(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p := &usesPage{frame: frame{Title: "Uses", Section: "uses"}, Values: q, Chips: chipsOf(r, useFields)}
	f, word, err := useFilter(s.Now(), q)
	if err == nil {
		p.Range = "this time"
		if word != "" {
			p.Range = "the last " + word
		}
		p.Ranges = rangeOffers(r, word)
		p.Offers = verdictOffers(r, q)
		err = s.fillUses(r, p, f)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "uses", p)
}

func (s *Site) fillUses(r *http.Request, p *usesPage, f usage.Filter) error {
	ctx, actor := r.Context(), actorOf(r)
	chart, err := s.Usage.Chart(ctx, actor, f)
	if err != nil {
		return err
	}
	p.Mirror = mirrorOf(s.Now(), chart, here(r))
	f.From, f.To = chart.From, chart.To // whole steps, so that the lists have what the bars count
	of := usage.IncidentFilter{Credential: f.Credential, From: f.From, To: f.To}
	incidents, count, err := s.Usage.Incidents(ctx, actor, of, store.PageRequest{Limit: incidentRows})
	if err != nil {
		return err
	}
	p.Incidents, p.MoreIncidents = incidents.Items, max(0, count-int64(len(incidents.Items)))
	silent, err := s.silentBooks(ctx, actor)
	if err != nil {
		return err
	}
	p.Silent = int64(len(silent))
	p.Needs = useNeeds(p.Mirror.Sums, here(r), f.Credential != "")
	p.Listed = p.Values.Get("list") == "true"
	for _, of := range useFields {
		set := of.Name != "from" && of.Name != "to" && p.Value(of.Name) != ""
		p.Listed, p.Narrowed = p.Listed || set, p.Narrowed || set && of.Name != "credential"
	}
	if !p.Listed {
		return nil
	}
	list, count, err := s.Usage.Records(ctx, actor, f, store.PageRequest{After: p.Value("after"), Limit: useRows})
	if err != nil {
		return err
	}
	p.Records, p.Pager = list.Items, pagerOf(r, "after", count, list.Next)
	return nil
}

// useNeeds says what is not as it should be, the worst first; address is that of
// the view, and one says that it is about one credential.
func useNeeds(sums usage.Bin, address string, one bool) []need {
	var needs []need
	add := func(n int64, single, many, after string, verdict tallystick.Verdict) {
		if n == 0 {
			return
		}
		clause := need{"", plural(n, single, many), withParameter(fromStart(address), "verdict", string(verdict)), after}
		if verdict == tallystick.VerdictPending && !one {
			clause.URL = "" // they are listed of one credential at a time
		}
		needs = append(needs, clause)
	}
	add(sums.Foreign, "foreign use", "foreign uses", "", tallystick.VerdictForeign)
	add(sums.Unconfirmed, "use", "uses", " made here and not seen there", tallystick.VerdictUnconfirmed)
	add(sums.Pending, "use", "uses", " that "+verb(sums.Pending, "waits", "wait")+" for a book", tallystick.VerdictPending)
	add(sums.Attempts, "attempt", "attempts", " that did not show the key", tallystick.VerdictAttempt)
	joinNeeds(needs)
	return needs
}

// rangeOffers are the ranges, each with the rest of the filter as it is.
func rangeOffers(r *http.Request, word string) []offer {
	base := withParameter(withParameter(fromStart(here(r)), "from", ""), "to", "")
	var list []offer
	for _, of := range ranges {
		list = append(list, offer{Label: "Last " + of.word, URL: withParameter(base, "range", of.word), On: of.word == word})
	}
	return list
}

// verdictOffers are the lists of records, of the same time. What is matched is
// listed of one credential at a time.
func verdictOffers(r *http.Request, q url.Values) []offer {
	base := withParameter(fromStart(here(r)), "list", "")
	is, listed := q.Get("verdict"), q.Get("list") == "true"
	verdicts := []field{{"foreign", "Foreign"}, {"unconfirmed", "Unconfirmed"}, {"attempt", "Attempts"}}
	whole := "All that are not matched"
	if q.Get("credential") != "" {
		verdicts = append(verdicts, field{"pending", "Pending"}, field{"matched", "Matched"})
		whole = "All"
	}
	var list []offer
	for _, of := range verdicts {
		list = append(list, offer{Label: of.Label, URL: withParameter(base, "verdict", of.Name), On: is == of.Name})
	}
	all := withParameter(withParameter(base, "verdict", ""), "list", "true")
	return append(list, offer{Label: whole, URL: all, On: listed && is == ""})
}

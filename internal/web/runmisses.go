// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// runMissesPage answers: where could a look not see, and why?
type runMissesPage struct {
	frame
	Run    store.Run
	Word   string
	Chips  []chip
	Offers []offer
	Rows   []tallystick.Miss
	Pager  pager
}

// RunMisses is the list of what a run could not see for one reason.
func (s *Site) RunMisses(w http.ResponseWriter, r *http.Request) {
	id, err := numberOf(r.PathValue("id"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	q := r.URL.Query()
	filter, after := store.MissFilter{Word: q.Get("error"), Network: q.Get("network")}, tallystick.Place(q.Get("after"))
	report, err := s.Discovery.Report(r.Context(), actorOf(r), id, 0)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	misses, err := s.Discovery.Misses(r.Context(), actorOf(r), id, filter, after, pageRows+1)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	var next string
	if len(misses) > pageRows {
		misses = misses[:pageRows]
		next = string(misses[pageRows-1].Place)
	}
	p := &runMissesPage{
		frame: frame{Title: fmt.Sprintf("Not seen by run %d", id), Section: "runs"},
		Run:   report.Run, Word: filter.Word, Rows: misses, Chips: chipsOf(r, []field{{"network", "Network"}}), Pager: pagerOf(r, "after", report.Missed[filter.Word], next),
	}
	lists, err := s.missLists(r.Context(), actorOf(r), report)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	for _, l := range lists {
		p.Offers = append(p.Offers, offer{clip(40, l.Word) + " " + number(l.Count), missesURL(id, l.Word, filter.Network), l.Word == filter.Word})
	}
	s.render(w, r, http.StatusOK, "runmisses", p)
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

// runPage answers: what did this look change?
type runPage struct {
	frame
	Run     runView
	Where   string
	Changes []changeList
	Quiet   bool // it has ended and changed nothing
	Misses  []tallystick.Miss
	More    int // misses that were read and are not shown
}

// A changeList is one sort of change; its numbers are of what a report holds.
type changeList struct {
	Title, Key string
	Rows       []store.RunChange
	More       int
}

// changeRows is how many changes of a sort, and how many misses, a page shows.
const changeRows = 80

// Run is one run.
func (s *Site) Run(w http.ResponseWriter, r *http.Request) {
	id, err := numberOf(r.PathValue("id"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	report, err := s.Discovery.Report(r.Context(), actorOf(r), id)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	run := viewRun(s.Now(), report.Run)
	where := list(report.Run.Targets)
	if where == "" {
		where = "this machine"
	}
	p := &runPage{
		frame: frame{Title: fmt.Sprintf("Run %d, %s", id, report.Run.Source), Section: "runs"},
		Run:   run, Where: where, Changes: changesOf(report),
		Misses: head(changeRows, report.Misses), More: max(0, len(report.Misses)-changeRows),
	}
	p.Quiet = !run.Live && len(p.Changes) == 0
	s.render(w, r, http.StatusOK, "run", p)
}

// changesOf sorts the changes of a report. What went because something of the
// same name came to its place is told once, with what came.
func changesOf(report discovery.Report) []changeList {
	sorts := []changeList{{Title: "Renewed", Key: "renewed"}, {Title: "New", Key: "appeared"}, {Title: "Back again", Key: "returned"}, {Title: "Gone", Key: "vanished"}}
	type spot struct {
		credential tallystick.Fingerprint
		place      tallystick.Place
	}
	replaced := map[spot]bool{}
	add := func(i int, change store.RunChange) { sorts[i].Rows = append(sorts[i].Rows, change) }
	for _, change := range report.Appeared {
		switch {
		case change.Replaces != "":
			replaced[spot{change.Replaces, change.Place}] = true
			add(0, change)
		case change.Kind == "returned":
			add(2, change)
		default:
			add(1, change)
		}
	}
	for _, change := range report.Vanished {
		if !replaced[spot{change.Credential, change.Place}] {
			add(3, change)
		}
	}
	var lists []changeList
	for _, l := range sorts {
		if len(l.Rows) > 0 {
			l.More = max(0, len(l.Rows)-changeRows)
			l.Rows = head(changeRows, l.Rows)
			lists = append(lists, l)
		}
	}
	return lists
}

// CancelRun ends a run.
func (s *Site) CancelRun(w http.ResponseWriter, r *http.Request) {
	id, err := numberOf(r.PathValue("id"))
	if err == nil {
		err = s.Discovery.Cancel(r.Context(), actorOf(r), id)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, fmt.Sprintf("/runs/%d", id), "cancelled")
}

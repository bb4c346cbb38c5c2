// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick"
)

// recallsPage answers: what are we replacing, and does anything wait for me?
type recallsPage struct {
	frame
	Rows  []recallRow
	Needs int64 // that wait for somebody
	Pager pager
	Off   bool // nothing is recalled here
}

// A recallRow is a recall in the list.
type recallRow struct {
	tallystick.Recall
	Path       string
	Burnt      string
	StateWord  string
	Total      int64
	Proven     int64
	Failed     int64
	Percent    int64
	Loud       bool // it needs somebody
	Unfinished bool
}

// ListRecalls are all recalls, the newest first.
func (s *Site) ListRecalls(w http.ResponseWriter, r *http.Request) {
	p := &recallsPage{frame: frame{Title: "Recalls", Section: "recalls"}, Off: s.Recalls == nil}
	if err := s.fillRecalls(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "recalls", p)
}

func (s *Site) fillRecalls(r *http.Request, p *recallsPage) error {
	if p.Off {
		return nil
	}
	before, err := numberOf(r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	list, err := s.Recalls.List(r.Context(), actorOf(r), before, pageRows)
	if err != nil {
		return err
	}
	for _, one := range list {
		row, err := s.recallRow(r, one)
		if err != nil {
			return err
		}
		if row.Loud {
			p.Needs++
		}
		p.Rows = append(p.Rows, row)
	}
	next := ""
	if len(list) == pageRows {
		next = fmt.Sprint(list[pageRows-1].ID)
	}
	p.Pager = pagerOf(r, "before", 0, next)
	return nil
}

func (s *Site) recallRow(r *http.Request, one tallystick.Recall) (recallRow, error) {
	row := recallRow{
		Recall: one, Path: recallPath(one.Name), Burnt: burntWords(one.What), StateWord: stateWord(one.State), Unfinished: !one.State.Over(),
		Loud: one.State == tallystick.RecallWaiting || one.State == tallystick.RecallApproved || one.State == tallystick.RecallStopped,
	}
	counts, err := s.Recalls.DB.CountRecallTargets(r.Context(), one.ID)
	for _, c := range counts {
		row.Total += c.Count
		switch c.State {
		case tallystick.TargetProven, tallystick.TargetSkipped:
			row.Proven += c.Count
		case tallystick.TargetFailed, tallystick.TargetUndone:
			row.Failed += c.Count
		}
	}
	if row.Total > 0 {
		row.Percent = row.Proven * 100 / row.Total
	}
	return row, err
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
)

// recallTargetsPage answers: which places and connections are how far?
type recallTargetsPage struct {
	frame
	Recall tallystick.Recall
	Path   string
	Offers []offer
	Chips  []chip
	Rows   []recallTargetRow
	Pager  pager
	Values url.Values
}

// Value is what the filter has in a field.
func (p *recallTargetsPage) Value(name string) string { return p.Values.Get(name) }

// recallTargetFields are the parameters of the filter.
var recallTargetFields = []field{{"state", "State"}, {"wave", "Wave"}, {"kind", "Kind"}, {"door", "Door"}, {"owner", "Owner"}, {"late", "Late"}}

// RecallTargets is the list of a recall's targets.
func (s *Site) RecallTargets(w http.ResponseWriter, r *http.Request) {
	p, err := s.recallTargetsPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "recalltargets", p)
}

func (s *Site) recallTargetsPage(r *http.Request) (*recallTargetsPage, error) {
	one, err := s.recallOf(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	wave, err := numberOf(q.Get("wave"))
	if err != nil {
		return nil, err
	}
	after, err := numberOf(q.Get("after"))
	if err != nil {
		return nil, err
	}
	f := recall.Filter{State: q.Get("state"), Wave: int(wave), Kind: q.Get("kind"), Door: q.Get("door"), Owner: q.Get("owner"), Late: q.Get("late") == "true"}
	list, err := s.Recalls.Targets(r.Context(), actorOf(r), one.ID, f, after, pageRows)
	if err != nil {
		return nil, err
	}
	p := &recallTargetsPage{frame: frame{Title: "Places and connections of " + one.Name, Section: "recalls"}, Recall: one, Path: recallPath(one.Name), Chips: chipsOf(r, recallTargetFields), Values: q}
	for _, t := range list {
		p.Rows = append(p.Rows, targetRow(one, t))
	}
	next := ""
	if len(list) == pageRows {
		next = fmt.Sprint(list[pageRows-1].ID)
	}
	p.Pager = pagerOf(r, "after", 0, next)
	p.Offers = []offer{{Label: "All", URL: p.Path + "/targets", On: len(p.Chips) == 0}}
	for _, state := range recallTargetStates(one) {
		p.Offers = append(p.Offers, offer{Label: targetWord(one, state), URL: withParameter(p.Path+"/targets", "state", state), On: q.Get("state") == state})
	}
	return p, nil
}

// recallTargetStates are the states of targets, in the order in which people look for them.
func recallTargetStates(one tallystick.Recall) []string {
	states := []string{tallystick.TargetFailed}
	for _, phase := range phasesOf(one) {
		states = append(states, string(phase))
	}
	return append(states, tallystick.TargetProven, tallystick.TargetSkipped, tallystick.TargetUndone)
}

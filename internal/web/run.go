// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// runPage answers: what did this look change?
type runPage struct {
	frame
	Run     runView
	Where   string
	Since   *store.Run  // what it is compared with, if asked
	First   string      // what a first look found: "12 certificates, 1 key"
	ListAll string      // address of that as a list
	Parts   []changeSum // the sentence
	Lists   []changeList
	Missed  []missList
	Earlier []store.Run // that it can be compared with
}

// A changeSum is a part of the sentence that says what changed.
type changeSum struct {
	URL, Count, Words string
}

// A changeList is the beginning of the changes of one kind.
type changeList struct {
	Title, Key, URL string
	Count           int64
	Rows            []changeRow
}

// A missList is the beginning of what could not be seen for one reason.
type missList struct {
	Word, URL string
	Count     int64
	Rows      []tallystick.Miss
}

const (
	changeRows = 20 // of each kind on the page of a run
	missRows   = 5  // of each reason
	missWords  = 12 // reasons
	earlier    = 50 // runs to compare with
)

// changeTitles are the heads of the lists.
var changeTitles = map[string]string{
	store.ChangeNew: "New", store.ChangeGone: "Gone", store.ChangeRenewed: "Renewed", store.ChangeWentBack: "Went back to an older certificate",
	store.ChangeReturned: "Back again", store.ChangeFacts: "Changed", store.ChangeReplaced: "Replaced",
}

// Run is one run.
func (s *Site) Run(w http.ResponseWriter, r *http.Request) {
	p, err := s.runPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "run", p)
}

func (s *Site) runPage(r *http.Request) (*runPage, error) {
	id, since, err := runAndSince(r)
	if err != nil {
		return nil, err
	}
	ctx, actor := r.Context(), actorOf(r)
	report, err := s.Discovery.Report(ctx, actor, id, since)
	if err != nil {
		return nil, err
	}
	p := &runPage{
		frame: frame{Title: fmt.Sprintf("Run %d, %s", id, report.Run.Source), Section: "runs"},
		Run:   viewRun(s.Now(), report.Run), Where: whereOf(report.Run.Targets), Since: report.Since,
	}
	if err := s.fillChanges(r, p, report); err != nil {
		return nil, err
	}
	if p.Missed, err = s.missLists(ctx, actor, report); err != nil {
		return nil, err
	}
	p.Earlier, err = s.Discovery.Runs(ctx, actor, report.Run.Source, id, earlier)
	return p, err
}

// runAndSince reads the numbers of a run, and of the one it is compared with.
func runAndSince(r *http.Request) (id, since int64, err error) {
	if id, err = numberOf(r.PathValue("id")); err == nil {
		since, err = numberOf(r.URL.Query().Get("since"))
	}
	return id, since, err
}

// whereOf says what a run or a job looks at.
func whereOf(targets []string) string {
	if len(targets) == 0 {
		return "this machine"
	}
	return list(targets)
}

// fillChanges tells what changed: of a first look only the numbers.
func (s *Site) fillChanges(r *http.Request, p *runPage, report discovery.Report) error {
	id, since := report.Run.ID, int64(0)
	if report.Since != nil {
		since = report.Since.ID
	}
	if report.Changes.First && report.Changes.New > 0 {
		p.First, p.ListAll = discovery.Kinds(report.Changes), changesURL(id, since, store.ChangeNew)
		return nil
	}
	for _, d := range discovery.Differences(report.Changes) {
		address := changesURL(id, since, d.Kind)
		p.Parts = append(p.Parts, changeSum{address, number(d.Count), d.Words})
		page, err := s.Discovery.ListChanges(r.Context(), actorOf(r), id, since, d.Kind, store.PageRequest{Limit: changeRows})
		if err != nil {
			return err
		}
		p.Lists = append(p.Lists, changeList{changeTitles[d.Kind], d.Kind, address, d.Count, rowsOf(page.Items)})
	}
	return nil
}

func changesURL(id, since int64, kind string) string {
	q := url.Values{"kind": {kind}}
	if since > 0 {
		q.Set("since", fmt.Sprint(since))
	}
	return fmt.Sprintf("/runs/%d/changes?%s", id, q.Encode())
}

// missLists are the reasons for which something was not seen, the most first.
func (s *Site) missLists(ctx context.Context, actor gate.Actor, report discovery.Report) ([]missList, error) {
	words := slices.SortedFunc(maps.Keys(report.Missed), func(a, b string) int { return int(report.Missed[b] - report.Missed[a]) })
	var lists []missList
	for _, word := range head(missWords, words) {
		rows, err := s.Discovery.Misses(ctx, actor, report.Run.ID, store.MissFilter{Word: word}, "", missRows)
		if err != nil {
			return nil, err
		}
		lists = append(lists, missList{word, missesURL(report.Run.ID, word, ""), report.Missed[word], rows})
	}
	return lists, nil
}

func missesURL(run int64, word, network string) string {
	q := url.Values{"error": {word}}
	if network != "" {
		q.Set("network", network)
	}
	return fmt.Sprintf("/runs/%d/misses?%s", run, q.Encode())
}

// CancelRun ends a run.
func (s *Site) CancelRun(w http.ResponseWriter, r *http.Request) {
	s.turnRun(w, r, s.Discovery.Cancel, "cancelled")
}

// PauseRun keeps a run from going on.
func (s *Site) PauseRun(w http.ResponseWriter, r *http.Request) {
	s.turnRun(w, r, s.Discovery.Pause, "paused")
}

// ResumeRun lets a paused run go on.
func (s *Site) ResumeRun(w http.ResponseWriter, r *http.Request) {
	s.turnRun(w, r, s.Discovery.Resume, "resumed")
}

func (s *Site) turnRun(w http.ResponseWriter, r *http.Request, turn func(context.Context, gate.Actor, int64) error, word string) {
	id, err := numberOf(r.PathValue("id"))
	if err == nil {
		err = turn(r.Context(), actorOf(r), id)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, fmt.Sprintf("/runs/%d", id), word)
}

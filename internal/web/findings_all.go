// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/store"
)

// An allOf is the forms that change every finding that a filter names.
type allOf struct {
	Count                       int64   // 0 shows no form
	Elsewhere                   int64   // named by the filter and left out, see finding.Engine.Select
	Fields                      []field // of the filter, as hidden fields: name and value
	Accepted                    bool    // all of them are accepted, and can be reopened
	Tomorrow, Quarter, NextYear string
}

// fillAll says what can be done to all that are listed, and where they are.
func (s *Site) fillAll(r *http.Request, p *findingsPage, count int64) error {
	if err := s.fillFolders(r, p, count); err != nil {
		return err
	}
	operator := (&frame{Actor: actorOf(r)}).MayChange()
	f := p.Filter
	if !operator || f.Closed || f.All || f.Rule == "" && f.Place == "" && f.Credential == "" || count >= store.CountCap {
		return nil
	}
	within := count
	if f.Place != "" {
		f.Within = true
		var err error
		if _, within, err = s.Findings.List(r.Context(), actorOf(r), f, store.PageRequest{Limit: 1}); err != nil {
			return err
		}
	}
	today := s.Now().UTC()
	on := func(days int) string { return today.AddDate(0, 0, days).Format(time.DateOnly) }
	p.All = allOf{Count: within, Elsewhere: count - within, Accepted: f.Accepted, Tomorrow: on(1), Quarter: on(90), NextYear: on(364)}
	for _, of := range findingFields {
		if v := p.Values.Get(of.Name); v != "" {
			name := of.Name
			if name == "assignee" {
				name = "assigned_to" // a form has a field of its own for whom to assign to
			}
			p.All.Fields = append(p.All.Fields, field{name, v})
		}
	}
	return nil
}

// folderSample is how many findings the folders are made of.
const folderSample = 500

// fillFolders offers the places beneath which the listed findings are.
func (s *Site) fillFolders(r *http.Request, p *findingsPage, count int64) error {
	if count <= 1 {
		return nil
	}
	list, _, err := s.Findings.List(r.Context(), actorOf(r), p.Filter, store.PageRequest{Limit: folderSample})
	if err != nil {
		return err
	}
	if count > folderSample {
		p.Partly = folderSample
	}
	var places []tallystick.Place
	for _, f := range list.Items {
		if at := f.At(); at != "" {
			places = append(places, at)
		}
	}
	for _, folder := range head(mostFolders, foldersOf(places)) {
		label := shortPlace(folder.Name, 48)
		if count <= folderSample {
			label += " " + number(folder.Count)
		}
		p.Folders = append(p.Folders, offer{Label: label, URL: withParameter(fromStart(here(r)), "place", folder.Name)})
	}
	return nil
}

// mostFolders is how many folders are offered.
const mostFolders = 8

// foldersOf counts places by the first part of their paths in which they
// differ, the most first; when they do not differ there are none.
func foldersOf(places []tallystick.Place) []store.Count {
	for depth := 1; depth < 64; depth++ {
		counts := map[string]int64{}
		whole := true
		for _, place := range places {
			folder, ended := folderAt(place, depth)
			counts[folder]++
			whole = whole && ended
		}
		if len(counts) > 1 {
			return sortedCounts(counts)
		}
		if whole {
			return nil
		}
	}
	return nil
}

func sortedCounts(counts map[string]int64) []store.Count {
	var list []store.Count
	for name, n := range counts {
		list = append(list, store.Count{Name: name, Count: n})
	}
	slices.SortFunc(list, func(a, b store.Count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return list
}

// folderAt returns the first parts of the path of a place, and whether that is
// all of it. An endpoint has one part, its host and port.
func folderAt(place tallystick.Place, depth int) (string, bool) {
	scheme, rest, _ := strings.Cut(string(place), "://")
	if scheme != "file" && scheme != "truststore" {
		return string(place), true
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	n := min(depth, len(parts))
	return scheme + ":///" + strings.Join(parts[:n], "/"), n == len(parts)
}

// shortPlace shortens a place in the middle: how it begins and how it ends say
// most.
func shortPlace(place string, limit int) string {
	runes := []rune(place)
	if len(runes) <= limit {
		return place
	}
	begin := limit / 3
	return string(runes[:begin]) + "…" + string(runes[len(runes)-(limit-begin-1):])
}

// AcceptFindings lets every finding that the form's filter names stand until the
// end of a day.
func (s *Site) AcceptFindings(w http.ResponseWriter, r *http.Request) {
	until, err := lastDay(r)
	s.changeFindings(w, r, "all-accepted", err, func(all finding.Selection) (int, error) {
		return s.Findings.Accept(r.Context(), actorOf(r), all, r.PostFormValue("reason"), until)
	})
}

// ReopenFindings takes the acceptances back.
func (s *Site) ReopenFindings(w http.ResponseWriter, r *http.Request) {
	s.changeFindings(w, r, "all-reopened", nil, func(all finding.Selection) (int, error) { return s.Findings.Reopen(r.Context(), actorOf(r), all) })
}

// AssignFindings says who is to see to them.
func (s *Site) AssignFindings(w http.ResponseWriter, r *http.Request) {
	s.changeFindings(w, r, "all-assigned", nil, func(all finding.Selection) (int, error) {
		return s.Findings.Assign(r.Context(), actorOf(r), all, r.PostFormValue("assignee"))
	})
}

// changeFindings does something to all that the form's filter names, if they
// are as many as the page said.
func (s *Site) changeFindings(w http.ResponseWriter, r *http.Request, word string, before error, change func(finding.Selection) (int, error)) {
	err := before
	if err == nil {
		err = s.changeSelected(r, change)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/findings"), word)
}

func (s *Site) changeSelected(r *http.Request, change func(finding.Selection) (int, error)) error {
	q := url.Values{}
	for _, f := range findingFields {
		q.Set(f.Name, r.PostFormValue(f.Name))
	}
	q.Set("assignee", r.PostFormValue("assigned_to"))
	filter, err := finding.ParseFilter(q, s.Findings.RuleNames())
	if err != nil {
		return err
	}
	count, err := numberOf(r.PostFormValue("count"))
	selected, selectErr := s.Findings.Select(r.Context(), actorOf(r), filter)
	if err := errors.Join(err, selectErr); err != nil {
		return err
	}
	if err := selected.Expect(int(count)); err != nil {
		return err
	}
	_, err = change(selected)
	return err
}

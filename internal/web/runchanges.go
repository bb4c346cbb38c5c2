// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

// runChangesPage answers: what exactly is new, gone, renewed ...?
type runChangesPage struct {
	frame
	Run     store.Run
	Since   int64
	Heading string
	Offers  []offer
	Columns []column // credential, place
	Rows    []changeRow
	Pager   pager
}

// A changeRow is one difference as pages show it.
type changeRow struct {
	store.RunChange
	Was, Is []string // what was noticed before and not after, and the other way round
}

// RunChanges is the list of the changes of one kind.
func (s *Site) RunChanges(w http.ResponseWriter, r *http.Request) {
	id, since, err := runAndSince(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	q := r.URL.Query()
	at, kind := pageRequest(q), q.Get("kind")
	if at.Sort == "" {
		at.Sort = "place"
	}
	report, err := s.Discovery.Report(r.Context(), actorOf(r), id, since)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	page, err := s.Discovery.ListChanges(r.Context(), actorOf(r), id, since, kind, at)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &runChangesPage{
		frame: frame{Title: fmt.Sprintf("%s in run %d", changeTitles[kind], id), Section: "runs"},
		Run:   report.Run, Since: since, Heading: changeTitles[kind], Rows: rowsOf(page.Items),
		Columns: []column{columnOf(r, at, "Credential", "credential", false), columnOf(r, at, "Place", "place", false)},
	}
	var count int64
	for _, d := range discovery.Differences(report.Changes) {
		p.Offers = append(p.Offers, offer{fmt.Sprintf("%s %s", changeTitles[d.Kind], number(d.Count)), changesURL(id, since, d.Kind), d.Kind == kind})
		if d.Kind == kind {
			count = d.Count
		}
	}
	p.Pager = pagerOf(r, "after", count, page.Next)
	s.render(w, r, http.StatusOK, "runchanges", p)
}

func rowsOf(changes []store.RunChange) []changeRow {
	rows := make([]changeRow, len(changes))
	for i, c := range changes {
		rows[i].RunChange = c
		if c.Before != nil && c.After != nil {
			rows[i].Was, rows[i].Is = factsDiffer(*c.Before, *c.After)
		}
	}
	return rows
}

// factsDiffer returns the words for what was noticed at one time only; where the
// words are the same it names what is not.
func factsDiffer(before, after tallystick.Facts) (was, is []string) {
	a, b := factsOf(before), factsOf(after)
	without := func(list, other []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(word string) bool { return slices.Contains(other, word) })
	}
	if was, is = without(a, b), without(b, a); len(was)+len(is) > 0 {
		return was, is
	}
	for _, name := range membersThatDiffer(before, after) {
		is = append(is, "other "+name)
	}
	return nil, is
}

// membersThatDiffer names the members of two facts, as they are stored, that
// are not the same.
func membersThatDiffer(before, after tallystick.Facts) []string {
	a, b := members(before), members(after)
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return a[name] == b[name] })
	return slices.Sorted(maps.Keys(names))
}

// members returns the members of facts as text, by their names.
func members(f tallystick.Facts) map[string]string {
	all := map[string]string{}
	text, err := json.Marshal(f)
	if err != nil {
		return all
	}
	var kinds map[string]map[string]json.RawMessage
	if err := json.Unmarshal(text, &kinds); err != nil {
		return all
	}
	for _, kind := range kinds {
		for name, value := range kind {
			all[name] = string(value)
		}
	}
	return all
}

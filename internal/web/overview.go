// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// overviewPage answers: what needs me today?
type overviewPage struct {
	frame
	Needs      []need
	Samples    need // what has ended and is not counted in Needs
	Worst      []finding.Group
	Timeline   timeline
	Summary    store.Summary
	Kinds      []bar
	Schemes    []bar
	Owners     []bar
	Algorithms []bar
	Mix        mix
	Running    []runView
	Looked     bool // something was looked at before
}

// A need is one clause of the first sentence; its number leads to what it counts.
type need struct{ Before, Number, URL, After string }

// Overview is the first page.
func (s *Site) Overview(w http.ResponseWriter, r *http.Request) {
	p := &overviewPage{frame: frame{Title: "Overview", Section: "overview"}}
	if err := s.fillOverview(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "overview", p)
}

// worstCauses is how many things the overview puts first.
const worstCauses = 5

func (s *Site) fillOverview(r *http.Request, p *overviewPage) error {
	actor, now := actorOf(r), s.Now()
	summary, err := s.Inventory.Summary(r.Context(), actor)
	if err != nil {
		return err
	}
	groups, err := s.Findings.Groups(r.Context(), actor)
	if err != nil {
		return err
	}
	runs, err := s.Discovery.Runs(r.Context(), actor, "", 0, 10)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if v := viewRun(now, run); v.Live {
			p.Running = append(p.Running, v)
		}
	}
	p.Looked = len(runs) > len(p.Running)
	p.Summary, p.Worst = summary, head(worstCauses, groups)
	foreign, err := s.useAlarms(r)
	if err != nil {
		return err
	}
	recalls, err := s.recallNeeds(r)
	if err != nil {
		return err
	}
	p.Needs = append(append(recalls, foreign...), needsOf(now, summary)...)
	joinNeeds(p.Needs)
	p.Samples = need{Number: plural(summary.Samples, "certificate", "certificates"), URL: listURL("leaf", "true", "sample", "true", "ends_before", instant(now))}
	p.Timeline = timelineOf(now, summary)
	p.Mix = mixOf(summary.Algorithms)
	p.Kinds = barsOf(summary.Kinds, 6, plainWord, func(name string) string { return listURL("kind", name) })
	p.Schemes = barsOf(summary.Schemes, 6, schemeWord, func(name string) string { return "/places?scheme=" + name })
	p.Owners = barsOf(summary.Owners, 6, ownerWord, func(name string) string { return listURL("owner", ownerValue(name)) })
	p.Algorithms = barsOf(summary.Algorithms, 8, algorithmWord, func(name string) string { return listURL("algorithm", name) })
	for i, c := range head(8, summary.Algorithms) {
		p.Algorithms[i].Class = "q-" + quantum(c.Name)
	}
	return nil
}

// needsOf says what has to be done, the most urgent first; nothing is nil.
func needsOf(now time.Time, s store.Summary) []need {
	var needs []need
	if n := s.Severities[tallystick.SeverityCritical] + s.Severities[tallystick.SeverityHigh]; n > 0 {
		needs = append(needs, need{"", plural(n, "critical or high finding", "critical or high findings"), "/findings?severity=high", verb(n, " needs", " need") + " somebody"})
	}
	var week int64
	end := now.UTC().Truncate(day).Add(7 * day)
	for _, d := range s.Ending {
		if d.Date.Before(end) {
			week += d.Count
		}
	}
	if week > 0 {
		needs = append(needs, need{"", plural(week, "certificate", "certificates"),
			listURL("leaf", "true", "sample", "false", "ends_after", instant(now), "ends_before", instant(end)), verb(week, " ends", " end") + " within seven days"})
	}
	if s.Expired > 0 {
		needs = append(needs, need{"", number(s.Expired), listURL("leaf", "true", "sample", "false", "ends_before", instant(now)),
			verb(s.Expired, " has", " have") + " ended and " + verb(s.Expired, "is", "are") + " still there"})
	}
	return needs
}

// useAlarms says what of the last month's uses needs somebody: what was foreign,
// and which books are silent.
func (s *Site) useAlarms(r *http.Request) ([]need, error) {
	list, _, err := s.Usage.Incidents(r.Context(), actorOf(r), usage.IncidentFilter{}, store.PageRequest{Limit: recentIncidents})
	if err != nil {
		return nil, err
	}
	silent, err := s.silentBooks(r.Context(), actorOf(r))
	if err != nil {
		return nil, err
	}
	var needs []need
	var uses, incidents int64
	address := "/uses?range=month"
	for _, i := range list.Items {
		if i.Last.After(s.Now().Add(-30 * day)) {
			incidents, uses = incidents+1, uses+i.Uses
			address = fmt.Sprintf("/incidents/%d", i.ID)
		}
	}
	if incidents > 1 {
		address = "/uses?range=month"
	}
	if incidents > 0 {
		needs = append(needs, need{"", plural(uses, "foreign use", "foreign uses"), address, " in " + plural(incidents, "incident", "incidents")})
	}
	if n := int64(len(silent)); n > 0 {
		needs = append(needs, need{"", plural(n, "book", "books"), "/books", verb(n, " is", " are") + " silent"})
	}
	return needs, nil
}

// recallNeeds says which recalls wait for somebody, and which go on.
func (s *Site) recallNeeds(r *http.Request) ([]need, error) {
	if s.Recalls == nil {
		return nil, nil
	}
	list, err := s.Recalls.List(r.Context(), actorOf(r), 0, recentRecalls)
	if err != nil {
		return nil, err
	}
	by := map[tallystick.RecallState][]tallystick.Recall{}
	for _, one := range list {
		by[one.State] = append(by[one.State], one)
	}
	var needs []need
	for _, state := range []struct {
		tallystick.RecallState
		one, many string
	}{
		{tallystick.RecallStopped, " is stopped", " are stopped"}, {tallystick.RecallWaiting, " waits for approval", " wait for approval"},
		{tallystick.RecallApproved, " is approved and has not begun", " are approved and have not begun"},
		{tallystick.RecallPaused, " is paused", " are paused"}, {tallystick.RecallRunning, " goes on", " go on"},
	} {
		those := by[state.RecallState]
		n := int64(len(those))
		if n == 0 {
			continue
		}
		one := need{"", plural(n, "recall", "recalls"), "/recalls", verb(n, state.one, state.many)}
		if n == 1 {
			one.URL = recallPath(those[0].Name)
		}
		needs = append(needs, one)
	}
	return needs, nil
}

// recentRecalls is how many recalls the overview counts.
const recentRecalls = 200

// recentIncidents is how many incidents the overview counts.
const recentIncidents = 500

// joinNeeds puts between the clauses what makes one sentence of them.
func joinNeeds(needs []need) {
	for i := range needs {
		switch {
		case i == 0:
			needs[i].Before = ""
		case i == len(needs)-1:
			needs[i].Before = " and "
		default:
			needs[i].Before = ", "
		}
	}
}

func verb(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// The words for what the store counts.

func plainWord(name string) string { return strings.ReplaceAll(name, "-", " ") }

func schemeWord(name string) string {
	switch name {
	case "file":
		return "files"
	case "tls":
		return "TLS endpoints"
	case "truststore":
		return "trust stores"
	case "ssh":
		return "SSH servers"
	}
	return name
}

func ownerWord(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

func ownerValue(name string) string {
	if name == "" {
		return "-"
	}
	return name
}

func algorithmWord(name string) string {
	if name == "" {
		return "unknown"
	}
	return name
}

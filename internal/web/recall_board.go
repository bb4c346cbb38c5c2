// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// A phaseColumn is one of the five columns of a recall.
type phaseColumn struct {
	Title   string
	Through int64 // targets that are through the phase
	At      int64 // that somebody works at in the phase
	Waits   int64 // that are in it and wait
	All     int64
	Percent int64
	URL     string
}

// A waveRow is one wave.
type waveRow struct {
	N                   int
	All, Proven, Failed int64
	Percent             int64
	Now                 bool
	URL                 string
}

// count fills the columns, the waves and the sentence.
func (p *recallPage) count(status recall.Status) {
	by := map[string]int64{}
	waves := map[int]*waveRow{}
	for _, c := range status.Targets {
		p.All += c.Count
		by[c.State] += c.Count
		w := waves[c.Wave]
		if w == nil {
			w = &waveRow{N: c.Wave, URL: withParameter(p.Path+"/targets", "wave", fmt.Sprint(c.Wave))}
			waves[c.Wave] = w
		}
		w.All += c.Count
		switch c.State {
		case tallystick.TargetProven, tallystick.TargetSkipped:
			w.Proven += c.Count
		case tallystick.TargetFailed, tallystick.TargetUndone:
			w.Failed += c.Count
		}
	}
	p.Left = p.All - by[tallystick.TargetProven] - by[tallystick.TargetSkipped]
	aside := by[tallystick.TargetSkipped] + by[tallystick.TargetUndone]
	through := by[tallystick.TargetProven]
	for _, phase := range slices.Backward(phasesOf(p.Recall)) {
		c := phaseColumn{Title: phaseTitle(p.Recall, phase), All: p.All - aside, Through: through, At: by[string(phase)] - status.Idle[phase], Waits: status.Idle[phase]}
		c.URL = withParameter(p.Path+"/targets", "state", string(phase))
		if c.All > 0 {
			c.Percent = c.Through * 100 / c.All
		}
		through += by[string(phase)]
		p.Columns = append(p.Columns, c)
	}
	slices.Reverse(p.Columns)
	p.waves(waves)
	p.Sentence = recallSentence(p.Recall, p.All, by)
}

// phasesOf are the phases that a recall has: a rehearsal blocks, and lets in again.
func phasesOf(r tallystick.Recall) []tallystick.Phase {
	if r.Rehearse > 0 {
		return []tallystick.Phase{tallystick.PhaseRevoke, tallystick.PhaseProve}
	}
	return tallystick.Phases()
}

// phaseTitle is what people call a phase.
func phaseTitle(r tallystick.Recall, phase tallystick.Phase) string {
	switch {
	case r.Rehearse == 0:
		return strings.ToUpper(string(phase[:1])) + string(phase[1:])
	case phase == tallystick.PhaseRevoke:
		return "Block"
	}
	return "Let in again"
}

// waves puts them in order, and finds the one that is under way: the first that is not
// through.
func (p *recallPage) waves(waves map[int]*waveRow) {
	for _, w := range waves {
		if w.All > 0 {
			w.Percent = w.Proven * 100 / w.All
		}
		p.Waves = append(p.Waves, *w)
	}
	slices.SortFunc(p.Waves, func(a, b waveRow) int { return cmp.Compare(a.N, b.N) })
	if p.Over || p.Recall.Started.IsZero() {
		return
	}
	if i := slices.IndexFunc(p.Waves, func(w waveRow) bool { return w.Proven < w.All }); i >= 0 {
		p.Waves[i].Now = true
	}
}

// recallSentence answers the question of the page.
func recallSentence(r tallystick.Recall, all int64, by map[string]int64) string {
	proven := by[tallystick.TargetProven]
	places := plural(all, "place or connection", "places and connections")
	switch {
	case r.State == tallystick.RecallWaiting:
		return places + ". It waits for the approval of somebody other than " + clip(40, r.OpenedBy) + "."
	case r.State == tallystick.RecallApproved:
		return places + ". It is approved, and has not begun."
	case all == 0:
		return "It has no places or connections."
	case proven == all && r.Rehearse > 0:
		return verb(all, "It was rehearsed, and is as it was.", fmt.Sprintf("All %s were rehearsed, and are as they were.", number(all)))
	case proven == all:
		return verb(all, "It is", fmt.Sprintf("All %s are", number(all))) + " proven: the new one works there, and the old one is dead."
	}
	var rest []string
	for _, state := range []string{tallystick.TargetFailed, tallystick.TargetUndone, tallystick.TargetSkipped} {
		if n := by[state]; n > 0 {
			rest = append(rest, number(n)+" "+targetWord(r, state))
		}
	}
	text := fmt.Sprintf("%s of %s %s", number(proven), number(all), targetWord(r, tallystick.TargetProven))
	if len(rest) > 0 {
		text += ", " + strings.Join(rest, ", ")
	}
	return text + "."
}

// targetWord says how a target stands.
func targetWord(r tallystick.Recall, state string) string {
	switch {
	case state == tallystick.TargetUndone:
		return "rolled back"
	case r.Rehearse == 0:
		return state
	case state == tallystick.TargetProven:
		return "rehearsed"
	case state == string(tallystick.PhaseRevoke), state == string(tallystick.PhaseProve):
		return strings.ToLower(phaseTitle(r, tallystick.Phase(state)))
	}
	return state
}

// stragglerRows is how many of those who hold a recall up its page names.
const stragglerRows = 15

// A recallTargetRow is a target in a list.
type recallTargetRow struct {
	tallystick.RecallTarget
	StateWord string
	Where     string
	Why       string // it is where it is, and what somebody can do about it
	URL       string
	Bad       bool
	FewGrants []string
}

func targetRow(of tallystick.Recall, t tallystick.RecallTarget) recallTargetRow {
	row := recallTargetRow{
		RecallTarget: t, StateWord: targetWord(of, t.State), Where: whereOfTarget(t), URL: targetPath(of, t.ID), FewGrants: clipAll(head(3, t.Grants)),
		Bad: t.State == tallystick.TargetFailed || t.State == tallystick.TargetUndone, Why: t.Error,
	}
	if row.Why == "" && (t.Asked || t.Kind == tallystick.TargetPerson) && t.State != tallystick.TargetProven {
		row.Why = t.Instructions
	}
	return row
}

// targetPath is the address of the page of a target.
func targetPath(of tallystick.Recall, id int64) string {
	return fmt.Sprintf("%s/targets/%d", recallPath(of.Name), id)
}

func clipAll(words []string) []string {
	for i, word := range words {
		words[i] = clip(60, word)
	}
	return words
}

// whereOfTarget says where a target is.
func whereOfTarget(t tallystick.RecallTarget) string {
	switch {
	case t.Entrusted():
		return t.Subject
	case t.Holder != "" && t.Relying != "":
		return t.Holder + " → " + t.Relying
	case t.Holder != "" || t.Relying != "":
		return t.Holder + t.Relying
	}
	return cmp.Or(t.RelyingParty, t.Subject, "a task")
}

// stragglers are those who hold a recall up: what has failed, what is late, what waits for
// a person, and what is tried again. Of a recall that is over they are what is not proven.
func (s *Site) stragglers(r *http.Request, status recall.Status) ([]recallTargetRow, int64, error) {
	ctx, actor := r.Context(), actorOf(r)
	var rows []recallTargetRow
	seen := map[int64]bool{}
	more := int64(0)
	for _, f := range []store.TargetFilter{{State: tallystick.TargetFailed}, {State: tallystick.TargetUndone}, {Late: true}, {Kind: tallystick.TargetPerson}, {Asked: true}} {
		list, err := s.Recalls.Targets(ctx, actor, status.Recall.ID, f, 0, 10*stragglerRows)
		if err != nil {
			return nil, 0, err
		}
		for _, t := range list {
			if seen[t.ID] || t.State == tallystick.TargetProven || t.State == tallystick.TargetSkipped {
				continue
			}
			seen[t.ID] = true
			if len(rows) == stragglerRows {
				more++
				continue
			}
			rows = append(rows, targetRow(status.Recall, t))
		}
	}
	if status.Recall.State.Over() || len(rows) == stragglerRows {
		return rows, more, nil
	}
	tried, err := s.triedAgain(ctx, status.Recall, seen, stragglerRows-len(rows))
	return append(rows, tried...), more, err
}

// triedAgain are targets with a step that has failed and is tried again.
func (s *Site) triedAgain(ctx context.Context, one tallystick.Recall, seen map[int64]bool, most int) ([]recallTargetRow, error) {
	steps, err := s.Recalls.DB.FailingRecallSteps(ctx, one.ID, most)
	if err != nil {
		return nil, err
	}
	var rows []recallTargetRow
	for _, step := range steps {
		if step.Target == 0 || seen[step.Target] {
			continue
		}
		seen[step.Target] = true
		t, err := s.Recalls.DB.RecallTarget(ctx, step.Target)
		if err != nil {
			return nil, err
		}
		row := targetRow(one, t)
		row.Why = fmt.Sprintf("%s failed %s and is tried again: %s", step.Act, plural(step.Failures, "time", "times"), step.Error)
		rows = append(rows, row)
	}
	return rows, nil
}

// harm is whether anything is breaking.
type harm struct {
	Known bool
	Count int64
	URL   string
	Why   string // it is not known
}

// thief is what somebody else does with the old credential.
type thief struct {
	Known bool
	Count int64
	Uses  []usage.Record
	URL   string
	Why   string // it is not known
}

// oldMost is how many burnt credentials are asked about.
const oldMost = 20

// meanwhile asks the books what has happened since a recall began.
func (s *Site) meanwhile(r *http.Request, one tallystick.Recall) (harm, thief, error) {
	since := one.Started
	if since.IsZero() {
		since = one.Opened
	}
	old, next, err := s.Recalls.DB.RecallCredentials(r.Context(), one.ID, oldMost)
	if err != nil {
		return harm{}, thief{}, err
	}
	m, err := s.Usage.Meanwhile(r.Context(), actorOf(r), old, next, since)
	if err != nil {
		return harm{}, thief{}, err
	}
	h := harm{Known: m.Made > 0, Count: m.Failed, Why: "No holder has recorded a use since it began, so that nobody can tell from here."}
	t := thief{Known: m.Known, Count: m.Foreign, Uses: m.Latest, Why: "No book has ever told of a use of the old one, so that foreign uses would not be seen."}
	if len(old) == 1 {
		q := url.Values{"credential": {strings.TrimPrefix(old[0], "cert-sha256:")}, "from": {since.UTC().Format("2006-01-02T15:04:05Z")}, "list": {"true"}}
		t.URL = "/uses?" + q.Encode()
		if h.Count > 0 {
			h.URL = t.URL
		}
	}
	return h, t, nil
}

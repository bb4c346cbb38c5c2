// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/recall"
)

// recallPlanPage answers: what would a recall of this do, and shall it?
type recallPlanPage struct {
	frame
	Kinds  []recallKind
	Values url.Values
	Plan   *planView // nil: nothing was asked for yet
	// What holds where a field is left empty.
	Defaults recall.Defaults
	Quiet    string
	Due      time.Time
}

// A recallKind is what can be burnt.
type recallKind struct{ Word, Label, Example string }

// recallKinds are all of them.
func recallKinds() []recallKind {
	return []recallKind{
		{tallystick.BurntCredential, "a credential", "its fingerprint, or a name as logs have it"},
		{tallystick.BurntKey, "a key", "its id: every certificate of it"},
		{tallystick.BurntIssuer, "a CA", "ca/NAME or its fingerprint: everything it signed"},
		{tallystick.BurntPlace, "a place", "file:///etc/tls: every private key at it or beneath it"},
		{tallystick.BurntWrapping, "a wrapping key", "its name in custody: every key and entrusted secret that was ever under it"},
		{tallystick.BurntEntrusted, "entrusted secrets", "the id of one; host/NAME or host/NAME@FROM/TO: all that was readable there; due: all that is to be replaced"},
	}
}

// recallURL leads to the plan of a recall: of a key, because that is what gets stolen, where
// it is known, and otherwise of one credential.
func recallURL(key tallystick.KeyID, id tallystick.Fingerprint) string {
	q := url.Values{"kind": {tallystick.BurntCredential}, "value": {string(id)}, "plan": {"true"}}
	if key != "" {
		q.Set("kind", tallystick.BurntKey)
		q.Set("value", string(key))
	}
	return "/recalls/new?" + q.Encode()
}

// rotateURL leads to the plan of a recall of entrusted secrets.
func rotateURL(what tallystick.Burnt) string {
	return "/recalls/new?" + url.Values{"kind": {what.Kind}, "value": {what.Value}, "plan": {"true"}}.Encode()
}

// Value is what the form has in a field.
func (p *recallPlanPage) Value(name string) string { return p.Values.Get(name) }

// A planView is a plan as people read it.
type planView struct {
	recall.Plan
	Burnt    string
	Rows     []recallTargetRow
	More     int64
	Grants   []string // all that the old one opens
	Owners   []string
	Places   int64
	Links    int64 // connections
	Shortest string
	Budget   string
}

// planRows is how many targets of a plan the page shows.
const planRows = 60

// PlanRecall is the form for a recall, with its plan once it says what is burnt.
func (s *Site) PlanRecall(w http.ResponseWriter, r *http.Request) {
	p, err := s.planForm(r.URL.Query())
	if err != nil {
		s.Error(w, r, err)
		return
	}
	if err := s.fillPlan(r, p); err != nil {
		s.again(w, r, err, "plan", p.Values, "recallplan", func() (page, error) { return p, nil })
		return
	}
	s.render(w, r, http.StatusOK, "recallplan", p)
}

// planForm is the form with what is in its fields.
func (s *Site) planForm(values url.Values) (*recallPlanPage, error) {
	if err := s.recalls(); err != nil {
		return nil, err
	}
	d := s.Recalls.Defaults
	return &recallPlanPage{
		frame: frame{Title: "Recall something", Section: "recalls"}, Kinds: recallKinds(), Values: values,
		Defaults: d, Quiet: brief(d.Quiet), Due: s.Now().Add(d.Deadline),
	}, nil
}

func (s *Site) fillPlan(r *http.Request, p *recallPlanPage) error {
	if p.Value("plan") == "" {
		return nil
	}
	request, err := s.recallRequest(p.Values)
	if err != nil {
		return err
	}
	plan, err := s.Recalls.Plan(r.Context(), actorOf(r), request)
	if err != nil {
		return err
	}
	p.Plan = viewPlan(plan)
	return nil
}

func viewPlan(plan recall.Plan) *planView {
	v := &planView{Plan: plan, Burnt: burntWords(plan.Recall.What), Shortest: exactSpan(plan.Shortest), Budget: budgetWords(plan.Recall.Waves)}
	grants, owners := map[string]bool{}, map[string]bool{}
	for i, t := range plan.Targets {
		switch t.Kind {
		case tallystick.TargetPlace:
			v.Places++
		case tallystick.TargetConnection:
			v.Links++
		}
		for _, g := range t.Grants {
			if !grants[g] {
				grants[g] = true
				v.Grants = append(v.Grants, clip(60, g))
			}
		}
		if t.Owner != "" && !owners[t.Owner] {
			owners[t.Owner] = true
			v.Owners = append(v.Owners, clip(60, t.Owner))
		}
		if i < planRows {
			row := targetRow(plan.Recall, t)
			row.URL = "" // it is nowhere yet
			v.Rows = append(v.Rows, row)
		}
	}
	v.More = int64(max(0, len(plan.Targets)-planRows))
	v.Warnings, v.Unseen = head(20, v.Warnings), head(20, v.Unseen)
	return v
}

// recallRequest reads what somebody wants recalled from a form or an address.
func (s *Site) recallRequest(q url.Values) (recall.Request, error) {
	value := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	request := recall.Request{
		Name: value("name"), What: tallystick.Burnt{Kind: value("kind"), Value: value("value")}, Why: value("why"), AtDeadline: value("at_deadline"),
	}
	if request.What.Value == "" {
		return request, problem.With(fmt.Errorf("%w: which one is burnt is missing", tallystick.ErrInvalid), "Write it into the field Which.")
	}
	var err error
	if request.Since, err = formMoment("time since when it is in other hands", value("since")); err != nil {
		return request, err
	}
	if request.Deadline, err = formMoment("deadline", value("deadline")); err != nil {
		return request, err
	}
	if request.Quiet, err = durationOf(value("quiet")); err != nil {
		return request, err
	}
	if request.Rehearse, err = durationOf(value("rehearse")); err != nil {
		return request, err
	}
	waves := s.Recalls.Defaults.Waves
	for name, n := range map[string]*int{"canary": &waves.Canary, "growth": &waves.Growth, "errors": &waves.Errors} {
		if value(name) == "" {
			continue
		}
		v, err := numberOf(value(name))
		if err != nil {
			return request, err
		}
		*n = int(min(v, 1_000_000))
	}
	request.Waves = &waves
	return request, nil
}

// formMoment reads a field of the type datetime-local, in UTC; "" is no time.
func formMoment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{formTime, "2006-01-02T15:04:05", time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, problem.With(fmt.Errorf("%w: the %s %q is not a time", tallystick.ErrInvalid, name, clip(40, text)), "Write the day and the time, in UTC: 2026-12-01T18:00.")
}

// OpenRecall opens one, for somebody else to approve.
func (s *Site) OpenRecall(w http.ResponseWriter, r *http.Request) {
	one, err := s.openRecall(r)
	if err != nil {
		s.again(w, r, err, "plan", r.PostForm, "recallplan", func() (page, error) { return s.planForm(r.PostForm) })
		return
	}
	done(w, r, recallPath(one.Name), "recall-opened")
}

func (s *Site) openRecall(r *http.Request) (tallystick.Recall, error) {
	if err := s.recalls(); err != nil {
		return tallystick.Recall{}, err
	}
	if err := r.ParseForm(); err != nil {
		return tallystick.Recall{}, fmt.Errorf("%w: the form cannot be read", tallystick.ErrInvalid)
	}
	request, err := s.recallRequest(r.PostForm)
	if err != nil {
		return tallystick.Recall{}, err
	}
	return s.Recalls.Open(r.Context(), actorOf(r), request)
}

// TurnRecall does what somebody wants of a recall.
func (s *Site) TurnRecall(w http.ResponseWriter, r *http.Request) {
	one, err := s.recallOf(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	reason, e := strings.TrimSpace(r.PostFormValue("reason")), s.Recalls
	turns := map[string]struct {
		do   func(context.Context, gate.Actor, int64) error
		word string
	}{
		"approve": {atDeadline(r, e.Approve), "recall-approved"},
		"start":   {e.Start, "recall-started"},
		"pause":   {func(ctx context.Context, who gate.Actor, id int64) error { return e.Pause(ctx, who, id, reason) }, "recall-paused"},
		"resume":  {e.Resume, "recall-resumed"},
		"extend":  {atDeadline(r, e.Extend), "recall-extended"},
		"cancel":  {func(ctx context.Context, who gate.Actor, id int64) error { return e.Cancel(ctx, who, id, reason) }, "recall-cancelled"},
	}
	verb := r.PathValue("verb")
	turn, known := turns[verb]
	if !known {
		s.NotFound(w, r)
		return
	}
	if err := turn.do(r.Context(), actorOf(r), one.ID); err != nil {
		s.again(w, r, err, verb, r.PostForm, "recall", func() (page, error) {
			p, err := s.recallPage(r)
			if p != nil {
				p.Live = false // at this address there is nothing to read again
			}
			return p, err
		})
		return
	}
	done(w, r, recallPath(one.Name), turn.word)
}

// atDeadline gives a turn the deadline of a form.
func atDeadline(r *http.Request, do func(context.Context, gate.Actor, int64, time.Time) error) func(context.Context, gate.Actor, int64) error {
	return func(ctx context.Context, who gate.Actor, id int64) error {
		deadline, err := formMoment("deadline", strings.TrimSpace(r.PostFormValue("deadline")))
		if err == nil && deadline.IsZero() {
			err = problem.With(fmt.Errorf("%w: the deadline is missing", tallystick.ErrInvalid), "Choose a day and a time, in UTC.")
		}
		if err != nil {
			return err
		}
		return do(ctx, who, id, deadline)
	}
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
)

// recallPage answers: will we make the date, and is anything breaking?
type recallPage struct {
	frame
	Recall     tallystick.Recall
	Path       string // of this page
	Burnt      string
	BurntURL   string
	StateWord  string
	Live       bool // it changes by itself
	LastEvent  int64
	Over       bool
	Stopped    bool // by its error budget
	Sentence   string
	Clock      life
	Countdown  string
	Wanted     time.Time // the deadline that somebody asks for
	WantedBy   string
	Needs      int // how many must approve
	Columns    []phaseColumn
	Waves      []waveRow
	Budget     string
	All, Left  int64 // targets; those that are not proven
	Stragglers []recallTargetRow
	MoreLeft   int64
	Waiting    []recall.Waiting // holders that have not been given new values
	Log        []eventRow
	Earlier    string // address of what happened before
	Harm       harm
	Thief      thief
	Can        recallMay
	Idle       []string   // who should work at it and does not, as sentences
	Rehearsed  bool       // it was a rehearsal, and Broken is known
	Broken     []brokeRow // who would have been left without one

	ApproveDeadline string // what an approval is for
	ApproveWord     string
	NextDeadline    string
}

// recallMay says which buttons there are.
type recallMay struct{ Approve, Start, Pause, Resume, Extend bool }

// Recall is the war room of one recall.
func (s *Site) Recall(w http.ResponseWriter, r *http.Request) {
	p, err := s.recallPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "recall", p)
}

func (s *Site) recallPage(r *http.Request) (*recallPage, error) {
	status, err := s.recallStatus(r)
	if err != nil {
		return nil, err
	}
	one := status.Recall
	p := &recallPage{
		frame: frame{Title: "Recall " + one.Name, Section: "recalls"}, Recall: one, Path: recallPath(one.Name), Burnt: burntWords(one.What), BurntURL: burntURL(one.What),
		StateWord: stateWord(one.State), Live: !one.State.Over(), Over: one.State.Over(), Stopped: one.State == tallystick.RecallStopped,
		Wanted: status.Wanted, WantedBy: status.WantedBy, Needs: status.Needs, Budget: budgetWords(one.Waves),
	}
	p.count(status)
	p.clock(s.Now())
	p.buttons(r)
	if p.Stragglers, p.MoreLeft, err = s.stragglers(r, status); err != nil {
		return nil, err
	}
	p.Waiting = head(stragglerRows, status.Waiting)
	if err := s.fillLog(r, p); err != nil {
		return nil, err
	}
	if p.Idle, err = s.idle(r, one); err != nil {
		return nil, err
	}
	if err := s.fillBroken(r, p); err != nil {
		return nil, err
	}
	p.Harm, p.Thief, err = s.meanwhile(r, one)
	return p, err
}

// recalls is an error where nothing can be recalled.
func (s *Site) recalls() error {
	if s.Recalls == nil {
		return problem.With(fmt.Errorf("nothing is recalled here: %w", tallystick.ErrNotFound), "Start the server with \"tally up\".")
	}
	return nil
}

// recallStatus is how the recall of the path stands.
func (s *Site) recallStatus(r *http.Request) (recall.Status, error) {
	one, err := s.recallOf(r)
	if err != nil {
		return recall.Status{}, err
	}
	return s.Recalls.Status(r.Context(), actorOf(r), one.ID)
}

// recallOf is the recall of the path.
func (s *Site) recallOf(r *http.Request) (tallystick.Recall, error) {
	if err := s.recalls(); err != nil {
		return tallystick.Recall{}, err
	}
	return s.Recalls.ByName(r.Context(), actorOf(r), r.PathValue("name"))
}

// recallPath is the address of the page of a recall.
func recallPath(name string) string { return "/recalls/" + url.PathEscape(name) }

// burntWords say what was burnt.
func burntWords(b tallystick.Burnt) string {
	value := clip(80, b.Value)
	switch b.Kind {
	case tallystick.BurntKey:
		return "key " + clip(16, b.Value)
	case tallystick.BurntIssuer:
		return "everything that " + value + " signed"
	case tallystick.BurntPlace:
		return "everything whose private half was at " + value
	case tallystick.BurntWrapping:
		return "everything under the wrapping key " + value
	}
	if b.Kind == tallystick.BurntEntrusted {
		return b.EntrustedWords()
	}
	return "credential " + value
}

// burntURL is where what was burnt can be seen.
func burntURL(b tallystick.Burnt) string {
	switch b.Kind {
	case tallystick.BurntCredential:
		if len(b.Value) == 64 && !strings.Contains(b.Value, ":") {
			return "/credentials/" + b.Value
		}
	case tallystick.BurntKey:
		return "/credentials?key=" + url.QueryEscape(b.Value)
	case tallystick.BurntPlace:
		return "/place?uri=" + url.QueryEscape(b.Value)
	case tallystick.BurntIssuer:
		if name, own := strings.CutPrefix(b.Value, "ca/"); own {
			return "/issuers/" + url.PathEscape(name)
		}
	case tallystick.BurntEntrusted:
		return entrustedURL(b)
	}
	return ""
}

// entrustedURL is where entrusted secrets that are burnt can be seen.
func entrustedURL(b tallystick.Burnt) string {
	host, from, to, isHost := b.ReadableFrom()
	switch {
	case isHost:
		return "/entrusted/readable?" + url.Values{"host": {host}, "from": {from}, "to": {to}}.Encode()
	case b.Value == "due":
		return "/entrusted?due=true&sort=due"
	}
	return "/entrusted/" + url.PathEscape(b.Value)
}

// stateWord says how a recall is.
func stateWord(s tallystick.RecallState) string {
	if s == tallystick.RecallWaiting {
		return "waits for approval"
	}
	return string(s)
}

// budgetWords say when waves stop.
func budgetWords(w tallystick.Waves) string {
	text := fmt.Sprintf("It begins with %s, and each wave is %d times as large as the one before. ", plural(int64(w.Canary), "canary", "canaries"), w.Growth)
	if w.Errors == 0 {
		return text + "It stops at the first failure."
	}
	return text + fmt.Sprintf("It stops when more than %s in a thousand of a wave fail.", number(int64(w.Errors)))
}

// clock says how much time is left.
func (p *recallPage) clock(now time.Time) {
	if p.Recall.Rehearse > 0 || p.Recall.Deadline.IsZero() {
		return
	}
	if !p.Recall.Ended.IsZero() {
		now = p.Recall.Ended
	}
	p.Clock = lifeOf(now, p.Recall.Opened, p.Recall.Deadline)
	left := p.Recall.Deadline.Sub(now)
	switch {
	case p.Over && left > 0:
		p.Countdown = "ended " + exactSpan(left) + " before its deadline"
	case p.Over:
		p.Countdown = "ended " + exactSpan(-left) + " after its deadline"
	case left > 0:
		p.Countdown = exactSpan(left) + " left"
	default:
		p.Countdown = "its deadline was " + exactSpan(-left) + " ago"
	}
	p.NextDeadline = p.Recall.Deadline.UTC().Add(day).Format(formTime)
}

// formTime is how a field of the type datetime-local writes a time.
const formTime = "2006-01-02T15:04"

// exactSpan writes a duration in its two largest units: "2 days 4 hours".
func exactSpan(d time.Duration) string {
	units := []struct {
		length time.Duration
		name   string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}}
	for i, unit := range units {
		if d < unit.length {
			continue
		}
		text := plural(int64(d/unit.length), unit.name, unit.name+"s")
		if i+1 < len(units) {
			if rest := int64(d % unit.length / units[i+1].length); rest > 0 {
				text += " " + plural(rest, units[i+1].name, units[i+1].name+"s")
			}
		}
		return text
	}
	return "less than a minute"
}

// buttons says what whoever asks may do now. The engine decides again.
func (p *recallPage) buttons(r *http.Request) {
	if !(&frame{Actor: actorOf(r)}).MayChange() {
		return
	}
	who, one := actorOf(r).Name, p.Recall
	deadline, asked := one.Deadline, one.OpenedBy
	p.ApproveWord = "Approve"
	waits := one.State == tallystick.RecallWaiting
	if !p.Wanted.IsZero() && !waits {
		deadline, asked, waits = p.Wanted, cmp.Or(p.WantedBy, asked), true
		p.ApproveWord = "Approve the new deadline"
	}
	p.ApproveDeadline = deadline.UTC().Format(time.RFC3339Nano)
	p.Can = recallMay{
		Approve: waits && who != one.OpenedBy && who != asked,
		Start:   one.State == tallystick.RecallApproved,
		Pause:   one.State == tallystick.RecallRunning,
		Resume:  one.State == tallystick.RecallPaused || one.State == tallystick.RecallStopped,
		Extend:  !p.Over && one.Blocked.IsZero() && one.Rehearse == 0,
	}
}

// An eventRow is a line of the log.
type eventRow struct {
	store.RecallEvent
	Where  string // its target
	Begins bool   // the text goes on behind that: "web-1" and "has the new one."
}

// logRows is how many lines of the log a page shows.
const logRows = 40

// fillLog reads the last lines of the log, the newest first; "before" in the address
// goes back.
func (s *Site) fillLog(r *http.Request, p *recallPage) error {
	before, err := numberOf(r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	list, err := s.Recalls.DB.LastRecallEvents(r.Context(), p.Recall.ID, before, logRows)
	if err != nil {
		return err
	}
	for _, event := range slices.Backward(list) {
		row := eventRow{RecallEvent: event}
		if event.Target != 0 {
			t, err := s.Recalls.DB.RecallTarget(r.Context(), event.Target)
			if err != nil {
				return err
			}
			row.Where = whereOfTarget(t)
			row.Text, row.Begins = strings.CutPrefix(row.Text, row.Where+" ")
		}
		p.Log = append(p.Log, row)
		p.LastEvent = max(p.LastEvent, event.N)
	}
	if len(list) > 0 && list[0].N > 1 {
		p.Earlier = withParameter(p.Path, "before", fmt.Sprint(list[0].N)) + "#log"
	}
	return nil
}

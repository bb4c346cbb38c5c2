// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// directoryPage answers: who changed who gets in?
type directoryPage struct {
	frame
	Needs    []need
	Sums     changeSums
	Range    string // "the last month", "this time"
	Ranges   []offer
	Loud     offer // the changes that nobody expected
	Chips    []chip
	Values   url.Values
	Kinds    []tallystick.ChangeKind
	Axis     changeAxis
	Changes  []changeView
	Pager    pager
	Ever     bool // a change was read at any time
	Expected []store.AccessExpectation
	More     int64 // that are expected
	// The form that says what is expected.
	Target, Tomorrow, NextYear, Back string
	Prefilled                        bool
}

// Value returns what a parameter of the filter was given as.
func (p *directoryPage) Value(name string) string { return p.Values.Get(name) }

// directoryFields are the parameters of directory.ParseFilter.
var directoryFields = []field{
	{"target", "Target"}, {"kind", "Kind"}, {"actor", "By"}, {"unexpected", "Nobody expected it"}, {"from", "From"}, {"to", "Until"},
}

// Bounds of what a page shows.
const (
	directoryRows = 25
	changeMarks   = 2000 // that are counted for the axis
	expectedRows  = 30
	changeNames   = 6
	changeGrants  = 20
)

// ListAccessChanges is the changes of who gets in: on an axis of time, and one by one.
func (s *Site) ListAccessChanges(w http.ResponseWriter, r *http.Request) {
	q := maps.Clone(r.URL.Query())
	p := &directoryPage{
		frame: frame{Title: "Directory", Section: "directory"}, Values: r.URL.Query(), Chips: chipsOf(r, directoryFields), Kinds: directory.Kinds(), Range: "this time",
	}
	filter, err := directory.ParseFilter(q)
	if err == nil {
		// Such changes are rare, and those of one target rarer.
		begin := q.Get("range") + q.Get("from") + q.Get("to")
		if begin == "" && filter.Target != "" {
			q.Set("from", s.Now().AddDate(-1, 0, 0).UTC().Format(time.DateOnly))
			p.Range = "the last year"
		} else if begin == "" {
			q.Set("range", "month")
		}
		var word string
		if filter.From, filter.To, word, err = rangeOf(s.Now(), q); err == nil {
			if word != "" {
				p.Range = "the last " + word
			}
			p.Ranges = rangeOffers(r, word)
			err = s.fillDirectory(r, p, filter)
		}
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "directory", p)
}

func (s *Site) fillDirectory(r *http.Request, p *directoryPage, f store.AccessFilter) error {
	ctx, actor := r.Context(), actorOf(r)
	all, _, err := s.Directory.Changes(ctx, actor, f, store.PageRequest{Limit: changeMarks})
	if err != nil {
		return err
	}
	p.Axis = changeAxisOf(s.Now(), f.From, f.To, all.Items, here(r))
	p.Axis.Cut = all.Next != ""
	p.Sums = sumChanges(all.Items)
	p.Needs = p.Sums.needs(withParameter(fromStart(here(r)), "unexpected", "true"))
	p.Loud = offer{Label: "Nobody expected it", On: f.Unexpected, URL: withParameter(fromStart(here(r)), "unexpected", map[bool]string{false: "true"}[f.Unexpected])}
	list, count, err := s.Directory.Changes(ctx, actor, f, store.PageRequest{After: p.Value("after"), Limit: directoryRows})
	if err != nil {
		return err
	}
	p.Pager = pagerOf(r, "after", count, list.Next)
	known := map[string]tallystick.Fingerprint{}
	for _, c := range list.Items {
		if err := s.knownOf(r, known, c.Credential); err != nil {
			return err
		}
		v := viewChange(c, known)
		if c.Values != nil && !c.Failed && c.TakenBackBy == 0 && gate.May(actor, gate.UndoChange) {
			v.UndoURL = undoPath(c.ID)
		}
		p.Changes = append(p.Changes, v)
	}
	if p.Ever = count > 0; !p.Ever {
		_, ever, err := s.Directory.Changes(ctx, actor, store.AccessFilter{}, store.PageRequest{Limit: 1})
		if err != nil {
			return err
		}
		p.Ever = ever > 0
	}
	return s.fillExpected(r, p)
}

// fillExpected adds the expectations and the form for one more.
func (s *Site) fillExpected(r *http.Request, p *directoryPage) error {
	expected, err := s.Directory.Expected(r.Context(), actorOf(r))
	if err != nil {
		return err
	}
	p.Expected = head(expectedRows, expected)
	p.More = int64(len(expected) - len(p.Expected))
	today := s.Now().UTC()
	p.Tomorrow, p.NextYear = today.AddDate(0, 0, 1).Format(time.DateOnly), today.AddDate(0, 0, 364).Format(time.DateOnly)
	p.Back = withParameter(fromStart(here(r)), "expect", "")
	p.Target = cmp.Or(p.Value("expect"), p.Value("target"))
	p.Prefilled = p.Value("expect") != ""
	return nil
}

// knownOf looks up which credentials some names are of.
func (s *Site) knownOf(r *http.Request, known map[string]tallystick.Fingerprint, names []string) error {
	for _, name := range head(changeNames, names) {
		if _, ok := known[name]; ok {
			continue
		}
		f, err := s.Directory.Known(r.Context(), actorOf(r), name)
		if err != nil {
			return err
		}
		known[name] = f
	}
	return nil
}

// ExpectAccessChange says that a change is expected, to the end of the day that is given.
func (s *Site) ExpectAccessChange(w http.ResponseWriter, r *http.Request) {
	until, err := lastDay(r)
	if err == nil {
		_, err = s.Directory.Expect(r.Context(), actorOf(r), store.AccessExpectation{
			Target: r.PostFormValue("target"), Kind: tallystick.ChangeKind(r.PostFormValue("kind")), Actor: r.PostFormValue("actor"),
			Until: until, Reason: r.PostFormValue("reason"),
		})
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/directory"), "expected")
}

// A changeView is a change as the page shows it.
type changeView struct {
	store.AccessChange
	Severity  tallystick.Severity // of one that nobody expected; 0 is quiet
	What      string              // "Credential added to"
	Name      string              // of the target, for people
	Who       string
	Names     []changeName
	MoreNames int64
	Gave      []string // grants
	MoreGave  int64
	Later     string // how long after it, when it was used
	UsesURL   string // what was used from there then; "" when no link can ask for it
	TargetURL string
	ActorURL  string
	NextURL   string // the form that expects the next one
	UndoURL   string // the page that takes it back; "" for what cannot be, and for whoever may not
	By, For   string // who expected it, and why
}

// A changeName is a name of a credential, with where it leads.
type changeName struct {
	Name       string
	Credential tallystick.Fingerprint // "" when it is not known here
}

// changeWords are what a kind of change is in a sentence, before its target.
var changeWords = map[tallystick.ChangeKind]string{
	tallystick.ChangeCredentialAdded: "Credential added to", tallystick.ChangeCredentialAltered: "Credential replaced at",
	tallystick.ChangeCredentialRemoved: "Credential taken from", tallystick.ChangeTrustAdded: "Trust added to", tallystick.ChangeTrustRemoved: "Trust taken from",
	tallystick.ChangeGrantAdded: "Permission given to", tallystick.ChangeGrantRemoved: "Permission taken from", tallystick.ChangeKeyRead: "Private key read:",
	tallystick.ChangeKeyExported: "Private key exported:", tallystick.ChangeSetting: "Setting changed at",
	tallystick.ChangeSuspected: "Another detector suspects a theft at",
}

// viewChange returns a change as the page shows it; known are the credentials of
// its names.
func viewChange(c store.AccessChange, known map[string]tallystick.Fingerprint) changeView {
	v := changeView{
		AccessChange: c, Severity: severityOf(c), What: cmp.Or(changeWords[c.Kind], string(c.Kind)), Name: clip(120, cmp.Or(c.TargetName, c.Target)),
		Who: clip(120, c.Actor), TargetURL: directoryURL("target", c.Target), NextURL: directoryURL("expect", c.Target),
		Gave: head(changeGrants, c.Grants), MoreGave: int64(max(0, len(c.Grants)-changeGrants)), MoreNames: int64(max(0, len(c.Credential)-changeNames)),
	}
	if c.Actor != "" {
		v.ActorURL = directoryURL("actor", c.Actor)
	}
	for _, name := range head(changeNames, c.Credential) {
		v.Names = append(v.Names, changeName{name, known[name]})
	}
	if !c.UsedAt.IsZero() {
		v.Later = span(c.UsedAt.Sub(c.Time)) + " later"
		from := c.UsedAt.UTC().Truncate(time.Minute)
		v.UsesURL = useURL("list", "true", "address", c.UsedFrom, "from", from.Format(time.RFC3339), "to", from.Add(time.Minute).Format(time.RFC3339))
	}
	v.By, v.For, _ = strings.Cut(c.Expected, ": ")
	return v
}

// severityOf says how loud a change is: quiet are those that somebody
// expected, and those that failed. What takes away lets nobody in.
func severityOf(c store.AccessChange) tallystick.Severity {
	switch {
	case c.Expected != "" || c.Failed:
		return 0
	case !c.UsedAt.IsZero():
		return tallystick.SeverityCritical
	}
	switch c.Kind {
	case tallystick.ChangeCredentialRemoved, tallystick.ChangeTrustRemoved, tallystick.ChangeGrantRemoved, tallystick.ChangeSetting:
		return tallystick.SeverityMedium
	}
	return tallystick.SeverityHigh
}

// directoryURL returns the address of the changes that a parameter lets through;
// "" when it is too long for a link.
func directoryURL(name, value string) string {
	if len(value) > maxParameter {
		return ""
	}
	return "/directory?" + url.Values{name: {value}}.Encode()
}

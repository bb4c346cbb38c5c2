// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// undoPage answers: what is written where, when this change is taken back?
type undoPage struct {
	frame
	Change    changeView
	Attribute string
	Object    string   // in the directory, as it is called now
	Driver    string   // of the source that saw the change, which writes
	Options   []string // of that source, "url=...": the server, and who signs in there; none is a secret
	Known     bool     // the directory was asked, and the rest is what it says
	Open      bool     // there is something to take back
	Before    undoList
	After     undoList
	Path      string
	Back      string // the change in its list
}

// An undoList is the values of an attribute: those that change first, and how many more there are.
type undoList struct {
	Values []undoValue
	More   int64
}

// An undoValue is a value of an attribute, as the driver shows it.
type undoValue struct {
	Text string
	Mark string // "taken away", "put back"; "" stays
}

// undoValues is how many values of an attribute the page shows.
const undoValues = 50

// undoPath is the address of the page that takes a change back.
func undoPath(id int64) string { return fmt.Sprintf("/directory/changes/%d/undo", id) }

// ConfirmUndo looks in the directory, and says what taking a change back would write.
func (s *Site) ConfirmUndo(w http.ResponseWriter, r *http.Request) {
	p, err := s.undoPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	undone, err := s.undo(r, p, true)
	if err != nil {
		s.notUndone(w, r, p, err, "What would be written cannot be said now. Nothing was changed.")
		return
	}
	p.fill(undone)
	s.render(w, r, http.StatusOK, "undo", p)
}

// UndoAccessChange takes a change back.
func (s *Site) UndoAccessChange(w http.ResponseWriter, r *http.Request) {
	p, err := s.undoPage(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	undone, err := s.undo(r, p, false)
	if err != nil {
		s.notUndone(w, r, p, err, "It is not known to be taken back. Look again.")
		return
	}
	if undone.Changed {
		done(w, r, p.Back, "taken-back")
	} else {
		done(w, r, p.Path, "") // somebody else has done it, which the page says
	}
}

func (s *Site) undo(r *http.Request, p *undoPage, try bool) (directory.Undone, error) {
	return s.Directory.Undo(r.Context(), actorOf(r), p.Change.ID, try, directory.Opener(s.Sources.Watchers()))
}

// notUndone answers with the page and what went wrong. Unlike elsewhere it says what a server has answered:
// whoever may take changes back has said where it is.
func (s *Site) notUndone(w http.ResponseWriter, r *http.Request, p *undoPage, err error, sentence string) {
	about := problem.Of(err)
	if !gate.May(actorOf(r), gate.UndoChange) || about.Kind == "internal" {
		s.Error(w, r, err)
		return
	}
	about.Sentence = sentence
	about.Detail = strings.TrimPrefix(about.Detail, tallystick.ErrInvalid.Error()+": ")
	p.Mistake = &mistake{Problem: about, form: "undo"}
	s.render(w, r, about.Status, "undo", p)
}

// undoPage reads the change of the path, and where it would be taken back.
func (s *Site) undoPage(r *http.Request) (*undoPage, error) {
	id, err := numberOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	c, err := s.Directory.Change(r.Context(), actorOf(r), id)
	if err != nil {
		return nil, err
	}
	known := map[string]tallystick.Fingerprint{}
	if err := s.knownOf(r, known, c.Credential); err != nil {
		return nil, err
	}
	p := &undoPage{frame: frame{Title: "Take a change back", Section: "directory"}, Change: viewChange(c, known), Path: undoPath(id), Back: directoryURL("target", c.Target)}
	if p.Back == "" {
		p.Back = "/directory"
	}
	if c.Values != nil {
		p.Attribute, p.Object = c.Values.Attribute, c.Values.DN
	}
	source, err := s.Directory.DB.Source(r.Context(), c.Source)
	if errors.Is(err, tallystick.ErrNotFound) {
		return p, nil // what takes it back says so
	}
	p.Driver = source.Driver
	for _, name := range slices.Sorted(maps.Keys(source.Options)) {
		p.Options = append(p.Options, name+"="+source.Options[name])
	}
	return p, err
}

// fill adds what the directory says.
func (p *undoPage) fill(undone directory.Undone) {
	p.Known, p.Open = true, undone.Changed
	if undone.DN != "" {
		p.Object = undone.DN
	}
	p.Before, p.After = undoListOf(undone.Before, undone.Now, "taken away"), undoListOf(undone.Now, undone.Before, "put back")
}

// undoListOf marks those of some values that are not among the others, and has them first.
func undoListOf(values, others []string, mark string) undoList {
	there := map[string]bool{} // of a group there may be thousands
	for _, other := range others {
		there[other] = true
	}
	var changed, same []undoValue
	for _, value := range values {
		if there[value] {
			same = append(same, undoValue{clip(300, value), ""})
		} else {
			changed = append(changed, undoValue{clip(300, value), mark})
		}
	}
	return undoList{Values: head(undoValues, append(changed, same...)), More: int64(max(0, len(values)-undoValues))}
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// sourcesPage answers: where are uses read from, and does that work?
type sourcesPage struct {
	frame
	Offers   []offer
	Sentence string
	Loud     bool // whether the sentence is bad news
	Sources  []sourceView
	Kinds    []string
	Formats  []string
	Secret   *newSecret
}

// A sourceView is a source as the page shows it.
type sourceView struct {
	store.Source
	State   string   // "read", "paused", "read to its end", "cannot be read"
	Settles string   // "30 s"; "" when it closes its book itself, or never
	Silent  string   // after what time it is called silent; "" is never
	Kept    string   // for how long it is kept raw; "" is not at all
	Wrong   []string // the newest that could not be read, the newest first
	UsesURL string
}

// ListSources is where uses are read from.
func (s *Site) ListSources(w http.ResponseWriter, r *http.Request) { s.showSources(w, r, nil) }

func (s *Site) showSources(w http.ResponseWriter, r *http.Request, secret *newSecret) {
	list, err := s.Sources.List(r.Context(), actorOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &sourcesPage{
		frame: frame{Title: "Sources", Section: "books"}, Offers: bookOffers("/sources"), Kinds: sources.Kinds(), Formats: uses.FormatNames(), Secret: secret,
	}
	var failed int64
	for _, one := range list {
		p.Sources = append(p.Sources, viewSource(one))
		if one.Error != "" {
			failed++
		}
	}
	p.Sentence, p.Loud = plural(int64(len(list)), "source", "sources")+", and nothing keeps any from being read.", failed > 0
	if p.Loud {
		p.Sentence = fmt.Sprintf("%s cannot be read.", plural(failed, "source", "sources"))
	}
	s.render(w, r, http.StatusOK, "sources", p)
}

// viewSource returns a source as the page shows it.
func viewSource(one store.Source) sourceView {
	v := sourceView{Source: one, State: "read", UsesURL: useURL("source", one.Name, "list", "true")}
	switch {
	case one.Error != "":
		v.State = "cannot be read"
	case one.Paused:
		v.State = "paused"
	case !one.Done.IsZero():
		v.State = "read to its end"
	}
	for _, of := range []struct {
		words *string
		time  time.Duration
	}{{&v.Settles, one.Settle}, {&v.Silent, one.Silence}, {&v.Kept, one.KeepRaw}} {
		if of.time > 0 {
			*of.words = brief(of.time)
		}
	}
	for i := len(one.Wrong) - 1; i >= 0; i-- {
		v.Wrong = append(v.Wrong, one.Wrong[i])
	}
	return v
}

// AddSource adds a source, and shows the token of a sender once.
func (s *Site) AddSource(w http.ResponseWriter, r *http.Request) {
	field := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	one := store.Source{
		Name: field("name"), Kind: field("kind"), Side: tallystick.Side(field("side")), Format: field("format"), Path: field("path"), Once: field("once") == "true",
		Driver: field("driver"),
	}
	days, err := numberOf(field("days"))
	if err == nil {
		one.Options, err = optionsOf(field("options"))
	}
	if err == nil && days > maxTokenDays {
		err = fmt.Errorf("%w: what was received is kept for at most %d days", tallystick.ErrInvalid, maxTokenDays)
	}
	if one.KeepRaw = time.Duration(days) * day; err == nil {
		one.Settle, err = durationOf(field("settle"))
	}
	if err == nil {
		one.Silence, err = durationOf(field("silence"))
	}
	var token string
	if err == nil {
		token, one, err = s.Sources.Add(r.Context(), actorOf(r), one, field("certificate"))
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	if token == "" {
		done(w, r, "/sources", "source-added")
		return
	}
	where := "posts use records to https://" + r.Host + "/api/v1/sources/" + one.Name + "/uses"
	if one.Kind == store.SourceOTLP {
		where = "exports logs to https://" + r.Host + "/v1/logs"
	}
	s.showSources(w, r, &newSecret{
		About: "The token of source " + one.Name, Value: token, Then: "Its sender " + where + " with “Authorization: Bearer …”. It opens nothing else.",
	})
}

// optionsOf reads the options of a driver, NAME=VALUE with blanks between.
func optionsOf(text string) (map[string]string, error) {
	var options map[string]string
	for _, word := range strings.Fields(text) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, problem.With(fmt.Errorf("%w: %q is not NAME=VALUE", tallystick.ErrInvalid, clip(40, word)), "Write tenant=8f1c2f0e-… and so on, with a blank between.")
		}
		if options == nil {
			options = map[string]string{}
		}
		options[name] = value
	}
	return options, nil
}

// durationOf reads how long something is, as in 30s, 10m or 2h; "" is 0.
func durationOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, problem.With(fmt.Errorf("%w: %q is not how long something is", tallystick.ErrInvalid, clip(40, text)), "Write 30s, 10m or 2h.")
	}
	return d, nil
}

// PauseSource keeps a source from being read.
func (s *Site) PauseSource(w http.ResponseWriter, r *http.Request) {
	s.turnSource(w, r, "source-paused", s.Sources.Pause)
}

// ResumeSource lets a source go on.
func (s *Site) ResumeSource(w http.ResponseWriter, r *http.Request) {
	s.turnSource(w, r, "source-resumed", s.Sources.Resume)
}

// RemoveSource forgets a source.
func (s *Site) RemoveSource(w http.ResponseWriter, r *http.Request) {
	s.turnSource(w, r, "source-removed", s.Sources.Remove)
}

func (s *Site) turnSource(w http.ResponseWriter, r *http.Request, word string, turn func(context.Context, gate.Actor, string) error) {
	if err := turn(r.Context(), actorOf(r), r.PathValue("name")); err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/sources", word)
}

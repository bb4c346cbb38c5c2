// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// readablePage answers: what could be read from this host, or with this wrapping key?
type readablePage struct {
	frame
	Question vault.Question
	Values   url.Values
	Rows     []exposureRow
	Pager    pager
	Total    int64
	Back     string
	Recall   string // leads to the plan of a recall of all of it
}

// Value returns what a parameter of the question was given as.
func (p *readablePage) Value(name string) string { return p.Values.Get(name) }

// An exposureRow is a version that could be read.
type exposureRow struct {
	store.Exposure
	Path string
}

// ListReadable is the answer to one of the two questions.
func (s *Site) ListReadable(w http.ResponseWriter, r *http.Request) {
	p := &readablePage{frame: frame{Title: "What could be read", Section: "entrusted"}, Values: r.URL.Query(), Back: "/entrusted?due=true&sort=due"}
	if err := s.fillReadable(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "readable", p)
}

func (s *Site) fillReadable(r *http.Request, p *readablePage) error {
	var err error
	if p.Question, err = vault.ParseQuestion(r.URL.Query()); err != nil {
		return err
	}
	list, count, err := s.Vault.Readable(r.Context(), actorOf(r), p.Question, store.PageRequest{After: p.Value("after"), Limit: pageRows})
	if err != nil {
		return err
	}
	for _, x := range list.Items {
		p.Rows = append(p.Rows, exposureRow{x, "/entrusted/" + x.ID})
	}
	if s.Recalls != nil {
		p.Recall = rotateURL(p.Question.Burnt())
	}
	p.Total, p.Pager = count, pagerOf(r, "after", count, list.Next)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A mistake is what was wrong with a form. The page of the form shows it, and what was
// typed, so that nobody types it again.
type mistake struct {
	problem.Problem
	form   string // which of the page's forms: the last word of its address
	values url.Values
}

// Typed is what stands in a field of a form: what was typed before a mistake, and
// otherwise what stands there at first.
func (f *frame) Typed(form, field, first string) string {
	if !f.Wrong(form) {
		return first
	}
	return f.Mistake.values.Get(field)
}

// Wrong says that a form has the mistake, so that it is shown open.
func (f *frame) Wrong(form string) bool { return f.Mistake != nil && f.Mistake.form == form }

// mendable are the kinds of mistakes that whoever sent a form can mend on its page. Others,
// such as not being allowed, are a page of their own.
var mendable = []string{"invalid", "not-found", "conflict"}

// again answers a form with a mistake: with the page that it is on. values are what was
// typed.
func (s *Site) again(w http.ResponseWriter, r *http.Request, wrong error, form string, values url.Values, stem string, show func() (page, error)) {
	about := problem.Of(wrong)
	if !slices.Contains(mendable, about.Kind) {
		s.Error(w, r, wrong)
		return
	}
	p, err := show()
	if err != nil {
		s.Error(w, r, err)
		return
	}
	about = about.Public()
	about.Detail = strings.TrimPrefix(about.Detail, tallystick.ErrInvalid.Error()+": ") // the sentence says so
	p.around().Mistake = &mistake{Problem: about, form: form, values: values}
	s.render(w, r, about.Status, stem, p)
}

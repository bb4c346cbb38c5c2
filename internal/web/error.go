// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

type errorPage struct {
	frame
	problem.Problem
	SignIn bool // whether to show the way in
}

// Error answers a request with what went wrong and what to do about it, in the
// words and with the status of package problem. Whoever opens a page without
// having signed in is led to where that is explained.
func (s *Site) Error(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, tallystick.ErrUnsigned) && r.Method == http.MethodGet && r.URL.Path == "/" {
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
		return
	}
	p := problem.Of(err)
	if p.Status >= http.StatusInternalServerError {
		s.Failed(r, err)
	}
	s.render(w, r, p.Status, "error", &errorPage{
		frame: frame{Title: p.Sentence}, Problem: p.Public(), SignIn: errors.Is(err, tallystick.ErrUnsigned),
	})
}

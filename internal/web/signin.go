// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net"
	"net/http"
)

// signInPage says how to come in, or offers to.
type signInPage struct {
	frame
	Link string // the link's secret, when one was opened
}

// SignInHelp says how to get a sign-in link.
func (s *Site) SignInHelp(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "signin", &signInPage{frame: frame{Title: "Sign in"}})
}

// SignInLink shows a button. The link is not used up by being opened: mail
// scanners and previews open links, and must not take somebody's only one.
func (s *Site) SignInLink(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "signin", &signInPage{frame: frame{Title: "Sign in"}, Link: r.PathValue("link")})
}

// SignIn uses a link up and starts a session. The cookie ends with the browser;
// the session has an end of its own.
func (s *Site) SignIn(w http.ResponseWriter, r *http.Request) {
	session, _, err := s.Access.Redeem(r.Context(), r.PathValue("link"), sourceOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	http.SetCookie(w, sessionCookie(session))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// SignOut ends the session.
func (s *Site) SignOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(SessionCookie); err == nil {
		if err := s.Access.SignOut(r.Context(), cookie.Value); err != nil {
			s.Error(w, r, err)
			return
		}
	}
	gone := sessionCookie("")
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	done(w, r, "/sign-in", "out")
}

// sourceOf returns the address that a request came from, for the record.
func sourceOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// sessionCookie returns the cookie of a session: out of reach of scripts and of
// connections without TLS. Lax, because a link in a ticket must open the page
// that it names; what changes something is a POST, which Lax keeps from others.
func sessionCookie(secret string) *http.Cookie {
	return &http.Cookie{Name: SessionCookie, Value: secret, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

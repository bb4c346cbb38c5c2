// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/web"
)

func TestSignIn(t *testing.T) {
	h := newHouse(t)
	nobody := gate.Actor{}
	h.contains(h.page(nobody, "/sign-in"), "tally user link")
	link, err := h.access.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // being looked at does not use it up
		h.contains(h.page(nobody, "/sign-in/"+link), "works once", `action="/sign-in/`+link+`"`)
	}
	w := h.ask(nobody, "/sign-in/"+link, url.Values{})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Fatalf("status %d to %q", w.Code, w.Header().Get("Location"))
	}
	cookie := w.Result().Cookies()[0]
	if cookie.Name != web.SessionCookie || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("the cookie is %+v", cookie)
	}
	if who, err := h.access.Session(t.Context(), cookie.Value); err != nil || who.Role != gate.Admin {
		t.Errorf("the session is of %+v, %v", who, err)
	}
	w = h.ask(nobody, "/sign-in/"+link, url.Values{})
	h.contains(w.Body.String(), "You are not signed in.", "How to sign in")
	if w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) != 0 {
		t.Errorf("a used link: status %d", w.Code)
	}

	r := httptest.NewRequest(http.MethodPost, "/sign-out", nil)
	r.AddCookie(cookie)
	out := httptest.NewRecorder()
	h.mux.ServeHTTP(out, r)
	if gone := out.Result().Cookies()[0]; gone.Name != web.SessionCookie || gone.MaxAge >= 0 {
		t.Errorf("signing out leaves the cookie %+v", gone)
	}
	if _, err := h.access.Session(t.Context(), cookie.Value); err == nil {
		t.Error("the session goes on after signing out")
	}
}

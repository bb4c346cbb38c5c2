// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/web"
)

func TestErrorPages(t *testing.T) {
	h := newHouse(t)
	w := h.ask(viewer, "/nowhere", nil)
	if w.Code != http.StatusNotFound {
		t.Errorf("status %d", w.Code)
	}
	h.contains(w.Body.String(), "There is no such thing.", "there is no page at this address")
	nobody := gate.Actor{}
	if w := h.ask(nobody, "/", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sign-in" {
		t.Errorf("a stranger at the first page: status %d to %q", w.Code, w.Header().Get("Location"))
	}
	w = h.ask(nobody, "/credentials", nil)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger at a list: status %d", w.Code)
	}
	h.contains(w.Body.String(), "You are not signed in.")
	h.lacks(w.Body.String(), "Sign out", `action="/credentials"`)
}

// What went wrong inside is for the log, not for the page.
func TestErrorsKeepTheirSecrets(t *testing.T) {
	var logged error
	site, err := web.New(web.Features{Failed: func(_ *http.Request, err error) { logged = err }})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	site.Error(w, httptest.NewRequest(http.MethodGet, "/", nil), errors.New("password of /srv/secret is hunter2"))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("status %d\n%s", w.Code, w.Body)
	}
	if logged == nil || !strings.Contains(logged.Error(), "hunter2") {
		t.Errorf("the log has %v", logged)
	}
}

func TestHeaders(t *testing.T) {
	h := newHouse(t)
	header := h.ask(viewer, "/", nil).Header()
	for name, want := range map[string]string{
		"Content-Security-Policy": web.ContentSecurityPolicy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Type": "text/html; charset=utf-8",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, banned := range []string{"unsafe", "*", "http:", "https:", "data:"} {
		if strings.Contains(web.ContentSecurityPolicy, banned) {
			t.Errorf("the policy has %q", banned)
		}
	}
}

func TestStatic(t *testing.T) {
	h := newHouse(t)
	page := h.page(viewer, "/")
	for pattern, kind := range map[string]string{
		`href="(/static/style\.[0-9a-f]{12}\.css)"`: "text/css; charset=utf-8", `src="(/static/page\.[0-9a-f]{12}\.js)"`: "text/javascript; charset=utf-8",
		`href="(/static/mark\.[0-9a-f]{12}\.svg)"`: "image/svg+xml",
	} {
		w := h.ask(gate.Actor{}, firstMatch(h, page, pattern), nil)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: status %d, %v", pattern, w.Code, w.Header())
		}
	}
	if w := h.ask(gate.Actor{}, "/static/style.css", nil); w.Code != http.StatusNotFound {
		t.Errorf("an address without the hash: status %d", w.Code)
	}
}

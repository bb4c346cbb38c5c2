// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"testing"
)

func TestAccessIsForAdministrators(t *testing.T) {
	h := newHouse(t)
	for address, form := range map[string]url.Values{
		"/access": nil, "/access/links": {"name": {"eve"}, "role": {"admin"}}, "/access/tokens": {"name": {"eve"}, "role": {"admin"}, "days": {"1"}},
		"/access/people/disable": {"name": {"ada"}}, "/access/tokens/1/revoke": {},
	} {
		if w := h.ask(operator, address, form); w.Code != http.StatusForbidden {
			t.Errorf("%s: status %d", address, w.Code)
		}
	}
	h.lacks(h.page(operator, "/"), `href="/access"`, `href="/audit"`)
	h.contains(h.page(admin, "/"), `href="/access"`, `href="/audit"`)
}

func TestAccessToken(t *testing.T) {
	h := newHouse(t)
	w := h.ask(admin, "/access/tokens", url.Values{"name": {"scraper"}, "role": {"viewer"}, "days": {"30"}})
	if w.Code != http.StatusOK {
		t.Fatalf("status %d\n%s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a page with a secret may be kept by the browser")
	}
	h.contains(w.Body.String(), "The token scraper", "It is shown this once", "It works until 2026-12-22.")
	secret := firstMatch(h, w.Body.String(), `<code class="value">([^<]+)</code>`)
	actor, err := h.access.Token(t.Context(), secret, "127.0.0.1")
	if err != nil || actor.Name != "scraper" {
		t.Errorf("the token lets in %+v, %v", actor, err)
	}
	page := h.page(admin, "/access")
	h.contains(page, "scraper", "2026-12-22")
	h.lacks(page, secret)
	page = h.post(admin, firstMatch(h, page, `action="(/access/tokens/\d+/revoke)"`), url.Values{})
	h.contains(page, "The token no longer works.", "revoked")
	if _, err := h.access.Token(t.Context(), secret, "127.0.0.1"); err == nil {
		t.Error("a revoked token lets in")
	}
	for _, form := range []url.Values{
		{"name": {""}, "role": {"viewer"}, "days": {"1"}}, {"name": {"x"}, "role": {"king"}, "days": {"1"}},
		{"name": {"x"}, "role": {"viewer"}, "days": {"0"}}, {"name": {"x"}, "role": {"viewer"}, "days": {"9999"}}, {"name": {"x"}, "role": {"viewer"}, "days": {"soon"}},
	} {
		if w := h.ask(admin, "/access/tokens", form); w.Code != http.StatusBadRequest {
			t.Errorf("%v: status %d", form, w.Code)
		}
	}
}

func TestAccessLink(t *testing.T) {
	h := newHouse(t)
	w := h.ask(admin, "/access/links", url.Values{"name": {"vera"}, "role": {"viewer"}})
	h.contains(w.Body.String(), "A sign-in link for vera", "https://example.com/sign-in/", "vera")
	h.ask(admin, "/access/links", url.Values{"name": {"otto"}, "role": {"operator"}})
	h.ask(admin, "/access/links", url.Values{"name": {"otto"}, "role": {""}})
	w = h.ask(admin, "/access/links", url.Values{"name": {"vera"}, "role": {"operator"}})
	h.contains(w.Body.String(), "vera was viewer and is operator from now on.")
	h.lacks(h.ask(admin, "/access/links", url.Values{"name": {"vera"}, "role": {"operator"}}).Body.String(), "from now on")
	h.contains(h.page(admin, "/access"), `<td class="name">otto</td><td data-label="Role">operator</td>`)
	h.contains(h.post(admin, "/access/people/disable", url.Values{"name": {"vera"}}), "They can no longer sign in", "disabled")
}

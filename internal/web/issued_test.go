// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/ca"
)

func TestIssuedIsFiltered(t *testing.T) {
	h := newHouse(t)
	h.issued()
	page := h.page(viewer, "/issued")
	h.contains(page, "www0.example.net", "acme/JtGx2b7Yk0", `rel="next"`)
	next := h.page(viewer, firstMatch(h, page, `href="(/issued\?after=[0-9a-f]+)" rel="next"`))
	h.contains(next, "First page", "job0.example.net")
	h.lacks(next, `rel="next"`)
	h.contains(h.page(viewer, "/issued?name=mx1.example.net"), "mx1.example.net", `<span class="muted">Name</span> mx1.example.net`)
	left := h.page(viewer, "/issued?state=recalled&answered=no")
	h.contains(left, "www6.example.net", "recalled</span>", `aria-current="true">Recalled, not replaced`)
	h.lacks(left, "www1.example.net")
	h.contains(h.page(viewer, "/issued?state=revoked"), "www0.example.net", "key-compromise")
	h.contains(h.page(viewer, "/issued?authority=servers&state=good&within=7"), "job5.example.net", `<span class="tag">+1</span>`)
	h.contains(h.page(viewer, "/issued?profile=none"), "No certificate matches")
	for _, bad := range []string{"state=odd", "within=x", "within=99999999999999", "key=zz", "authority=none"} {
		if w := h.ask(viewer, "/issued?"+bad, nil); w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
}

func TestOneCertificateWithItsLine(t *testing.T) {
	h := newHouse(t)
	first := h.issued()
	page := h.page(viewer, "/issued/"+string(first.Serial))
	h.contains(page, "Revoked", "key-compromise, “its key was in a public repository”.", "Not to be trusted since", "It is the first of its line", "5 hours ago", "/credentials?q="+first.SHA256)
	h.lacks(page, "<summary>Revoke</summary>", `action="/issued`)
	after := h.page(operator, firstMatch(h, page, `<a href="(/issued/[0-9a-f]{32})">www0.example.net`))
	h.contains(after, `<a href="/issued/`+string(first.Serial)+`">`, "this one", "Nothing took its place yet.", "<summary>Revoke</summary>", "Have it renewed now")
	recalled := h.page(viewer, firstMatch(h, h.page(viewer, "/issued?state=recalled&answered=no"), `href="(/issued/[0-9a-f]{32})"`))
	h.contains(recalled, "recalled", "https://status.example.net/incidents/7", "never; not every client asks")
	w := h.ask(viewer, "/issued/"+string(first.Serial)+"/chain.pem", nil)
	if n := strings.Count(w.Body.String(), "BEGIN CERTIFICATE"); n != 2 || w.Header().Get("Content-Type") != "application/x-pem-file" {
		t.Errorf("the chain has %d certificates and type %q", n, w.Header().Get("Content-Type"))
	}
	for address, status := range map[string]int{"/issued/00": http.StatusBadRequest, "/issued/00000000000000000000000000000000": http.StatusNotFound} {
		if w := h.ask(viewer, address, nil); w.Code != status {
			t.Errorf("%s: status %d", address, w.Code)
		}
	}
}

func TestCertificateIsRevokedAndRecalled(t *testing.T) {
	h := newHouse(t)
	h.init(ca.InitRequest{Name: "lab"})
	key := newKey(t)
	one := h.issueFor(operator, key, ca.Request{}, "www.example.net")
	other := h.issueFor(operator, key, ca.Request{Replaces: one.Serial}, "www.example.net")
	here := "/issued/" + string(one.Serial)
	h.contains(h.page(operator, here), "Others with its key", `href="/issued/`+string(other.Serial)+`"`)
	form := url.Values{"reason": {"key-compromise"}, "since": {"2026-11-21"}, "note": {"lost"}, "descendants": {"true"}}
	h.refuses(viewer, here+"/revoke", form)
	h.refuses(viewer, here+"/recall", url.Values{})
	for name, value := range map[string]string{"reason": "", "since": "lately"} {
		bad := url.Values{"reason": {"superseded"}}
		bad.Set(name, value)
		if w := h.ask(operator, here+"/revoke", bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q: status %d", name, value, w.Code)
		}
	}
	h.contains(h.post(operator, "/issued/"+string(other.Serial)+"/recall", url.Values{}), "Its client is told to renew", "recalled</span>")
	if w := h.ask(operator, "/issued/"+string(other.Serial)+"/recall", url.Values{}); w.Code != http.StatusConflict {
		t.Errorf("recalled twice: status %d", w.Code)
	}
	h.contains(h.post(operator, here+"/revoke", form), "It is revoked, and what is published says so.", "key-compromise, “lost”")
	h.contains(h.page(viewer, "/issued/"+string(other.Serial)), "Revoked")
	h.contains(h.page(viewer, "/issuers"), "2 entries, signed")
}

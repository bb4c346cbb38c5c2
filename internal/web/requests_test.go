// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"testing"
)

func TestRequestsAreDecided(t *testing.T) {
	h := newHouse(t)
	h.issued()
	h.lacks(h.page(viewer, "/requests"), "<form method=\"post\" action=\"/requests")
	own := h.page(operator, "/requests") // who has asked for both
	h.contains(own, "mx1.example.net", "You have asked for it yourself: somebody else has to approve it.", "certificates of mail servers need somebody")
	h.lacks(own, "/approve")
	page := h.page(admin, "/requests")
	approve := firstMatch(h, page, `action="(/requests/\d+/approve)"`)
	h.refuses(viewer, approve, url.Values{})
	h.refuses(operator, approve, url.Values{})
	refused := firstMatch(h, page, `(?s)mx1\.example\.net.*action="(/requests/\d+/refuse)"`)
	if w := h.ask(admin, refused, url.Values{"why": {" "}}); w.Code != http.StatusBadRequest {
		t.Errorf("refused without a reason: status %d", w.Code)
	}
	h.contains(h.post(admin, refused, url.Values{"why": {"use the new name"}}), "The request is refused.", "use the new name")
	h.contains(h.post(admin, approve, url.Values{}), "The certificate is made.", `<a href="/issued/`)
	if w := h.ask(admin, approve, url.Values{}); w.Code != http.StatusConflict {
		t.Errorf("approved twice: status %d", w.Code)
	}
	if w := h.ask(admin, "/requests/1/shrug", url.Values{}); w.Code != http.StatusNotFound {
		t.Errorf("another verb: status %d", w.Code)
	}
	h.contains(h.page(viewer, "/requests?state=waiting"), "No request is waiting")
	h.contains(h.page(viewer, "/requests?state=refused"), "intranet.example.net", "policy")
	if w := h.ask(viewer, "/requests?state=odd", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a state that there is not: status %d", w.Code)
	}
}

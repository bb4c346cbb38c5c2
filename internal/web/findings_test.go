// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

func TestFindings(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/findings"), "Nothing is wrong, as far as was looked.")
	ca := newAuthority(t, "Example CA")
	h.record("files", seen(ca.issue(newKey(t), "over.example.net", 100, 90), tallystick.RolePresents, "/etc/over.pem"),
		seen(ca.issue(newKey(t), "other.example.net", 100, 90), tallystick.RolePresents, "/etc/other.pem"))
	h.contains(h.page(viewer, "/findings"), "Expired", `href="/findings?rule=expired"`, "To do:", `<span class="number">2</span>`)
	page := h.page(operator, "/findings?rule=expired")
	h.contains(page, "<h1>Expired</h1>", "2 open", "over.example.net", "expired on 2026-11-12", "RFC 5280", "since <time")
	id := firstMatch(h, page, `action="/findings/(\d+)/accept"`)

	accept := url.Values{"reason": {"replaced <soon>"}, "until": {"2026-12-31"}, "back": {"/findings?rule=expired"}}
	page = h.post(operator, "/findings/"+id+"/accept", accept)
	h.contains(page, "The finding is accepted", "1 open")
	page = h.page(operator, "/findings?state=accepted")
	h.contains(page, "1 accepted", "Accepted by otto until", "2027-01-01", "replaced &lt;soon&gt;", "/reopen")
	h.at(testNow.Add(time.Hour))
	h.contains(h.post(operator, "/findings/"+id+"/reopen", url.Values{}), "The finding is open again.", `<span class="number">2</span>`)

	page = h.post(operator, "/findings/"+id+"/assign", url.Values{"assignee": {"ann"}, "back": {"/findings?assignee=ann"}})
	h.contains(page, "Assigned to ann", "The finding is assigned.")
	h.contains(h.page(operator, "/findings?assignee=-&rule=expired"), "1 open")

	h.record("files") // both are gone, and the findings close
	h.contains(h.page(viewer, "/findings?state=closed&rule=expired"), "2 closed", ", closed <time")
}

func TestFindingsRefuseNonsense(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "over.example.net", 100, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/over.pem"))
	id := firstMatch(h, h.page(operator, "/findings?rule=expired"), `action="/findings/(\d+)/accept"`)
	for name, form := range map[string]url.Values{
		"no reason": {"until": {"2026-12-31"}}, "no day": {"reason": {"x"}}, "a day gone by": {"reason": {"x"}, "until": {"2026-01-01"}},
		"too long": {"reason": {"x"}, "until": {"2030-01-01"}}, "no date": {"reason": {"x"}, "until": {"soon"}},
	} {
		if w := h.ask(operator, "/findings/"+id+"/accept", form); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	good := url.Values{"reason": {"x"}, "until": {"2026-12-31"}}
	for address, want := range map[string]int{"/findings/x/accept": http.StatusBadRequest, "/findings/999999/accept": http.StatusNotFound} {
		if w := h.ask(operator, address, good); w.Code != want {
			t.Errorf("%s: status %d", address, w.Code)
		}
	}
	if w := h.ask(viewer, "/findings/"+id+"/accept", good); w.Code != http.StatusForbidden {
		t.Errorf("a viewer accepts: status %d", w.Code)
	}
	if w := h.ask(viewer, "/findings?state=lost", nil); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown state: status %d", w.Code)
	}
}

// A form must not lead to another server.
func TestFindingsLeadBackHereOnly(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "over.example.net", 100, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/over.pem"))
	id := firstMatch(h, h.page(operator, "/findings?rule=expired"), `action="/findings/(\d+)/assign"`)
	for _, back := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, `\\evil.example`, "javascript:alert(1)", "evil", "/\tevil", "http:evil", "///evil.example"} {
		w := h.ask(operator, "/findings/"+id+"/assign", url.Values{"back": {back}})
		if got := w.Header().Get("Location"); got != "/findings?done=assigned" {
			t.Errorf("back to %q leads to %q", back, got)
		}
	}
}

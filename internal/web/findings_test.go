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

// All of a rule beneath a place are accepted at once, but for those whose
// credential is elsewhere too.
func TestFindingsAreAcceptedTogether(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	both := ca.issue(newKey(t), "both.example.net", 100, 90)
	h.record("files",
		seen(ca.issue(newKey(t), "one.example.net", 100, 90), tallystick.RolePresents, "/srv/old/one.pem"),
		seen(ca.issue(newKey(t), "two.example.net", 100, 90), tallystick.RolePresents, "/srv/old/two.pem"),
		seen(both, tallystick.RolePresents, "/srv/old/both.pem"), seen(both, tallystick.RolePresents, "/etc/both.pem"))
	h.contains(h.page(operator, "/findings?rule=expired"), "3 open", "With all 3 of these", "/findings?place=file%3A%2F%2F%2Fsrv%2Fold%2Fone.pem&amp;rule=expired", "and 1 other place<")
	h.lacks(h.page(viewer, "/findings?rule=expired"), "With all 3 of these")
	h.lacks(h.page(operator, "/findings?severity=low"), "With all")
	h.contains(h.page(operator, "/findings?rule=expired&place=/srv/old"), "3 open", "With all 2 of these, without 1 whose credential")

	form := url.Values{"rule": {"expired"}, "place": {"/srv/old"}, "count": {"2"}, "reason": {"an archive"}, "until": {"2026-12-31"}, "back": {"/findings?rule=expired"}}
	for name, bad := range map[string]url.Values{"another count": {"count": {"3"}}, "no count": {"count": {""}}} {
		changed := url.Values{}
		for key := range form {
			changed[key] = form[key]
		}
		changed["count"] = bad["count"]
		if w := h.ask(operator, "/findings/accept", changed); w.Code != http.StatusConflict {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	for address, want := range map[string]int{"/findings/accept": http.StatusForbidden, "/findings/assign": http.StatusForbidden} {
		if w := h.ask(viewer, address, form); w.Code != want {
			t.Errorf("a viewer at %s: status %d", address, w.Code)
		}
	}
	if w := h.ask(operator, "/findings/accept", url.Values{"count": {"3"}, "reason": {"x"}, "until": {"2026-12-31"}}); w.Code != http.StatusBadRequest {
		t.Errorf("without a filter: status %d", w.Code)
	}
	h.contains(h.post(operator, "/findings/accept", form), "The findings are accepted", "1 open", "both.example.net")
	h.contains(h.page(admin, "/audit"), "2 findings until 2027-01-01: rule=&#34;expired&#34; place=&#34;/srv/old&#34;")
	h.contains(h.page(operator, "/findings?state=accepted&rule=expired"), "2 accepted", "an archive", `action="/findings/reopen"`)
	h.contains(h.post(operator, "/findings/reopen", url.Values{"rule": {"expired"}, "state": {"accepted"}, "count": {"2"}, "back": {"/findings?rule=expired"}}),
		"The findings are open again.", "3 open")
	h.contains(h.post(operator, "/findings/assign", url.Values{"rule": {"expired"}, "count": {"3"}, "assignee": {"ann"}, "back": {"/findings?assignee=ann"}}),
		"The findings are assigned.", "3 open", "Assigned to ann")
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

// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestAudit(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "mail.example.net", 1, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/mail.pem"))
	h.page(viewer, "/credentials/"+string(c.ID))
	if w := h.ask(viewer, "/credentials/"+string(c.ID), url.Values{"owner": {"vera"}}); w.Code != http.StatusForbidden {
		t.Fatalf("status %d", w.Code)
	}
	for _, who := range []struct {
		name string
		page int
	}{{"otto", h.ask(operator, "/audit", nil).Code}, {"vera", h.ask(viewer, "/audit", nil).Code}} {
		if who.page != http.StatusForbidden {
			t.Errorf("%s reads the log: status %d", who.name, who.page)
		}
	}
	page := h.page(admin, "/audit")
	h.contains(page, "read-credential", string(c.ID), ">vera</a>", "denied", "needs the role operator")
	h.lacks(page, "The log is whole")
	page = h.page(admin, "/audit?denied=true&actor=vera&action=annotate")
	h.contains(page, "annotate", "Denied only")
	h.lacks(page, "<td data-label=\"Action\">read-credential")
	h.contains(h.page(admin, "/audit?verify=true"), "The log is whole.", "Checkpoint", "Verifier key")
	h.contains(h.page(admin, "/audit?until=2026-01-01"), "No record matches.")
	if w := h.ask(admin, "/audit?since=yesterday", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a date that is none: status %d", w.Code)
	}
}

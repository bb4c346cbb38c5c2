// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestPlace(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	one, two := ca.issue(newKey(t), "one.example.net", 1, 90), ca.issue(newKey(t), "two.example.net", 1, 90)
	h.record("files", seen(one, tallystick.RolePresents, "/etc/a b.pem"))
	address := firstMatch(h, h.page(viewer, "/places"), `href="(/place\?uri=[^"]+)"`)
	page := h.page(viewer, address)
	h.contains(page, "Here now", "one.example.net", "<li>pem</li><li>0644 root:root</li>")
	h.lacks(page, "Here before")
	h.record("files", seen(two, tallystick.RolePresents, "/etc/a b.pem"))
	h.contains(h.page(viewer, address), "two.example.net", "Here before", one.ID.Short())
	h.record("files")
	h.contains(h.page(viewer, address), "Nothing is here any more.", "Here before", one.ID.Short(), two.ID.Short())
	if w := h.ask(viewer, "/place?uri=file:///nowhere", nil); w.Code != http.StatusNotFound {
		t.Errorf("an unknown place: status %d", w.Code)
	}
}

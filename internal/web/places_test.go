// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"testing"

	"github.com/tallystick/tallystick"
)

func TestPlaces(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/places"), "Nothing has been found yet.")
	ca := newAuthority(t, "Example CA")
	one, two := ca.issue(newKey(t), "one.example.net", 1, 90), ca.issue(newKey(t), "two.example.net", 1, 90)
	h.record("files", seen(one, tallystick.RolePresents, "/etc/nginx/a b.pem"), seen(two, tallystick.RolePresents, "/srv/two.pem"))
	h.record("tls", served(one, "127.0.0.1:443"))
	page := h.page(viewer, "/places")
	h.contains(page, "3 in all", "file:///etc/nginx/a%20b.pem", "tls://127.0.0.1:443", "file:///srv/two.pem")
	page = h.page(viewer, "/places?scheme=file&prefix=file:///etc/")
	h.contains(page, "1 match", "a%20b.pem", "Begins with")
	h.lacks(page, "two.pem")
	h.record("files", seen(two, tallystick.RolePresents, "/srv/two.pem"))
	h.contains(h.page(viewer, "/places?empty=true"), "1 match", "a%20b.pem")
	h.lacks(h.page(viewer, "/places"), "a%20b.pem")
}

// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"testing"

	"github.com/tallystick/tallystick/internal/ca"
)

func TestPoliciesAreTried(t *testing.T) {
	h := newHouse(t)
	h.init(ca.InitRequest{Name: "lab"})
	page := h.page(viewer, "/policies")
	h.contains(page, "mail-needs-a-second-look", "house rule 7", "RFC 9525 section 6.3", "postgresql", "47 days")
	h.lacks(page, `class="answer"`)
	h.contains(h.page(viewer, "/policies?names=www.example.net&as=svc&role=client"), "refused</span>", "control of the names was not proven", `role is &#34;client&#34;`, "2 rules are about other requests.")
	h.contains(h.page(viewer, "/policies?names=www.example.net&as=svc&role=client&proven=true&lifetime=12h&key=ed25519"), "allowed</span>")
	h.contains(h.page(viewer, "/policies?names=mx.example.net+10.0.0.1&profile=smtp&role=operator"), "needs approval</span>", "certificates of mail servers need")
	h.contains(h.page(viewer, "/policies?names=www.example.net&lifetime=900d&role=operator"), "is longer than certificates of profile server are good for: ask for at most", "No rule was asked")
	h.contains(h.page(viewer, "/policies?names=app&profile=postgresql&role=operator"), "allowed</span>") // a common name
	h.contains(h.page(viewer, "/policies?profile=server&names="), "the request names nothing")
	for _, bad := range []string{"names=a&profile=none", "names=a&lifetime=soon", "names=a&key=dsa", "names=a&role=king", "names=a&lifetime=99999999d"} {
		if w := h.ask(viewer, "/policies?"+bad, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
	h.contains(h.page(viewer, "/issued"), "Nothing was signed yet")
}

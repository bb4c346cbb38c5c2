// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
)

func TestIssuersWithoutAny(t *testing.T) {
	h := newHouse(t)
	for _, address := range []string{"/issuers", "/policies", "/orders", "/requests", "/issued", "/renewals"} {
		h.page(viewer, address)
	}
	h.contains(h.page(viewer, "/issuers"), "Nothing is issued here yet", "tally ca init lab")
	h.contains(h.page(viewer, "/issued"), "Nothing was signed yet")
	h.contains(h.page(viewer, "/requests"), "Nobody has asked")
	h.contains(h.page(viewer, "/renewals"), "Nothing is renewed by itself yet", "tally renew add")
	h.contains(h.page(viewer, "/orders"), "No ACME client has ordered anything yet", "Nothing was renewed yet")
	h.site.Issuing = nil
	for _, address := range []string{"/issuers", "/issuers/lab", "/issued", "/issued/00", "/requests", "/policies", "/orders", "/renewals"} {
		h.contains(h.page(admin, address), "Nothing is issued here yet")
	}
}

func TestIssuersAreATree(t *testing.T) {
	h := newHouse(t)
	h.issued()
	page := h.page(viewer, "/issuers")
	h.contains(page, "1 renewal fails", "2 requests wait", "4 CAs sign", `<div class="depth1"><a href="/issuers/mail-g2">mail-g2</a>`, `<div class="depth0"><a href="/issuers/example-root">`,
		`href="/issued?authority=servers&amp;state=good"`, `6 of <a href="/issued?authority=servers&amp;state=recalled">10 recalled</a>`, "mail-g2 is ready to sign", "1 entry, signed", "0 of 300 this hour",
		"Refused or failed last", "intranet.example.net for est/printer-4")
	h.lacks(page, "Let mail-g2 sign", "<form method") // a viewer changes nothing
	h.contains(h.page(admin, "/issuers"), `<a href="/issuers/mail#next">Let mail-g2 sign</a>`)
	mail, g2 := strings.Index(page, `"/issuers/mail"`), strings.Index(page, `"/issuers/mail-g2"`)
	if servers := strings.Index(page, `"/issuers/servers"`); mail > g2 || g2 > servers {
		t.Error("a generation does not stand behind the one that it follows")
	}
	h.at(testNow.AddDate(0, 0, 20))
	h.contains(h.page(viewer, "/issuers"), "CRLs are</a> not fresh", "expired")
}

func TestOneIssuer(t *testing.T) {
	h := newHouse(t)
	h.issued()
	page := h.page(viewer, "/issuers/mail")
	h.contains(page, "only names under example.net", "no CA below it", `<a href="/issuers/example-root">example-root</a>`, "Followed by mail-g2", "mx5.example.net", `href="/pki/mail.crl"`)
	h.lacks(page, "<form method=\"post\" action=\"/issuers")
	h.contains(h.page(viewer, "/issuers/example-root"), "itself: it is a root", "1 CA below it at most")
	h.contains(h.page(viewer, "/issuers/people"), "SSH", "ssh-ed25519")
	if w := h.ask(viewer, "/issuers/none", nil); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "example-root") {
		t.Errorf("a CA that is not there: %d %s", w.Code, w.Body)
	}
	w := h.ask(viewer, "/issuers/mail/chain.pem", nil)
	block, rest := pem.Decode(w.Body.Bytes())
	above, _ := pem.Decode(rest)
	if w.Header().Get("Content-Disposition") != `attachment; filename="mail.pem"` {
		t.Errorf("the file is sent as %q", w.Header().Get("Content-Disposition"))
	}
	if err := h.parsed(block.Bytes).CheckSignatureFrom(h.parsed(above.Bytes)); err != nil {
		t.Error(err)
	}
}

func TestRolloverStepByStep(t *testing.T) {
	h := newHouse(t)
	h.init(ca.InitRequest{Name: "lab"})
	h.issue(operator, ca.Request{}, "www.example.net")
	sure := url.Values{"sure": {"true"}}
	for _, verb := range []string{"prepare", "activate", "distrust"} {
		h.refuses(operator, "/issuers/lab/"+verb, sure)
	}
	if w := h.ask(admin, "/issuers/lab/prepare", url.Values{}); w.Code != http.StatusBadRequest {
		t.Errorf("what is not confirmed has status %d", w.Code)
	}
	if w := h.ask(admin, "/issuers/lab/jump", sure); w.Code != http.StatusNotFound {
		t.Errorf("a step that there is not has status %d", w.Code)
	}
	h.contains(h.page(admin, "/issuers/lab"), `action="/issuers/lab/prepare"`, "Prepare the next generation")
	h.contains(h.post(admin, "/issuers/lab/prepare", sure), "The next generation is made", `action="/issuers/lab/activate"`, "Let lab-g2 sign")
	h.contains(h.post(admin, "/issuers/lab/activate", sure), "It signs from now on", "1 certificate by it is still in use", `name="force"`)
	if w := h.ask(admin, "/issuers/lab/distrust", sure); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "www.example.net") {
		t.Errorf("a CA that is in use is distrusted: %d", w.Code)
	}
	h.contains(h.post(admin, "/issuers/lab/distrust", url.Values{"sure": {"true"}, "force": {"true"}}), "It is distrusted here", "distrusted</span>")
}

func TestCompromiseOfAnIssuer(t *testing.T) {
	h := newHouse(t)
	h.init(ca.InitRequest{Name: "root"})
	h.init(ca.InitRequest{Name: "lab", Parent: "root", Lifetime: 365 * 24 * time.Hour})
	h.issue(operator, ca.Request{Authority: "lab"}, "www.example.net")
	form := url.Values{"confirm": {"lab"}, "since": {"2026-11-20"}, "url": {"https://status.example.net/1"}}
	h.refuses(operator, "/issuers/lab/compromise", form)
	for name, value := range map[string]string{"confirm": "root", "since": "lately", "url": "javascript:alert(1)"} {
		bad := url.Values{"confirm": {"lab"}}
		bad.Set(name, value)
		if w := h.ask(admin, "/issuers/lab/compromise", bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q has status %d", name, value, w.Code)
		}
	}
	page := h.post(admin, "/issuers/lab/compromise", form)
	h.contains(page, "clients of what it signed are told to renew now", "1 certificate by it is not replaced", "compromised</span>", `action="/issuers/lab/prepare"`)
	h.lacks(page, "Its key is compromised</summary>")
}

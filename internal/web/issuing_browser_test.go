// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tallystick/tallystick/internal/ca"
)

func TestBrowserShowsIssuing(t *testing.T) {
	h := newHouse(t)
	first := h.issued()
	b := h.newBrowser()
	b.signIn()
	list := []string{
		"/issuers", "/issuers/mail", "/issuers/people", "/issued", "/issued?state=recalled&answered=no", "/issued/" + string(first.Serial), "/requests", "/requests?state=refused",
		"/policies", "/policies?authority=servers&names=www.example.net&role=client", "/orders", "/renewals", "/renewals?lifetime=47&state=failing",
	}
	b.shows(list)
}

// What strangers wrote neither runs nor breaks out of the page.
func TestBrowserShowsHostileIssuing(t *testing.T) {
	h := newHouse(t)
	serials := h.hostileIssuing(attacks)
	client := h.issue(operator, ca.Request{Profile: "client", Names: &ca.Names{CommonName: attacks[0]}}, "a.example.net")
	b := h.newBrowser()
	b.signIn()
	list := []string{"/issuers", "/issuers/lab", "/issued", "/requests", "/requests?state=refused", "/orders", "/renewals", "/issued/" + string(client.Serial)}
	for _, serial := range serials {
		list = append(list, "/issued/"+string(serial))
	}
	b.shows(list)
}

// The forms do what they say in a real browser: a request is approved, a CA replaced
// and a certificate revoked.
func TestBrowserChangesIssuing(t *testing.T) {
	h := newHouse(t)
	h.issued()
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	b.open("/requests")
	b.do("approve", chromedp.Click(`form[action$="/approve"] button`), chromedp.WaitVisible(".notice"))
	h.contains(h.page(viewer, "/requests?state=issued"), "mx2.example.net")
	b.open("/issuers/mail")
	b.do("activate", chromedp.Click(`#next input[name="sure"]`), chromedp.Click("#next button.primary"), chromedp.WaitVisible(".notice"))
	h.contains(h.page(viewer, "/issuers/mail"), "retired</span>")
	b.open(firstMatch(h, h.page(viewer, "/issued?name=mx2.example.net"), `href="(/issued/[0-9a-f]{32})"`))
	b.do("revoke", chromedp.Click(`//summary[.="Revoke"]`), chromedp.SetValue(`select[name="reason"]`, "superseded"), chromedp.Click(`form[action$="/revoke"] button`), chromedp.WaitVisible(".notice"))
	h.contains(h.page(viewer, "/issued?name=mx2.example.net"), "superseded")
	b.calm("issuing")
}

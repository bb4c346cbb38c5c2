// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
)

// recallPages are the pages of a recall.
func recallPages(h *house, r tallystick.Recall) []string {
	h.Helper()
	root := "/recalls/" + r.Name
	target := firstMatch(h, h.page(admin, root+"/targets"), `href="(/recalls/[^"/]+/targets/\d+)"`)
	return []string{root, root + "/targets", root + "/targets?state=failed", target, root + "/evidence"}
}

func TestBrowserShowsRecalls(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(9, 4)
	h.fails(tallystick.ActInstall, "web-2", "nginx: [emerg] the disk is full")
	b := h.newBrowser()
	b.signIn()
	b.shows([]string{"/recalls", "/recalls/new"})
	r := h.begun("mail-2026", what)
	h.work(r, tallystick.RecallStopped)
	plan := url.Values{"kind": {what.Kind}, "value": {what.Value}, "plan": {"true"}}
	list := append(recallPages(h, r), "/recalls", "/recalls/new?"+plan.Encode())
	list = append(list, firstMatch(h, h.page(admin, "/recalls/mail-2026"), `href="(/recalls/mail-2026/targets/\d+)">web-2<`))
	b.shows(list)
}

// Whoever watches sees it go on, without loading the page again.
func TestBrowserFollowsARecall(t *testing.T) {
	h := newHouse(t)
	r := h.opened("mail-2026", h.stolen(4, 2))
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	b.open("/recalls/mail-2026")
	b.do("approve", chromedp.Click(`form[action$="/approve"] button`), chromedp.WaitVisible(".notice"))
	b.do("start", chromedp.Click(`form[action$="/start"] button`), chromedp.WaitVisible(`form[action$="/pause"]`))
	evaluate[bool](b, `(document.querySelector("h1").dataset.same = "yes") === "yes"`)
	before := evaluate[string](b, `document.querySelector("#clock .sentence").textContent`)
	h.work(r, tallystick.RecallDone)
	b.until(`document.querySelector("#clock .sentence").textContent.includes("All 6 are proven")`)
	b.until(`document.querySelector("#log").textContent.includes("Proven.") && document.querySelectorAll("[data-live]").length === 0`)
	if before != "0 of 6 proven." {
		t.Errorf("before: %q", before)
	}
	b.calm("a recall")
}

// What strangers wrote neither runs nor breaks out of the page.
func TestBrowserShowsHostileRecalls(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(1, 2)
	h.fails(tallystick.ActInstall, "web-1", attacks[0]+attacks[1]+attacks[2])
	r, err := h.recalls.Open(t.Context(), operator, recall.Request{Name: "hostile", What: what, Why: attacks[0] + attacks[3] + attacks[4]})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.recalls.Approve(t.Context(), admin, r.ID, r.Deadline); err != nil {
		t.Fatal(err)
	}
	if err := h.recalls.Start(t.Context(), operator, r.ID); err != nil {
		t.Fatal(err)
	}
	h.work(r, tallystick.RecallStopped)
	b := h.newBrowser()
	b.signIn()
	hostile := url.Values{"kind": {what.Kind}, "value": {what.Value}, "why": {attacks[0]}, "name": {"x"}, "plan": {"true"}}
	list := append(recallPages(h, r), "/recalls", "/recalls/new?"+hostile.Encode(), firstMatch(h, h.page(admin, "/recalls/hostile"), `href="(/recalls/hostile/targets/\d+)">web-1<`))
	b.shows(list)
}

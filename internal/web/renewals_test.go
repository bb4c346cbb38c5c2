// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestRenewalsWithTheirCalendar(t *testing.T) {
	h := newHouse(t)
	h.issued()
	page := h.page(viewer, "/renewals")
	h.contains(page, "A year ahead", "lifetime=47\">47 days", `class="t-week"`, "renewals on ", "app0-0.example.net", "As a table", "Nov 2026", "paused")
	h.lacks(page, "Renew now")
	total := func(page string) int {
		n, err := strconv.Atoi(strings.ReplaceAll(regexp.MustCompile(`([\d,]+) renewals, `).FindStringSubmatch(page)[1], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if as, short := total(page), total(h.page(viewer, "/renewals?lifetime=10")); short < 3*as {
		t.Errorf("%d renewals a year, and %d when none lives for more than 10 days", as, short)
	}
	h.contains(h.page(viewer, "/renewals?state=failing"), "shop-front", "too many certificates for example.net this week")
	h.contains(h.page(viewer, "/renewals?q=app1-2"), "app1-2", "<span class=\"muted\">Name</span> app1-2")
	h.contains(h.page(viewer, "/renewals?state=expired"), "No renewal matches")
	for _, bad := range []string{"state=odd", "lifetime=x"} {
		if w := h.ask(viewer, "/renewals?"+bad, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
}

func TestRenewalsAreTurned(t *testing.T) {
	h := newHouse(t)
	h.issued()
	back := url.Values{"back": {"/renewals?q=app1-2"}}
	for _, verb := range []string{"now", "pause", "resume"} {
		h.refuses(viewer, "/renewals/app1-2/"+verb, back)
	}
	h.contains(h.post(operator, "/renewals/app1-2/now", back), "It is renewed now.", "asked", "Renew now")
	h.contains(h.post(operator, "/renewals/app1-2/pause", back), "The renewal is paused", `action="/renewals/app1-2/resume"`)
	h.contains(h.post(operator, "/renewals/app1-2/resume", back), "The renewal goes on", `action="/renewals/app1-2/now"`)
	if w := h.ask(operator, "/renewals/app1-2/now", url.Values{"back": {"//evil.example/"}}); w.Header().Get("Location") != "/renewals?done=renewal-asked" {
		t.Errorf("led to %q", w.Header().Get("Location"))
	}
	if w := h.ask(operator, "/renewals/none/now", url.Values{}); w.Code != http.StatusNotFound {
		t.Errorf("a renewal that is not there: status %d", w.Code)
	}
}

func TestOrdersAndTheirFailures(t *testing.T) {
	h := newHouse(t)
	h.issued()
	page := h.page(viewer, "/orders")
	h.contains(page, "shop-front", "too many certificates for example.net this week", "1 failure", "blog1.example.net:80 did not answer within 10 s", "blog0.example.net", "/orders?account=JtGx2b7Yk0")
	h.lacks(h.page(viewer, "/orders?renewal=app0-0"), "blog0", "shop-front")
	h.lacks(h.page(viewer, "/orders?status=invalid&account=JtGx2b7Yk0"), "blog0", "shop-front")
	next := h.page(viewer, firstMatch(h, page, `href="(/orders\?before=\d+)" rel="next"`))
	h.contains(next, "app0-0")
	for _, bad := range []string{"renewal=none", "before=x"} {
		if w := h.ask(viewer, "/orders?"+bad, nil); w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
}

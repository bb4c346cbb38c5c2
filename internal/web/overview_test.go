// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/x509"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestOverviewOfNothing(t *testing.T) {
	h := newHouse(t, pauseDriver())
	page := h.page(viewer, "/")
	h.contains(page, "Nothing has been found yet.", `href="/runs">Start a look`)
	h.lacks(page, "Worst first", "<svg class=\"timeline\"")
}

func TestOverview(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	h.record("files",
		seen(ca.issue(newKey(t), "soon.example.net", 87, 90), tallystick.RolePresents, "/etc/soon.pem"),
		seen(ca.issue(newKey(t), "later.example.net", 1, 90), tallystick.RolePresents, "/etc/later.pem"),
		seen(ca.issue(newKey(t), "over.example.net", 100, 90), tallystick.RolePresents, "/etc/over.pem"),
	)
	page := h.page(viewer, "/")
	h.contains(page,
		">1 certificate</a> ends within seven days", " and <a", "</a> has ended and is still there.",
		"3 credentials</a> with 3 keys at <a", "Worst first", "/findings?rule=expired",
		"1 ends on Wednesday 2026-11-25", "ends_after=2026-11-25&amp;ends_before=2026-11-26&amp;leaf=true&amp;sample=false",
		"The move would touch <strong>3</strong> of 3 credentials (100 %)",
	)
	// A number leads to the list that it counts.
	h.contains(h.page(viewer, "/credentials?leaf=true&ends_after=2026-11-25&ends_before=2026-11-26"), "1 match", "soon.example.net")
	h.contains(h.page(viewer, "/credentials?leaf=true&sample=false&ends_before=2026-11-22T12:00:00Z"), "1 match", "over.example.net")
}

// The test keys of packages need nobody, and the first sentence is not about them.
func TestOverviewLeavesSamplesOut(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	h.record("files",
		seen(ca.issue(newKey(t), "one.example.net", 100, 90), tallystick.RolePresents, "/root/go/pkg/mod/example.org/x@v1/testdata/one.pem"),
		seen(ca.issue(newKey(t), "two.example.net", 87, 90), tallystick.RoleHolds, "/usr/lib/python3/dist-packages/x/two.pem"),
	)
	page := h.page(viewer, "/")
	h.contains(page, "Nothing needs you today.", "Not counted above: <a", ">1 certificate</a> that ended in packages", "No certificate ends in this time.")
	h.contains(h.page(viewer, "/credentials?leaf=true&sample=true&ends_before=2026-11-22T12:00:00Z"), "1 match", "one.example.net")
	h.contains(h.page(viewer, "/credentials?kind=certificate&sample=false"), "No credential matches")
}

// What an authority has to renew is no outage of a server.
func TestOverviewLeavesAuthoritiesOut(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	soon := ca.issue(newKey(t), "Example Sub CA", 87, 90, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	h.record("files", seen(soon, tallystick.RolePresents, "/etc/ca.pem"))
	h.contains(h.page(viewer, "/"), "No certificate ends in this time.")
}

func TestOverviewShowsRunningLooks(t *testing.T) {
	h := newHouse(t, pauseDriver())
	page := h.post(operator, "/runs", map[string][]string{"job": {"pause"}})
	h.contains(page, "The look is queued", "waiting for its turn")
	h.contains(h.page(viewer, "/"), "The first look has begun.", `<div data-live id="running">`, "waiting for its turn")
}

// Recalls that wait for somebody, or go on, come first.
func TestOverviewNamesRecalls(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(1, 0)
	h.lacks(h.page(viewer, "/"), "recall</a>")
	r := h.opened("mail-2026", what)
	h.contains(h.page(viewer, "/"), `<a href="/recalls/mail-2026">1 recall</a> waits for approval`)
	h.begin(r)
	h.contains(h.page(viewer, "/"), `<a href="/recalls/mail-2026">1 recall</a> goes on`)
	h.fails(tallystick.ActInstall, "mail-sync", "the disk is full")
	h.work(r, tallystick.RecallStopped)
	h.contains(h.page(viewer, "/"), `<a href="/recalls/mail-2026">1 recall</a> is stopped`)
}

// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSourcesAreShown(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/sources"), "Nothing is read yet", "An administrator can do that here")
	h.used()
	page := h.page(viewer, "/sources")
	h.contains(page, "4 sources, and nothing keeps any from being read.", "mail-sync-eu-1", "/var/log/backup/uses.ndjson", "entra-signin", "silent after 6 hours", "<strong>3</strong>",
		"/var/log/slapd.log:10412: the line ends in the middle", "by its own closing marks")
	h.lacks(page, "<form method", "Add a source") // a viewer changes nothing
	h.contains(h.page(viewer, "/books"), `href="/sources"`)
	one, err := h.db.Source(t.Context(), "dc1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.db.FailSource(t.Context(), one.ID, "permission denied"); err != nil {
		t.Fatal(err)
	}
	h.contains(h.page(viewer, "/sources"), "1 source cannot be read.", "permission denied")
}

func TestSourcesAreAddedAndTurned(t *testing.T) {
	h := newHouse(t)
	file := url.Values{
		"name": {"edge"}, "kind": {"file"}, "side": {"relying"}, "format": {"nginx"}, "path": {"/var/log/nginx/tally.log"}, "settle": {"30s"}, "silence": {"2h"}, "days": {"7"},
	}
	for _, address := range []string{"/sources", "/sources/edge/pause", "/sources/edge/resume", "/sources/edge/remove"} {
		if w := h.ask(operator, address, file); w.Code != http.StatusForbidden {
			t.Errorf("%s: an operator has status %d", address, w.Code)
		}
	}
	h.contains(h.post(admin, "/sources", file), "The source is added", "edge", "closed up to 30 s before now, silent after 2 hours, kept raw for 7 days")
	h.contains(h.post(admin, "/sources/edge/pause", url.Values{}), "The source is paused", "paused</td>", "/sources/edge/resume")
	h.contains(h.post(admin, "/sources/edge/resume", url.Values{}), "The source goes on", "/sources/edge/pause")
	h.lacks(h.post(admin, "/sources/edge/remove", url.Values{}), "/sources/edge/")
	if w := h.ask(admin, "/sources/edge/pause", url.Values{}); w.Code != http.StatusNotFound {
		t.Errorf("a source that is removed is paused: status %d", w.Code)
	}
	for name, value := range map[string]string{"name": "a b", "kind": "x", "side": "x", "format": "x", "path": "relative", "settle": "soon", "silence": "-1s", "days": "900", "certificate": "00"} {
		bad := url.Values{}
		for key, values := range file {
			bad[key] = values
		}
		bad.Set(name, value)
		if w := h.ask(admin, "/sources", bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q: status %d", name, value, w.Code)
		}
	}
}

func TestSourceTokenIsShownOnce(t *testing.T) {
	h := newHouse(t)
	w := h.ask(admin, "/sources", url.Values{"name": {"broker"}, "kind": {"http"}, "side": {"holder"}, "days": {"0"}})
	page := w.Body.String()
	token := firstMatch(h, page, `<code class="value">(tallysrc_[^<]+)</code>`)
	h.contains(page, "The token of source broker", "https://example.com/api/v1/sources/broker/uses")
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a page with a secret may be kept by the browser")
	}
	h.lacks(h.page(admin, "/sources"), token)
	w = h.ask(admin, "/sources", url.Values{"name": {"apps"}, "kind": {"otlp"}, "side": {"holder"}})
	if !strings.Contains(w.Body.String(), "https://example.com/v1/logs") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

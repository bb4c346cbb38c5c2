// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

func TestRuns(t *testing.T) {
	h := newHouse(t, pauseDriver())
	h.contains(h.page(operator, "/runs"), "Nothing has been looked at yet.", "Look now", "every 24 hours", "this machine", "not looked yet")
	h.lacks(h.page(viewer, "/runs"), "Look now")
	if w := h.ask(viewer, "/runs", url.Values{"job": {"pause"}}); w.Code != http.StatusForbidden {
		t.Errorf("a viewer starts a look: status %d", w.Code)
	}
	if w := h.ask(operator, "/runs", url.Values{"job": {"other"}}); w.Code != http.StatusNotFound {
		t.Errorf("an unknown job: status %d", w.Code)
	}
	page := h.post(operator, "/runs", url.Values{"job": {"pause"}})
	h.contains(page, "waiting for its turn", "by otto", "data-live")
	id := firstMatch(h, page, `action="/runs/(\d+)/cancel"`)
	h.contains(h.page(operator, "/runs"), `data-live`, "waiting")
	h.contains(h.post(operator, "/runs/"+id+"/cancel", url.Values{}), "cancelled", "Look again")
	h.lacks(h.page(operator, "/runs"), "data-live")
}

func TestRunsPaging(t *testing.T) {
	h := newHouse(t)
	for i := range 60 {
		h.record(fmt.Sprintf("job%02d", i))
	}
	page := h.page(viewer, "/runs")
	h.contains(page, "job59", "job10")
	h.lacks(page, "job09")
	page = h.page(viewer, firstMatch(h, page, `href="([^"]+)" rel="next"`))
	h.contains(page, "job09", "job00", "First page")
	h.lacks(page, "job10", `rel="next"`)
}

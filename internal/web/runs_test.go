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

func TestPausingARun(t *testing.T) {
	h := newHouse(t, pauseDriver())
	page := h.post(operator, "/runs", url.Values{"job": {"pause"}})
	id := firstMatch(h, page, `action="/runs/(\d+)/pause"`)
	if w := h.ask(viewer, "/runs/"+id+"/pause", url.Values{}); w.Code != http.StatusForbidden {
		t.Errorf("a viewer pauses a look: status %d", w.Code)
	}
	page = h.post(operator, "/runs/"+id+"/pause", url.Values{})
	h.contains(page, "The look stops until it is resumed.", ">paused</span>", "Resume", "Cancel")
	h.lacks(page, "data-live", "Look again", ">Pause<")
	h.contains(h.page(operator, "/runs"), `action="/runs/`+id+`/resume"`, "paused")
	h.lacks(h.page(operator, "/runs"), "Look now")
	h.contains(h.post(operator, "/runs/"+id+"/resume", url.Values{}), "The look goes on", "waiting for its turn")
	h.post(operator, "/runs/"+id+"/cancel", url.Values{})
	if w := h.ask(operator, "/runs/"+id+"/pause", url.Values{}); w.Code != http.StatusConflict {
		t.Errorf("what has ended is paused: status %d", w.Code)
	}
}

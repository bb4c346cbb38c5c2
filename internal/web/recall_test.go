// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/web"
)

func TestRecallIsPlannedAndOpened(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(4, 2)
	h.contains(h.page(viewer, "/recalls"), "Nothing was ever recalled")
	h.lacks(h.page(viewer, "/recalls"), "/recalls/new")
	h.contains(h.page(operator, "/recalls/new?kind=key"), `value="key" selected`, "A plan looks at every door")
	form := url.Values{"kind": {what.Kind}, "value": {what.Value}, "why": {"It was <b>stolen</b>"}, "name": {"mail-2026"}, "plan": {"true"}}
	plan := h.page(operator, "/recalls/new?"+form.Encode())
	h.contains(plan, "2 places show it", "4 connections sign in with it", "mail-sync → ldap-3", "1, 3, 2", "Open the recall")
	h.contains(h.post(operator, "/recalls", form), "The recall is open.", "waits for approval", "6 places and connections. It waits for the approval of somebody other than otto.", "It was &lt;b&gt;stolen&lt;/b&gt;", "5 days 23 hours left")
	h.lacks(h.page(operator, "/recalls/mail-2026"), ">Approve<", ">Begin<")
	h.contains(h.page(viewer, "/recalls"), "1 recall waits", "mail-2026", "0 of 6")
	if w := h.ask(viewer, "/recalls", form); w.Code != http.StatusForbidden {
		t.Errorf("a viewer opens one: %d", w.Code)
	}
}

func TestRecallRuns(t *testing.T) {
	h := newHouse(t)
	r := h.opened("mail-2026", h.stolen(4, 2))
	page := h.page(admin, "/recalls/mail-2026")
	deadline := firstMatch(h, page, `name="deadline" value="([^"]+)"`)
	h.contains(h.post(admin, "/recalls/mail-2026/approve", url.Values{"deadline": {deadline}}), "Your approval is on record", ">Begin<", "It is approved, and has not begun")
	h.contains(h.post(operator, "/recalls/mail-2026/start", url.Values{}), "It has begun", "0 of 6 proven.", "Wave 1, now", `data-live`, `data-events="/recalls/mail-2026/events?after=`, ">Pause<")
	h.contains(h.post(operator, "/recalls/mail-2026/pause", url.Values{"reason": {"lunch"}}), "It is paused", ">Resume<", "lunch")
	h.post(operator, "/recalls/mail-2026/resume", url.Values{})
	h.work(r, tallystick.RecallDone)
	done := h.page(viewer, "/recalls/mail-2026")
	h.contains(done, "All 6 are proven: the new one works there, and the old one is dead.", "before its deadline", "all are through", "Nothing: everything is proven.", "otto started the recall")
	h.lacks(done, "data-live", "data-events", ">Cancel")
	target := h.page(viewer, firstMatch(h, h.page(viewer, "/recalls/mail-2026/targets?state=proven&door=ldap-2"), `href="(/recalls/mail-2026/targets/\d+)"`))
	h.contains(target, "prove", "refused", "What came of it", "by the server")
}

func TestRecallNamesWhoHoldsItUp(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(4, 2)
	h.fails(tallystick.ActInstall, "web-1", "the disk <script> is full")
	h.fails(tallystick.ActInstall, "web-1", "the disk <script> is full")
	r := h.begun("mail-2026", what)
	h.work(r, tallystick.RecallStopped)
	page := h.page(operator, "/recalls/mail-2026")
	h.contains(page, "stopped", "1 failed", "web-1", "the disk &lt;script&gt; is full", ">Resume<", "Retry what failed, or skip it with a reason; then resume.", "Then retry the target, or skip it")
	target := firstMatch(h, page, `href="(/recalls/mail-2026/targets/\d+)">web-1<`)
	h.contains(h.page(operator, target), ">Try again<", "Skip it", "install", "failed")
	h.lacks(h.page(viewer, target), "Try again", "Skip it")
	h.estate.SetFault(nil)
	h.contains(h.post(operator, target+"/retry", url.Values{}), "It is tried again now.")
	h.post(operator, "/recalls/mail-2026/resume", url.Values{})
	h.work(r, tallystick.RecallDone)
	h.contains(h.page(viewer, "/recalls/mail-2026"), "All 6 are proven")
}

func TestRecallTargetIsSkipped(t *testing.T) {
	h := newHouse(t)
	r := h.begun("mail-2026", h.stolen(1, 1))
	list := h.page(viewer, "/recalls/mail-2026/targets")
	target := firstMatch(h, list, `href="(/recalls/mail-2026/targets/\d+)">web-1<`)
	if w := h.ask(operator, target+"/skip", url.Values{}); w.Code != http.StatusBadRequest {
		t.Errorf("without a reason: %d", w.Code)
	}
	h.contains(h.post(operator, target+"/skip", url.Values{"reason": {"It is switched off tomorrow"}}), "It is skipped", "skipped")
	h.work(r, tallystick.RecallDone)
	h.contains(h.page(viewer, "/recalls/mail-2026"), "1 of 2 proven, 1 skipped.")
	h.contains(h.page(viewer, "/recalls/mail-2026/targets?state=skipped"), "web-1", "It is switched off tomorrow")
	h.lacks(h.page(viewer, "/recalls/mail-2026/targets?state=skipped"), "ldap-1")
}

func TestRecallIsExtendedAndCancelled(t *testing.T) {
	h := newHouse(t)
	h.begun("mail-2026", h.stolen(2, 0))
	later := h.clock().Add(20 * 24 * time.Hour).UTC().Format("2006-01-02T15:04")
	h.contains(h.post(operator, "/recalls/mail-2026/extend", url.Values{"deadline": {later}}), "waits for the approval of somebody else", "otto asks for the deadline")
	page := h.page(admin, "/recalls/mail-2026")
	h.contains(page, "Approve the new deadline")
	h.contains(h.post(admin, "/recalls/mail-2026/approve", url.Values{"deadline": {firstMatch(h, page, `name="deadline" value="([^"]+)"`)}}), "19 days")
	h.contains(h.post(operator, "/recalls/mail-2026/cancel", url.Values{"reason": {"a false alarm"}}), "The recall is cancelled", "a false alarm")
	for path, status := range map[string]int{"/recalls/none": 404, "/recalls/none/evidence": 404, "/recalls/mail-2026/targets/1": 404, "/recalls/mail-2026/targets/x": 400} {
		if w := h.ask(viewer, path, nil); w.Code != status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/recalls/mail-2026/explode", "/recalls/mail-2026/targets/1/explode"} {
		if w := h.ask(operator, path, url.Values{}); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Who makes a mistake in a form gets it back with what they typed, and with what was wrong.
func TestRecallFormsKeepWhatWasTyped(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(2, 0)
	form := url.Values{"kind": {what.Kind}, "value": {what.Value}, "why": {"It was stolen"}, "quiet": {"soon"}, "canary": {"2"}, "plan": {"true"}}
	wrong := func(as gate.Actor, address string, form url.Values, texts ...string) {
		t.Helper()
		w := h.ask(as, address, form)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", address, w.Code)
		}
		h.contains(w.Body.String(), append(texts, `role="alert"`)...)
		h.lacks(w.Body.String(), "invalid input:", "data-live")
	}
	wrong(operator, "/recalls/new?"+form.Encode(), nil, "&#34;soon&#34; is not how long something is", `value="soon"`, `value="It was stolen"`, `value="2"`, what.Value)
	form.Set("quiet", "")
	form.Set("name", "Mail!")
	wrong(operator, "/recalls", form, "cannot be the name of a recall", `value="Mail!"`, `value="It was stolen"`)
	wrong(operator, "/recalls/new?plan=true&kind=key&why=because", nil, "which one is burnt is missing", `value="because"`)
	form.Set("name", "mail-2026")
	h.post(operator, "/recalls", form)
	wrong(operator, "/recalls/mail-2026/extend", url.Values{}, "the deadline is missing", "Choose a day and a time")
	wrong(operator, "/recalls/mail-2026/extend", url.Values{"deadline": {"2020-02-02T02:02"}}, "the deadline 2020-02-02T02:02:00Z has passed", "<details open><summary>Extend", `value="2020-02-02T02:02"`)
	target := firstMatch(h, h.page(operator, "/recalls/mail-2026/targets"), `href="(/recalls/mail-2026/targets/\d+)"`)
	wrong(operator, target+"/skip", url.Values{"reason": {" "}}, "a target is skipped for a reason", "<details open><summary>Skip")
	if w := h.ask(operator, "/recalls", form); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), `value="It was stolen"`) {
		t.Errorf("a second one of the name: %d\n%s", w.Code, w.Body)
	}
	if w := h.ask(viewer, "/recalls/mail-2026/extend", url.Values{"deadline": {"2036-02-02T02:02"}}); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "<form class=\"stack\"") {
		t.Errorf("a viewer: %d", w.Code)
	}
}

// A rehearsal has two phases, and ends with who would have been left without.
func TestRehearsalSaysWhoBroke(t *testing.T) {
	h := newHouse(t)
	what := h.stolen(3, 1)
	h.recalls.Uses = usedAt{"ldap-2": 4}
	r, err := h.recalls.Open(t.Context(), operator, recall.Request{Name: "drill", What: what, Rehearse: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	h.begin(r)
	h.contains(h.page(viewer, "/recalls/drill"), "0 of 3 rehearsed.", "<h2>Block</h2>", "<h2>Let in again</h2>", "when the rehearsal is over")
	h.work(r, tallystick.RecallDone)
	page := h.page(viewer, "/recalls/drill")
	h.contains(page, "All 3 were rehearsed, and are as they were. 1 would have been left without one.", "mail-sync → ldap-2</a> used it 4 times while it was blocked", "undoes itself after 1m")
	h.lacks(page, "<h2>Prepare</h2>", "<h2>Drain</h2>", "<h2>Not proven", "mail-sync → ldap-1</a> used it", "At the deadline")
	h.contains(h.page(viewer, "/recalls/drill/targets"), "rehearsed", ">let in again<")
}

// usedAt are the books of holders that went on at relying parties.
type usedAt map[string]int64

func (u usedAt) Quiet(_ context.Context, q recall.DrainQuestion) (recall.DrainAnswer, error) {
	var a recall.DrainAnswer
	for party, n := range u {
		for _, asked := range q.RelyingParties {
			if strings.Contains(asked, party) {
				a.Books, a.Uses = 1, n
			}
		}
	}
	return a, nil
}

func TestRecallSaysThatNobodyWorksAtIt(t *testing.T) {
	h := newHouse(t)
	h.begun("mail-2026", h.stolen(1, 1))
	h.lacks(h.page(viewer, "/recalls/mail-2026"), "No server works at it")
	h.at(h.clock().Add(2 * time.Minute))
	h.contains(h.page(viewer, "/recalls/mail-2026"), "No server works at it: ")
	h.post(operator, "/recalls/mail-2026/pause", url.Values{})
	h.at(h.clock().Add(2 * time.Minute))
	h.lacks(h.page(viewer, "/recalls/mail-2026"), "No server works at it")
}

// Nobody is said to be at work who waits: for approval, for the beginning, for a gate, or behind a pause.
func TestRecallSaysWhoWaits(t *testing.T) {
	h := newHouse(t)
	r := h.opened("mail-2026", h.stolen(4, 2))
	const path, atIt = "/recalls/mail-2026", "at it now"
	idle := func(when string) {
		t.Helper()
		page := h.page(viewer, path)
		if !strings.Contains(page, ">6 wait</a>") || strings.Contains(page, atIt) || strings.Contains(page, `card busy`) {
			t.Errorf("%s: somebody works, or nobody waits:\n%s", when, page)
		}
	}
	idle("before it is approved")
	if err := h.recalls.Approve(t.Context(), admin, r.ID, r.Deadline); err != nil {
		t.Fatal(err)
	}
	idle("before it has begun")
	h.post(operator, path+"/start", url.Values{})
	h.contains(h.page(viewer, path), ">1 at it now, 5 wait</a>") // the gate of the canary is shut
	h.post(operator, path+"/pause", url.Values{"reason": {"lunch"}})
	idle("while it is paused")
	h.post(operator, path+"/cancel", url.Values{"reason": {"a false alarm"}})
	cancelled := h.page(viewer, path)
	h.contains(cancelled, ">6 got no further</a>")
	h.lacks(cancelled, atIt, " wait</a>")
}

// Where only a person can go on nobody is at work, and what is behind them waits, too.
func TestRecallThatWaitsForAPerson(t *testing.T) {
	h := newHouse(t)
	plan := store.RecallPlan{
		Recall: tallystick.Recall{Name: "by-hand", State: tallystick.RecallApproved, What: h.stolen(1, 0), Waves: tallystick.Waves{Canary: 1, Growth: 1}, Deadline: h.clock().Add(time.Hour), Opened: h.clock()},
		Targets: []store.PlannedTarget{
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetPerson, Wave: 1, Instructions: "Call the vendor."}},
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetConnection, Wave: 1, Holder: "mail-sync", Relying: "ldap-1"}},
		},
		Steps: []store.PlannedStep{
			{Act: tallystick.ActPerson, Phase: tallystick.PhaseActivate, Targets: []int{0}, From: -1},
			{Act: tallystick.ActBlock, Phase: tallystick.PhaseRevoke, Targets: []int{1}, Door: "ldap-1", From: -1, After: []int{0}},
		},
	}
	r, err := h.db.InsertRecall(t.Context(), plan, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.recalls.Start(t.Context(), operator, r.ID); err != nil {
		t.Fatal(err)
	}
	page := h.page(viewer, "/recalls/by-hand")
	if n := strings.Count(page, ">1 waits</a>"); n != 2 || strings.Contains(page, "at it now") {
		t.Errorf("%d phases wait:\n%s", n, page)
	}
}

func TestRecallOfOneConnection(t *testing.T) {
	h := newHouse(t)
	r := h.begun("mail-2026", h.stolen(1, 0))
	h.work(r, tallystick.RecallDone)
	page := h.page(viewer, "/recalls/mail-2026")
	h.contains(page, "It is proven: the new one works there, and the old one is dead.", "The only place or connection", `">mail-sync → ldap-1</a>: Proven.`)
	h.lacks(page, "All 1")
}

func TestEvidenceIsDownloaded(t *testing.T) {
	h := newHouse(t)
	r := h.begun("mail-2026", h.stolen(2, 1))
	h.work(r, tallystick.RecallDone)
	page := h.page(operator, "/recalls/mail-2026/evidence")
	key := firstMatch(h, page, `<code>(tallystick/audit/[^<]+)</code>`)
	h.contains(page, "All 3 are proven", "mail-2026-evidence.zip --key tallystick/audit/", "Download")
	h.lacks(h.page(viewer, "/recalls/mail-2026/evidence"), "evidence.zip\" download")
	w := h.ask(operator, "/recalls/mail-2026/evidence.zip", nil)
	if w.Code != http.StatusOK || w.Header().Get("Content-Disposition") != `attachment; filename="mail-2026-evidence.zip"` {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	report, err := evidence.Verify(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()), key)
	if err != nil || report.Targets["proven"] != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len())); err != nil {
		t.Error(err)
	}
	if w := h.ask(viewer, "/recalls/mail-2026/evidence.zip", nil); w.Code != http.StatusForbidden || w.Header().Get("Content-Disposition") != "" {
		t.Errorf("a viewer: %d %v", w.Code, w.Header())
	}
}

// Events come as they happen, each once, and a reader who comes again goes on.
func TestRecallEvents(t *testing.T) {
	h := newHouse(t)
	r := h.opened("mail-2026", h.stolen(1, 0))
	server := httptest.NewServer(h.as(viewer))
	t.Cleanup(server.Close) // behind the streams, for which it waits
	first := h.stream(server.URL+"/recalls/mail-2026/events", "")
	if id, text := first(); id != "1" || !strings.Contains(text, "otto opened the recall") {
		t.Errorf("%s %s", id, text)
	}
	if err := h.recalls.Approve(t.Context(), admin, r.ID, r.Deadline); err != nil {
		t.Fatal(err)
	}
	if id, text := first(); id != "2" || !strings.Contains(text, "ada approved") {
		t.Errorf("%s %s", id, text)
	}
	if id, _ := h.stream(server.URL+"/recalls/mail-2026/events", "1")(); id != "2" {
		t.Errorf("behind the first comes %s", id)
	}
	if id, _ := h.stream(server.URL+"/recalls/mail-2026/events?after=1", "")(); id != "2" {
		t.Errorf("behind the first comes %s", id)
	}
	if w := h.ask(viewer, "/recalls/none/events", nil); w.Code != http.StatusNotFound {
		t.Errorf("of none: %d", w.Code)
	}
}

// A server that bounds requests lets streams go on.
func TestRecallEventsOutlastRequests(t *testing.T) {
	h := newHouse(t)
	r := h.opened("mail-2026", h.stolen(1, 0))
	server := httptest.NewUnstartedServer(h.as(viewer))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	next := h.stream(server.URL+"/recalls/mail-2026/events", "")
	next()
	time.Sleep(time.Second)
	if err := h.recalls.Approve(t.Context(), admin, r.ID, r.Deadline); err != nil {
		t.Fatal(err)
	}
	if id, _ := next(); id != "2" {
		t.Errorf("then comes %s", id)
	}
}

// as is the site as somebody sees it.
func (h *house) as(who gate.Actor) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mux.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), who)))
	})
}

// stream reads events one by one.
func (h *house) stream(address, last string) func() (id, data string) {
	h.Helper()
	ctx, stop := context.WithTimeout(h.Context(), 20*time.Second)
	h.Cleanup(stop)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		h.Fatal(err)
	}
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		h.Fatal(answer, err)
	}
	h.Cleanup(func() { answer.Body.Close() })
	lines := bufio.NewScanner(answer.Body)
	return func() (id, data string) {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return id, text
			}
		}
		h.Fatal("the stream has ended: ", lines.Err())
		return "", ""
	}
}

// A recall of many places stays a small page.
func TestLargeRecall(t *testing.T) {
	h := newHouse(t)
	r := h.opened("large", h.stolen(1, 400))
	for _, path := range []string{"", "/targets", "/evidence", "/targets?wave=3"} {
		h.page(operator, "/recalls/large"+path)
	}
	h.page(operator, fmt.Sprintf("/recalls/new?plan=true&kind=%s&value=%s", r.What.Kind, r.What.Value))
}

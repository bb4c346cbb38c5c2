// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
)

// furnishRecalls returns an engine over doors in this process: a holder that signs in at
// two doors. Its clock is the real one, as is that of the CA which its doors ask.
func furnishRecalls(t testing.TB, db *store.DB, log *audit.Log) *recall.Engine {
	t.Helper()
	desk, err := recalltest.NewDesk()
	must(t, err)
	estate := recalltest.New("desk", time.Now)
	old, err := desk.Certify("mail-sync", nil)
	must(t, err)
	estate.AddHolder("mail-sync", old)
	estate.AddRelying("ldap", old)
	estate.AddRelying("imap", old)
	e, err := recall.New(recall.Config{
		DB: db, Gate: gate.New(log, time.Now), Log: log, Doors: estate, Now: time.Now, Node: "test", Issuers: func(string) (driver.Issuer, error) { return desk, nil },
		Defaults: recall.Defaults{Quiet: time.Millisecond},
	})
	must(t, err)
	return e
}

// burntHere is the credential of the doors.
func (f *fixture) burntHere() object {
	f.Helper()
	view, err := f.Recalls.Doors.Look(f.Context(), "mail-sync")
	must(f.TB, err)
	return object{"kind": tallystick.BurntCredential, "value": view.Shown[0].Names()[0]}
}

func TestRecallOverTheAPI(t *testing.T) {
	onBoth(t, func(f *fixture) {
		request := object{"name": "mail-2026", "what": f.burntHere(), "why": "stolen", "quiet": 2}
		plan := post[recallPlanBody](f, gate.Operator, http.StatusOK, "/api/v1/recalls/plan", request)
		if len(plan.Targets) != 2 || plan.Recall.Quiet != 2 || plan.Steps < 10 {
			t.Errorf("the plan: %+v", plan)
		}
		opened := post[recallBody](f, gate.Operator, http.StatusOK, "/api/v1/recalls", request)
		if opened.State != tallystick.RecallWaiting || opened.Quiet != 2 {
			t.Errorf("opened: %+v", opened)
		}
		post[details](f, gate.Operator, http.StatusConflict, "/api/v1/recalls", request)
		post[details](f, gate.Viewer, http.StatusForbidden, "/api/v1/recalls", request)
		approval := object{"deadline": opened.Deadline}
		post[details](f, gate.Operator, http.StatusForbidden, "/api/v1/recalls/mail-2026/approve", approval)
		post[details](f, gate.Admin, http.StatusConflict, "/api/v1/recalls/mail-2026/approve", object{"deadline": opened.Deadline.Add(time.Hour)})
		if s := post[recallStatusBody](f, gate.Admin, http.StatusOK, "/api/v1/recalls/mail-2026/approve", approval); s.State != tallystick.RecallApproved || len(s.ApprovedBy) != 1 {
			t.Errorf("approved: %+v", s)
		}
		answerOf[recallStatusBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/recalls/mail-2026/start", ""), http.StatusOK)
		if s := post[recallStatusBody](f, gate.Operator, http.StatusOK, "/api/v1/recalls/mail-2026/pause", object{"reason": "lunch"}); s.State != tallystick.RecallPaused || s.Reason != "lunch" {
			t.Errorf("paused: %+v", s)
		}
		answerOf[recallStatusBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/recalls/mail-2026/resume", ""), http.StatusOK)
		f.recallDone("mail-2026")
		f.recallIsTold()
		if list := get[recallsBody](f, gate.Viewer, "/api/v1/recalls"); len(list.Items) != 1 || list.Items[0].Name != "mail-2026" || list.Next != "" {
			t.Errorf("the list: %+v", list)
		}
	})
}

// recallDone lets the engine work until a recall is done.
func (f *fixture) recallDone(name string) {
	f.Helper()
	ctx, stop := context.WithCancel(f.Context())
	var failed atomic.Value
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Recalls.Run(ctx, func(err error) { failed.Store(err) })
	}()
	defer func() {
		stop()
		<-ended
	}()
	for range 600 {
		if s := get[recallStatusBody](f, gate.Viewer, "/api/v1/recalls/"+name); s.State == tallystick.RecallDone {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.Fatal("the recall does not come to an end: ", failed.Load())
}

// recallIsTold asks for all there is to read of a recall that is done.
func (f *fixture) recallIsTold() {
	f.Helper()
	targets := get[recallTargetsBody](f, gate.Viewer, "/api/v1/recalls/mail-2026/targets?state=proven&limit=1")
	if len(targets.Items) != 1 || targets.Next == "" {
		f.Errorf("targets: %+v", targets)
	}
	if more := get[recallTargetsBody](f, gate.Viewer, "/api/v1/recalls/mail-2026/targets?limit=1&after="+targets.Next); len(more.Items) != 1 || more.Items[0].ID == targets.Items[0].ID {
		f.Errorf("targets: %+v", more)
	}
	steps := get[recallStepsBody](f, gate.Viewer, fmt.Sprintf("/api/v1/recalls/mail-2026/steps?target=%d", targets.Items[0].ID))
	if len(steps.Items) < 6 || steps.Items[0].Act != tallystick.ActKey || len(steps.Items[0].Result) == 0 {
		f.Errorf("steps: %+v", steps)
	}
	if log := get[recallLogBody](f, gate.Viewer, "/api/v1/recalls/mail-2026/log?after=1"); len(log.Items) < 3 || log.Items[0].N != 2 {
		f.Errorf("the log: %+v", log)
	}
	file := f.ask(gate.Operator, http.MethodGet, "/api/v1/recalls/mail-2026/evidence", "")
	if _, err := evidence.Verify(bytes.NewReader(file.Body.Bytes()), int64(file.Body.Len()), f.Audit.VerifierKey()); err != nil || file.Header().Get("Content-Type") != "application/zip" {
		f.Errorf("evidence: %d, %v", file.Code, err)
	}
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/recalls/mail-2026/evidence", ""), http.StatusForbidden)
}

func TestRecallTargetsOverTheAPI(t *testing.T) {
	f := onSQLite(t)
	opened := post[recallBody](f, gate.Operator, http.StatusOK, "/api/v1/recalls", object{"what": f.burntHere(), "why": "stolen"})
	root := "/api/v1/recalls/" + opened.Name
	target := get[recallTargetsBody](f, gate.Viewer, root+"/targets?door=imap").Items[0]
	path := fmt.Sprintf("%s/targets/%d", root, target.ID)
	post[details](f, gate.Operator, http.StatusBadRequest, path+"/skip", object{})
	post[details](f, gate.Viewer, http.StatusForbidden, path+"/skip", object{"reason": "off"})
	if skipped := post[tallystick.RecallTarget](f, gate.Operator, http.StatusOK, path+"/skip", object{"reason": "off"}); skipped.State != tallystick.TargetSkipped {
		t.Errorf("skipped: %+v", skipped)
	}
	post[details](f, gate.Operator, http.StatusConflict, path+"/retry", object{})
	post[details](f, gate.Operator, http.StatusNotFound, root+"/targets/1/retry", object{})
	later := opened.Deadline.Add(24 * time.Hour)
	if s := post[recallStatusBody](f, gate.Operator, http.StatusOK, root+"/extend", object{"deadline": later}); !s.Wanted.Equal(later) {
		t.Errorf("extended: %+v", s)
	}
	if s := post[recallStatusBody](f, gate.Operator, http.StatusOK, root+"/cancel", object{"reason": "found it"}); s.State != tallystick.RecallCancelled {
		t.Errorf("cancelled: %+v", s)
	}
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/recalls/none", ""), http.StatusNotFound)
}

// A stream says what happens, and ends when the server stops.
func TestRecallStream(t *testing.T) {
	f := onSQLite(t)
	opened := post[recallBody](f, gate.Operator, http.StatusOK, "/api/v1/recalls", object{"name": "one", "what": f.burntHere()})
	answerOf[details](f, f.ask(gate.Nobody, http.MethodGet, "/api/v1/recalls/one/events", ""), http.StatusUnauthorized)
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/recalls/two/events", ""), http.StatusNotFound)
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/recalls/one/events?after=x", ""), http.StatusBadRequest)
	time.AfterFunc(700*time.Millisecond, func() { close(f.stopping) })
	w := f.ask(gate.Viewer, http.MethodGet, "/api/v1/recalls/"+opened.Name+"/events", "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "id: 1\ndata: {") || !strings.Contains(w.Body.String(), "opened the recall") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestWithoutRecalls(t *testing.T) {
	f := onSQLite(t)
	f.Recalls = nil
	for _, path := range []string{"/recalls", "/recalls/one", "/recalls/one/events", "/recalls/one/evidence"} {
		if d := answerOf[details](f, f.ask(gate.Admin, http.MethodGet, "/api/v1"+path, ""), http.StatusNotFound); d.Hint == "" {
			t.Errorf("%s: %+v", path, d)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package evidence_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
)

var (
	otto = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}
	olga = gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}
	vera = gate.Actor{Name: "vera", Role: gate.Viewer, Via: "session"}
)

// A house is an engine over doors in this process.
type house struct {
	*recall.Engine
	evidence.Exporter
	old driver.Public
}

func newHouse(t *testing.T, db *store.DB) *house {
	t.Helper()
	var off atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	must(t, err)
	desk, err := recalltest.NewDesk()
	must(t, err)
	estate := recalltest.New("desk", now)
	h := &house{}
	h.old, err = desk.Certify("sync", nil)
	must(t, err)
	estate.AddHolder("sync", h.old)
	estate.AddRelying("ldap", h.old)
	estate.AddRelying("mail", h.old)
	g := gate.New(log, now)
	h.Engine, err = recall.New(recall.Config{
		DB: db, Gate: g, Log: log, Doors: estate, Now: now, Node: "one", Issuers: func(string) (driver.Issuer, error) { return desk, nil },
		Defaults: recall.Defaults{Quiet: time.Millisecond},
	})
	must(t, err)
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	h.Exporter = evidence.Exporter{DB: db, Gate: g, Log: log, Now: now, Uses: &usage.Usage{DB: db, Ledger: book, Gate: g, Now: now}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.Run(ctx, func(err error) { t.Error(err) })
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return h
}

// open opens a recall of the credential, and begins it.
func (h *house) open(t *testing.T) tallystick.Recall {
	t.Helper()
	r, err := h.Open(t.Context(), otto, recall.Request{Name: "sync-2026", What: tallystick.Burnt{Kind: tallystick.BurntCredential, Value: h.old.Names()[0]}, Why: "stolen"})
	must(t, err)
	must(t, h.Approve(t.Context(), olga, r.ID, r.Deadline))
	must(t, h.Start(t.Context(), olga, r.ID))
	return r
}

// until waits for a state.
func (h *house) until(t *testing.T, id int64, state tallystick.RecallState) recall.Status {
	t.Helper()
	for range 600 {
		s, err := h.Status(t.Context(), vera, id)
		must(t, err)
		if s.State == state {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the recall does not become %s", state)
	return recall.Status{}
}

// What an engine has done is exported and verified.
func TestEvidenceOfARecall(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db)
		r := h.open(t)
		h.until(t, r.ID, tallystick.RecallDone)
		var file bytes.Buffer
		if _, err := h.Export(t.Context(), vera, r.ID, io.Discard); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer: %v", err)
		}
		_, err := h.Export(t.Context(), otto, r.ID, &file)
		must(t, err)
		report, err := verify(file.Bytes(), h.Exporter.Log.VerifierKey())
		must(t, err)
		if report.OpenedBy != "otto" || len(report.ApprovedBy) != 1 || report.Targets[tallystick.TargetProven] != 2 || report.Bound < 10 || report.State != tallystick.RecallDone {
			t.Errorf("%+v", report)
		}
		members := contents(t, file.Bytes())
		for member, want := range map[string]string{
			"report.html": "All 2 targets are proven", "events.ndjson": "otto opened the recall", "records.ndjson": `"recall-step\"`, "targets.csv": "sync,ldap",
			"recall.json": `"note":"No book has told of it."`,
		} {
			if !strings.Contains(members[member], want) {
				t.Errorf("%s lacks %q:\n%s", member, want, members[member])
			}
		}
		if strings.Contains(file.String(), "PRIVATE KEY") || strings.Contains(members["steps.ndjson"], "PRIVATE KEY") {
			t.Error("a private key is in it")
		}
	})
}

func TestNoSuchRecall(t *testing.T) {
	h := newHouse(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")))
	if _, err := h.Export(t.Context(), otto, 4711, io.Discard); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// judge records that the rules found what is given about the one due credential.
func judge(t *testing.T, db *store.DB, now time.Time, recheck time.Time, found ...tallystick.Finding) {
	t.Helper()
	due, err := db.Due(t.Context(), now, 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("%d credentials are due, %v; want 1", len(due), err)
	}
	j := store.Judgement{RowID: due[0].RowID, Version: due[0].Version, Whole: true, Recheck: recheck, Findings: found}
	if err := db.Judge(t.Context(), []string{"expired", "weak-key"}, []store.Judgement{j}, now); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, db *store.DB, f store.FindingFilter) []store.FindingRow {
	t.Helper()
	page, err := db.Findings(t.Context(), f, store.PageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

func due(t *testing.T, db *store.DB, now time.Time) int64 {
	t.Helper()
	n, err := db.CountDue(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var (
	expired = tallystick.Finding{Rule: "expired", Severity: tallystick.SeverityHigh, Evidence: "ended on 2026-11-20"}
	weak    = tallystick.Finding{Rule: "weak-key", Severity: tallystick.SeverityMedium, Place: "file:///a.pem", Evidence: "1024 bits"}
)

func TestFindingsOpenStayAndClose(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := sighting(1, "file:///a.pem", noon)
		look(t, db, noon, []tallystick.Sighting{s})
		judge(t, db, noon, noon.Add(time.Hour), expired, weak)
		first := open(t, db, store.FindingFilter{Now: noon})
		if len(first) != 2 || first[0].Rule != "expired" || first[0].Subject != s.Credential.Subject {
			t.Fatalf("findings are %+v", first)
		}
		later := noon.Add(time.Hour)
		judge(t, db, later, time.Time{}, expired)
		second := open(t, db, store.FindingFilter{Now: later})
		if len(second) != 1 || second[0].ID != first[0].ID || !second[0].Opened.Equal(noon) {
			t.Errorf("what stays is %+v; want the first one with its date", second)
		}
		if closed := open(t, db, store.FindingFilter{Closed: true}); len(closed) != 1 || !closed[0].Closed.Equal(later) {
			t.Errorf("closed is %+v; want weak-key", closed)
		}
		_, row, err := db.Credential(t.Context(), s.Credential.ID)
		if err != nil || row.Findings != 1 || row.Severity != tallystick.SeverityHigh {
			t.Errorf("the credential's row says %d findings, worst %v; %v", row.Findings, row.Severity, err)
		}
	})
}

func TestDueFollowsChangesAndTime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := sighting(1, "file:///a.pem", noon)
		look(t, db, noon, []tallystick.Sighting{s})
		judge(t, db, noon, noon.Add(time.Hour))
		if due(t, db, noon.Add(time.Minute)) != 0 {
			t.Error("what was judged is due again at once")
		}
		if due(t, db, noon.Add(time.Hour)) != 1 {
			t.Error("what time may change is not due at that time")
		}
		s.Seen = noon.Add(time.Minute)
		look(t, db, s.Seen, []tallystick.Sighting{s})
		if due(t, db, s.Seen) != 0 {
			t.Error("what was seen again unchanged is due")
		}
		s.File = &tallystick.FileFacts{Mode: "0666"}
		look(t, db, s.Seen, []tallystick.Sighting{s})
		if due(t, db, s.Seen) != 1 {
			t.Error("what changed is not due")
		}
	})
}

// A change that comes while the rules look must not be lost.
func TestChangeDuringJudgementIsDueAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		look(t, db, noon, []tallystick.Sighting{sighting(1, "file:///a.pem", noon)})
		before, err := db.Due(t.Context(), noon, 10)
		if err != nil {
			t.Fatal(err)
		}
		look(t, db, noon, []tallystick.Sighting{sighting(1, "file:///a.pem", noon), sighting(1, "file:///b.pem", noon)})
		j := store.Judgement{RowID: before[0].RowID, Version: before[0].Version, Whole: true}
		if err := db.Judge(t.Context(), []string{"expired"}, []store.Judgement{j}, noon); err != nil {
			t.Fatal(err)
		}
		if due(t, db, noon) != 1 {
			t.Error("the change that came meanwhile is not due")
		}
	})
}

func TestAcceptanceRunsOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		look(t, db, noon, []tallystick.Sighting{sighting(1, "file:///a.pem", noon)})
		judge(t, db, noon, time.Time{}, expired)
		id := open(t, db, store.FindingFilter{Now: noon})[0].ID
		until := noon.AddDate(0, 0, 7)
		accepted := tallystick.Acceptance{By: "ann", Reason: "moves on Monday", Until: until}
		if n, err := db.AcceptFindings(t.Context(), []int64{id, 999}, accepted, noon); n != 1 || err != nil {
			t.Fatalf("%d accepted, %v", n, err)
		}
		judge(t, db, noon, time.Time{}, expired)
		if len(open(t, db, store.FindingFilter{Now: noon})) != 0 || len(open(t, db, store.FindingFilter{Now: noon, Accepted: true})) != 1 {
			t.Error("an accepted finding is not apart")
		}
		if _, row, _ := db.Credential(t.Context(), madeUp(1).ID); row.Findings != 0 {
			t.Errorf("the credential still counts %d findings", row.Findings)
		}
		judge(t, db, until, time.Time{}, expired)
		if len(open(t, db, store.FindingFilter{Now: until})) != 1 {
			t.Error("the finding does not count again after the acceptance")
		}
		if _, row, _ := db.Credential(t.Context(), madeUp(1).ID); row.Findings != 1 {
			t.Errorf("the credential counts %d findings after the acceptance, want 1", row.Findings)
		}
	})
}

func TestRunsAreClaimedOnceAndTakenOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		run, err := db.AddRun(t.Context(), store.Run{Source: "files", Driver: "files", Queued: noon})
		if err != nil {
			t.Fatal(err)
		}
		again, err := db.AddRun(t.Context(), store.Run{Source: "files", Driver: "files", Queued: noon})
		if err != nil || again.ID != run.ID {
			t.Errorf("asked twice, queued twice: %v", err)
		}
		first, err := db.ClaimRun(t.Context(), "a", noon, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ClaimRun(t.Context(), "b", noon.Add(time.Second), time.Minute); err == nil {
			t.Error("two nodes have one run")
		}
		second, err := db.ClaimRun(t.Context(), "b", noon.Add(2*time.Minute), time.Minute)
		if err != nil || second.Attempt != 2 {
			t.Fatalf("the dead node's run was not taken over: %+v, %v", second, err)
		}
		if err := db.FinishRun(t.Context(), first); err == nil {
			t.Error("the node that lost the run could finish it")
		}
		if err := db.CancelRun(t.Context(), run.ID, noon); err != nil {
			t.Fatal(err)
		}
		if err := db.RenewRun(t.Context(), second, noon.Add(time.Hour)); err == nil {
			t.Error("a cancelled run was renewed")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
)

// idles is how many targets of each phase nobody works at.
type idles = map[tallystick.Phase]int64

// A target is idle until its recall has begun, behind a gate, and behind a pause; not while it goes on.
func TestWhoIsIdle(t *testing.T) {
	h := onSQLite(t, nil)
	r, err := h.Open(t.Context(), olga, recall.Request{Name: "key-of-all", What: h.burntKey()})
	h.must(err)
	check := func(when string, want idles) {
		t.Helper()
		if diff := cmp.Diff(want, h.status(r.ID).Idle); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	all := idles{tallystick.PhasePrepare: 6}
	check("before it is approved", all)
	h.must(h.Approve(t.Context(), otto, r.ID, r.Deadline))
	check("before it has begun", all)
	h.must(h.Start(t.Context(), olga, r.ID))
	check("with its canary", idles{tallystick.PhasePrepare: 5})
	h.must(h.Pause(t.Context(), olga, r.ID, "lunch"))
	check("behind a pause", all)
	h.must(h.Resume(t.Context(), olga, r.ID))
	if s := h.finish(r.ID); s.State != tallystick.RecallDone {
		t.Fatalf("it is %s (%s)", s.State, s.Reason)
	}
	check("when all are proven", idles{})
}

// Of a rehearsal the gates are those of letting in again, and keep later waves from being blocked.
func TestWhoIsIdleInARehearsal(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.Rehearse, r.Waves = 60*second, &tallystick.Waves{Canary: 1, Growth: 3} })
	if diff := cmp.Diff(idles{tallystick.PhaseRevoke: 3}, h.status(r.ID).Idle); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Where only a person can go on nobody is at work, and who is behind them is idle as well.
func TestBehindAPersonAllAreIdle(t *testing.T) {
	h := onSQLite(t, nil)
	plan := store.RecallPlan{
		Recall: tallystick.Recall{Name: "by-hand", State: tallystick.RecallApproved, What: h.burntKey(), Waves: tallystick.Waves{Canary: 1, Growth: 1}, Deadline: h.clock.now().Add(60 * second), Opened: h.clock.now()},
		Targets: []store.PlannedTarget{
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetPerson, Wave: 1, Instructions: "Call the vendor."}},
			{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetConnection, Wave: 1, Holder: "app1", Relying: "ldap"}},
		},
		Steps: []store.PlannedStep{
			{Act: tallystick.ActPerson, Phase: tallystick.PhaseActivate, Targets: []int{0}, From: -1},
			{Act: tallystick.ActBlock, Phase: tallystick.PhaseRevoke, Targets: []int{1}, Door: "ldap", From: -1, After: []int{0}},
		},
	}
	r, err := h.DB.InsertRecall(t.Context(), plan, 0)
	h.must(err)
	h.must(h.Start(t.Context(), olga, r.ID))
	if diff := cmp.Diff(idles{tallystick.PhaseActivate: 1, tallystick.PhaseRevoke: 1}, h.status(r.ID).Idle); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

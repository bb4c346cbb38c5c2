// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// deaf makes blocks happen without an answer; so many of them, or all with 0.
func (h *house) deaf(most int) {
	n := 0
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if t.Act != tallystick.ActBlock || !after || most > 0 && n >= most {
			return nil
		}
		n++
		return fmt.Errorf("%w: reset by peer", tallystick.ErrUnavailable)
	})
}

// blocked returns how many connections are blocked.
func (h *house) blocked() (n int) {
	for _, c := range h.between {
		if h.estate.Denies(c.Relying, h.olds[c.Holder]) {
			n++
		}
	}
	return n
}

// rehearsing opens a rehearsal of a minute, and begins its first blocks.
func (h *house) rehearsing() tallystick.Recall {
	h.t.Helper()
	r := h.open(func(r *recall.Request) { r.Rehearse, r.Waves = time.Minute, &tallystick.Waves{Canary: 100, Growth: 1} })
	n, err := h.Turn(h.t.Context())
	h.must(err)
	if n == 0 || h.blocked() == 0 {
		h.t.Fatal("nothing was blocked")
	}
	return r
}

// A rehearsal comes to its end though a door never says that it blocked, and though
// nothing of it goes on meanwhile.
func TestARehearsalAlwaysEnds(t *testing.T) {
	for how, do := range map[string]func(h *house, r tallystick.Recall) error{
		"no answer": func(*house, tallystick.Recall) error { return nil },
		"paused": func(h *house, r tallystick.Recall) error {
			return h.Pause(h.t.Context(), olga, r.ID, "logins fail")
		},
		"cancelled": func(h *house, r tallystick.Recall) error {
			return h.Cancel(h.t.Context(), olga, r.ID, "logins fail")
		},
		"one failed": func(h *house, _ tallystick.Recall) error { h.deaf(1); return nil },
	} {
		storetest.Each(t, func(t *testing.T, db *store.DB) {
			h := newHouse(t, db, nil)
			h.deaf(0)
			r := h.rehearsing()
			h.must(do(h, r))
			for range 20 {
				h.turn()
				h.clock.pass(10 * second)
			}
			for range 3 { // nothing is blocked again
				if n := h.blocked(); n != 0 {
					h.tell(r.ID)
					t.Fatalf("%s: %d are still blocked", how, n)
				}
				h.turn()
				h.clock.pass(time.Minute)
			}
		})
	}
}

// Who is at a block when the rehearsal is over cannot finish it, and it is undone.
func TestARehearsalLeavesTheSlowBehind(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.Rehearse = time.Minute })
	slow, err := h.DB.ClaimRecallSteps(t.Context(), store.StepClaim{Owner: "slow", Now: h.clock.now(), Lease: 10 * time.Minute, Most: 1})
	h.must(err)
	if len(slow) != 1 || slow[0].Act != tallystick.ActBlock {
		t.Fatalf("there is %+v", slow)
	}
	h.clock.pass(time.Minute + second)
	h.turn()
	lost, err := h.DB.LeaseRecallSteps(t.Context(), []store.RecallStepRow{slow[0].RecallStepRow}, h.clock.now().Add(time.Minute))
	if err != nil || len(lost) != 1 {
		t.Errorf("it goes on: %v, %v", lost, err)
	}
	h.clock.pass(recall.LeaseTime + second)
	h.turn()
	lifts, err := h.DB.RecallSteps(t.Context(), r.ID, store.StepFilter{Target: slow[0].Target, Act: tallystick.ActLift}, 0, 2)
	if err != nil || len(lifts) != 1 || lifts[0].State != tallystick.StepDone {
		t.Errorf("it is not undone: %+v, %v", lifts, err)
	}
}

// A block of a rehearsal that is tried again is undone again.
func TestARehearsalIsRetried(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		h.estate.SetFault(func(t doors.Task, after bool) error {
			if t.Act == tallystick.ActBlock && after {
				return fmt.Errorf("%w: the door is mad", tallystick.ErrInvalid)
			}
			return nil
		})
		r := h.rehearsing()
		h.turn()
		h.estate.SetFault(nil)
		for _, target := range h.targets(r.ID) {
			if target.State == tallystick.TargetFailed {
				h.must(h.Retry(t.Context(), olga, target.ID, "it is sane again"))
			}
		}
		h.must(ignore(h.Resume(t.Context(), olga, r.ID), tallystick.ErrConflict))
		h.turn()
		if h.blocked() != len(h.between) {
			t.Fatalf("%d are blocked", h.blocked())
		}
		h.clock.pass(time.Minute + second)
		h.turn()
		if s := h.status(r.ID); h.blocked() != 0 || s.State != tallystick.RecallDone {
			h.tell(r.ID)
			t.Errorf("%d are blocked, and it is %s", h.blocked(), s.State)
		}
	})
}

// What undoes a rehearsal is tried until it is done.
func TestALiftIsNeverGivenUp(t *testing.T) {
	h := onSQLite(t, nil)
	mad := true
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		if t.Act == tallystick.ActLift && mad {
			return fmt.Errorf("%w: no such command", tallystick.ErrInvalid)
		}
		return nil
	})
	h.rehearsing()
	for range 20 {
		h.turn()
		h.clock.pass(6 * time.Minute)
	}
	mad = false
	h.turn()
	if n := h.blocked(); n != 0 {
		t.Errorf("%d are still blocked", n)
	}
}

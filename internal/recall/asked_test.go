// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// denied has doors deny us what we want to change there, until their people have done it,
// act by act.
func (h *house) denied(names ...string) (byHand map[tallystick.Act]bool) {
	byHand = map[tallystick.Act]bool{}
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if t.Act != tallystick.ActTrust && t.Act != tallystick.ActBlock || after || byHand[t.Act] {
			return nil
		}
		for _, name := range names {
			if t.Door == name {
				return fmt.Errorf("%w: 403 Forbidden", tallystick.ErrDenied)
			}
		}
		return nil
	})
	return byHand
}

// onward works for some time.
func (h *house) onward(times int) {
	h.t.Helper()
	for range times {
		h.turn()
		h.soFar()
		h.clock.pass(time.Minute)
	}
}

// What a door denies us its people are asked to do; nothing fails, the other waves go on
// meanwhile, and when they have done it the recall goes on by itself.
func TestPeopleOfADoorAreAsked(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		byHand := h.denied("mail2")
		r := h.open(nil)
		h.onward(20)
		target := h.targets(r.ID)["app2 mail2"]
		if !target.Asked || target.State != string(tallystick.PhasePrepare) || !strings.Contains(target.Instructions, "mail2") {
			h.tell(r.ID)
			t.Fatalf("it stands as %+v", target)
		}
		if s := h.status(r.ID); s.State != tallystick.RecallRunning || h.targets(r.ID)["app1 ldap"].State != string(tallystick.PhaseRevoke) { // the issuer revokes all together
			h.tell(r.ID)
			t.Fatalf("it is %s", s.State)
		}
		if !h.estate.Shown("app2").Is(h.olds["app2"]) {
			t.Error("the holder has the new one, which mail2 does not let in, long before the deadline")
		}
		byHand[tallystick.ActTrust] = true
		h.onward(20)
		if target = h.targets(r.ID)["app2 mail2"]; !target.Asked || target.State != string(tallystick.PhaseRevoke) {
			h.tell(r.ID)
			t.Fatalf("it stands as %+v", target)
		}
		byHand[tallystick.ActBlock] = true
		h.finish(r.ID)
		h.check(r.ID)
		if target = h.targets(r.ID)["app2 mail2"]; target.Asked {
			t.Error("its people are still asked")
		}
	})
}

// Before the deadline holders change over without those who were asked and did nothing:
// the others must not be left without one that works when the old one is refused.
func TestTheLateAreLeftBehind(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		byHand := h.denied("mail2")
		r := h.open(nil)
		h.onward(20)
		h.clock.pass(r.Deadline.Sub(h.clock.now()) - recall.LastCall)
		for range 20 {
			h.turn()
			h.clock.pass(10 * second)
		}
		others := h.targets(r.ID)
		if h.estate.Shown("app2").Is(h.olds["app2"]) || others["app2 mail1"].State != string(tallystick.PhaseRevoke) || others["app2 mail2"].State != string(tallystick.PhasePrepare) {
			h.tell(r.ID)
			t.Fatalf("they stand as %+v", others)
		}
		h.clock.pass(2 * time.Hour)
		for range 20 {
			h.turn()
			h.clock.pass(recall.HoldGrace)
		}
		others = h.targets(r.ID)
		if late := others["app2 mail2"]; !late.Late || !late.Asked || others["app2 mail1"].State != tallystick.TargetProven || others["app2 mail1"].Late {
			h.tell(r.ID)
			t.Fatalf("they stand as %+v", others)
		}
		byHand[tallystick.ActTrust], byHand[tallystick.ActBlock] = true, true
		h.estate.Forgive()
		h.finish(r.ID)
		h.check(r.ID)
	})
}

// Somebody may say that it is done where the door does not show it; what they say is tried.
func TestSomebodySaysWhatTheyWereAskedFor(t *testing.T) {
	h := onSQLite(t, nil)
	h.denied("ldap")
	r := h.open(nil)
	h.onward(3)
	target := h.targets(r.ID)["app1 ldap"]
	h.must(h.Done(t.Context(), olga, target.ID, "they say so"))
	h.turn()
	steps, err := h.Steps(t.Context(), vera, r.ID, target.ID, 0, 100)
	h.must(err)
	for _, s := range steps {
		if s.Act == tallystick.ActTrust && (s.State != tallystick.StepDone || !strings.Contains(string(s.Result), "olga")) {
			t.Errorf("it is %s: %s", s.State, s.Result)
		}
		if s.Act == tallystick.ActProbe && s.State == tallystick.StepDone {
			t.Error("what is not let in was not tried")
		}
	}
}

// Nobody is asked to take part in a rehearsal.
func TestARehearsalAsksNobody(t *testing.T) {
	h := onSQLite(t, nil)
	h.denied("mail2")
	r := h.open(func(r *recall.Request) { r.Rehearse = time.Minute })
	for range 20 {
		h.turn()
		h.clock.pass(30 * second)
	}
	target := h.targets(r.ID)["app2 mail2"]
	if s := h.status(r.ID); s.State != tallystick.RecallDone || target.State != tallystick.TargetSkipped || !strings.Contains(target.Error, "not rehearsed") || h.blocked() != 0 {
		h.tell(r.ID)
		t.Errorf("it is %s, and the target %+v", s.State, target)
	}
}

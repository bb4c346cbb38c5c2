// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestRecallOfAKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		r := h.open(nil)
		h.finish(r.ID)
		h.check(r.ID)
		steps, err := h.Steps(t.Context(), vera, r.ID, 0, 0, 1000)
		h.must(err)
		recorded := map[string]bool{}
		for _, one := range h.log.list {
			recorded[one.Object] = true
		}
		for _, s := range steps {
			if s.Act != tallystick.ActGate && !recorded[fmt.Sprintf("recall/key-of-all/%d", s.ID)] {
				t.Errorf("the step %s at %s is not on record", s.Act, s.Door)
			}
		}
	})
}

// Several engines, each with several workers, share the work.
func TestSeveralNodes(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, storetest.Open(t, url), nil)
		r := h.open(nil)
		ctx, stop := context.WithCancel(t.Context())
		var nodes sync.WaitGroup
		defer nodes.Wait()
		defer stop()
		for i := range 3 {
			c := h.Config
			c.DB, c.Node = storetest.Open(t, url), fmt.Sprint("node", i)
			node, err := recall.New(c)
			h.must(err)
			nodes.Go(func() { _ = node.Run(ctx, func(err error) { t.Error(err) }) })
		}
		for range 400 {
			if h.status(r.ID).State.Over() {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		stop()
		nodes.Wait()
		h.check(r.ID)
	})
}

func TestNobodyApprovesTheirOwn(t *testing.T) {
	h := onSQLite(t, func(c *recall.Config) { c.Defaults.Approvals = 2 })
	ctx := t.Context()
	r, err := h.Open(ctx, olga, recall.Request{Name: "one", What: h.burntKey()})
	h.must(err)
	fails := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	fails("olga approves", h.Approve(ctx, olga, r.ID, r.Deadline), tallystick.ErrDenied)
	fails("another deadline", h.Approve(ctx, otto, r.ID, r.Deadline.Add(time.Hour)), tallystick.ErrConflict)
	fails("a viewer approves", h.Approve(ctx, vera, r.ID, r.Deadline), tallystick.ErrDenied)
	named := func(a gate.Actor, name string) gate.Actor { a.Name = name; return a }
	fails("Olga approves", h.Approve(ctx, named(olga, "Olga"), r.ID, r.Deadline), tallystick.ErrDenied)
	h.must(h.Approve(ctx, otto, r.ID, r.Deadline))
	h.must(h.Approve(ctx, named(otto, "OTTO"), r.ID, r.Deadline))
	fails("one approval", h.Start(ctx, olga, r.ID), tallystick.ErrConflict)
	h.must(h.Approve(ctx, named(olga, "ole"), r.ID, r.Deadline))
	h.must(h.Start(ctx, olga, r.ID))

	later := r.Deadline.Add(24 * time.Hour)
	h.must(h.Extend(ctx, otto, r.ID, later))
	fails("who asked approves", h.Approve(ctx, named(otto, "Otto"), r.ID, later), tallystick.ErrDenied)
	fails("who opened approves", h.Approve(ctx, olga, r.ID, later), tallystick.ErrDenied)
	h.must(h.Approve(ctx, named(olga, "ole"), r.ID, later))
	if s := h.status(r.ID); !s.Deadline.Equal(r.Deadline) || !s.Wanted.Equal(later) {
		t.Errorf("with one approval the deadline is %s", s.Deadline)
	}
	third := olga
	third.Name = "oscar"
	h.must(h.Approve(ctx, third, r.ID, later))
	if s := h.status(r.ID); !s.Deadline.Equal(later) || len(s.ApprovedBy) != 2 {
		t.Errorf("the deadline is %s, approved by %v", s.Deadline, s.ApprovedBy)
	}
}

// away makes doors unreachable.
func (h *house) away(names ...string) {
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		for _, name := range names {
			if t.Door == name {
				return fmt.Errorf("%w: no route to %s", tallystick.ErrUnavailable, name)
			}
		}
		return nil
	})
}

// A deadline that came while nobody was awake is met as soon as somebody is, also when
// the recall was paused: what is not ready is named, and the old one is blocked all the same.
func TestTheDeadlineBlocks(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	h.away("app2")
	for range 20 {
		h.turn()
		h.clock.pass(10 * second)
	}
	h.soFar()
	h.must(h.Pause(t.Context(), olga, r.ID, "lunch"))
	h.clock.pass(7 * 24 * time.Hour)
	for range 20 {
		h.turn()
		h.clock.pass(recall.HoldGrace)
	}
	late := 0
	for name, target := range h.targets(r.ID) {
		if strings.HasPrefix(name, "app2") != target.Late {
			t.Errorf("%s: late is %v", name, target.Late)
		}
		if target.Late {
			late++
		}
	}
	for _, c := range h.between {
		if h.estate.Lets(c.Relying, h.olds[c.Holder]) {
			t.Errorf("%s lets the old one of %s in", c.Relying, c.Holder)
		}
	}
	s := h.status(r.ID)
	if late != 3 || s.Blocked.IsZero() || s.State != tallystick.RecallRunning {
		h.tell(r.ID)
		t.Errorf("%d are late, and it is %s", late, s.State)
	}
	if !h.desk.Revoked(h.olds["app2"]) {
		t.Error("the old one is not revoked")
	}
	h.estate.Forgive()
	// The door comes back: what was late is made good, and proven.
	h.away()
	for name, target := range h.targets(r.ID) {
		if target.State == tallystick.TargetFailed && strings.HasPrefix(name, "app2") {
			h.must(ignore(h.Retry(t.Context(), olga, target.ID, "it is back"), tallystick.ErrConflict))
		}
	}
	h.finish(r.ID)
	h.check(r.ID)
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

func TestTheDeadlineHolds(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.AtDeadline = tallystick.AtDeadlineHold })
	h.away("app2")
	h.turn()
	h.clock.pass(7 * 24 * time.Hour)
	for range 20 {
		h.turn()
		h.soFar()
		h.clock.pass(10 * second)
	}
	if s := h.status(r.ID); s.Blocked.IsZero() || s.State == tallystick.RecallDone {
		t.Errorf("it is %s, and the deadline came at %s", s.State, s.Blocked)
	}
	for _, c := range h.between {
		if c.Holder == "app2" && !h.estate.Lets(c.Relying, h.olds[c.Holder]) {
			t.Errorf("%s refuses the old one", c.Relying)
		}
	}
}

func TestReminders(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	h.away("app2")
	for _, left := range []time.Duration{100, 71, 70, 23, 22} {
		h.clock.off.Store(int64(time.Until(r.Deadline.Add(-left * time.Hour))))
		h.turn()
		h.turn()
	}
	events, err := h.Events(t.Context(), vera, r.ID, 0, 1000)
	h.must(err)
	var given []string
	for _, e := range events {
		if e.Kind == store.EventDeadline {
			given = append(given, e.Text)
		}
	}
	if len(given) != 2 || !strings.Contains(given[0], "in 71 hours") || !strings.Contains(given[1], "app2 to mail1") {
		t.Errorf("reminders: %q", given)
	}
}

// One canary that fails stops everything; it goes on when that one was retried or skipped.
func TestTheCanaryStopsTheRecall(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if t.Act == tallystick.ActInstall && t.Door == "web1" {
			return fmt.Errorf("%w: nginx -t says no", tallystick.ErrInvalid)
		}
		return nil
	})
	s := h.finish(r.ID)
	if s.State != tallystick.RecallStopped || !strings.Contains(s.Reason, "canary") {
		h.tell(r.ID)
		t.Fatalf("it is %s: %s", s.State, s.Reason)
	}
	for door, old := range h.olds {
		if door != "web1" && !h.estate.Shown(door).Is(old) {
			t.Errorf("%s has the new one already", door)
		}
	}
	if err := h.Resume(t.Context(), olga, r.ID); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("resumed with a dead canary: %v", err)
	}
	target := h.targets(r.ID)["web1"]
	if target.State != tallystick.TargetFailed || !strings.Contains(target.Error, "nginx -t") {
		t.Errorf("the target is %+v", target)
	}
	h.estate.SetFault(nil)
	h.must(h.Retry(t.Context(), olga, target.ID, "repaired"))
	h.must(h.Resume(t.Context(), olga, r.ID))
	h.finish(r.ID)
	h.check(r.ID)
}

func TestSkippedIsLeftAsItIs(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	for _, name := range []string{"web2", "app1 ldap"} {
		if err := h.Skip(t.Context(), olga, h.targets(r.ID)[name].ID, " "); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("without a reason: %v", err)
		}
		h.must(h.Skip(t.Context(), olga, h.targets(r.ID)[name].ID, "it is switched off tomorrow"))
	}
	if s := h.finish(r.ID); s.State != tallystick.RecallDone || s.Done != s.Total {
		h.tell(r.ID)
		t.Fatalf("it is %s", s.State)
	}
	for door, old := range h.olds {
		if skipped := door == "web2" || door == "app1"; h.estate.Shown(door).Is(old) != skipped {
			t.Errorf("%s: has the old one: %v", door, !skipped)
		}
	}
	if !h.estate.Lets("ldap", h.olds["app1"]) {
		t.Error("the skipped one is blocked")
	}
	for door, old := range h.olds {
		if skipped := door == "web2" || door == "app1"; h.desk.Revoked(old) == skipped {
			t.Errorf("%s: is revoked: %v", door, !skipped)
		}
	}
	events, err := h.Events(t.Context(), vera, r.ID, 0, 1000)
	h.must(err)
	if !slices.ContainsFunc(events, func(e store.RecallEvent) bool {
		return strings.Contains(e.Text, "and not 2 certificates of targets that were skipped")
	}) {
		t.Error("nobody says that certificates were left out")
	}
}

// A holder whose new certificate is not accepted gets its old one back, and begins again when
// somebody has seen to it.
func TestRolledBack(t *testing.T) {
	h := onSQLite(t, func(c *recall.Config) { c.Defaults.Waves = tallystick.Waves{Canary: 4, Growth: 1, Errors: 1000} })
	r := h.open(nil)
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		if t.Act == tallystick.ActProbe && t.Door == "app1" {
			return errors.New("the new one is refused")
		}
		return nil
	})
	for range 40 {
		h.turn()
		h.clock.pass(10 * second)
	}
	target := h.targets(r.ID)["app1 ldap"]
	if target.State != tallystick.TargetUndone || !h.estate.Shown("app1").Is(h.olds["app1"]) || h.estate.Trusted("ldap") != 1 {
		h.tell(r.ID)
		t.Fatalf("it is %+v", target)
	}
	h.soFar()
	h.estate.SetFault(nil)
	h.must(h.Retry(t.Context(), olga, target.ID, "the CA is known there now"))
	h.must(ignore(h.Resume(t.Context(), olga, r.ID), tallystick.ErrConflict))
	h.finish(r.ID)
	h.check(r.ID)
	if err := h.Undo(t.Context(), olga, target.ID, "too late"); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("what is revoked was rolled back: %v", err)
	}
}

// Targets that share a new credential are rolled back together.
func TestUndoneTogether(t *testing.T) {
	h := onSQLite(t, nil)
	h.ledger.says(func(recall.DrainQuestion) recall.DrainAnswer { return recall.DrainAnswer{Books: 1} }) // nothing drains
	r := h.open(nil)
	for range 10 {
		h.turn()
		h.clock.pass(10 * second)
	}
	if h.estate.Shown("app2").Is(h.olds["app2"]) {
		h.tell(r.ID)
		t.Fatal("it has not got the new one")
	}
	h.must(h.Undo(t.Context(), olga, h.targets(r.ID)["app2 mail2"].ID, "a false alarm"))
	h.turn()
	for name, target := range h.targets(r.ID) {
		if strings.HasPrefix(name, "app2") != (target.State == tallystick.TargetUndone) {
			t.Errorf("%s is %s (%s)", name, target.State, target.Error)
		}
	}
	if !h.estate.Shown("app2").Is(h.olds["app2"]) || h.estate.Trusted("mail3") != 1 {
		t.Error("it does not stand as before")
	}
	h.soFar()
	h.ledger.says(nil)
	h.must(h.Retry(t.Context(), olga, h.targets(r.ID)["app2 mail1"].ID, "it was none"))
	h.finish(r.ID)
	h.check(r.ID)
}

// After a deadline that blocks nothing the budget holds as before, and another deadline
// may be asked for, which comes in its turn.
func TestAfterADeadlineThatHolds(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.AtDeadline = tallystick.AtDeadlineHold })
	h.clock.pass(7 * 24 * time.Hour)
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		if t.Act == tallystick.ActInstall {
			return fmt.Errorf("%w: nginx -t says no", tallystick.ErrInvalid)
		}
		return nil
	})
	if s := h.finish(r.ID); s.State != tallystick.RecallStopped || s.Blocked.IsZero() {
		h.tell(r.ID)
		t.Fatalf("it is %s", s.State)
	}
	later := h.clock.now().Add(24 * time.Hour).UTC().Truncate(second)
	h.must(h.Extend(t.Context(), olga, r.ID, later))
	h.must(h.Approve(t.Context(), otto, r.ID, later))
	if s := h.status(r.ID); !s.Deadline.Equal(later) || !s.Blocked.IsZero() {
		t.Errorf("the deadline is %s, and came at %s", s.Deadline, s.Blocked)
	}
	h.clock.pass(25 * time.Hour)
	h.turn()
	if s := h.status(r.ID); s.Blocked.IsZero() {
		t.Error("the new deadline did not come")
	}
}

// A session that cannot be kept is waited for as long as nothing forces the block.
func TestHoldsAreKeptAfterADeadlineThatHolds(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.AtDeadline = tallystick.AtDeadlineHold })
	h.clock.pass(7 * 24 * time.Hour)
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		if t.Act == tallystick.ActHold {
			return fmt.Errorf("%w: reset by peer", tallystick.ErrUnavailable)
		}
		return nil
	})
	for range 30 {
		h.turn()
		h.clock.pass(10 * second)
	}
	if n := h.blocked(); n != 0 {
		t.Errorf("%d are blocked, and nobody can prove it", n)
	}
	h.estate.SetFault(nil)
	h.clock.pass(recall.LeaseTime * 20)
	h.finish(r.ID)
	h.check(r.ID)
}

// A second recall for the same credential at the same doors is refused until the first is over.
func TestTwoRecallsOfOneThing(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	_, err := h.Open(t.Context(), otto, recall.Request{Name: "again", What: h.burntKey()})
	if !errors.Is(err, tallystick.ErrConflict) || !strings.Contains(err.Error(), "key-of-all") {
		t.Errorf("the second was opened: %v", err)
	}
	h.must(h.Cancel(t.Context(), olga, r.ID, "a mistake"))
	_, err = h.Open(t.Context(), otto, recall.Request{Name: "again", What: h.burntKey()})
	h.must(err)
}

// A new credential that is burnt half way is not used any further: another one is made.
func TestTheNewOneIsBurntAsWell(t *testing.T) {
	list := &deskCA{burnt: map[string]bool{}}
	h := onSQLite(t, func(c *recall.Config) { c.CA = list })
	r := h.open(nil)
	burnt := ""
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if burnt == "" && t.Door == "app2" && t.Act == tallystick.ActInstall && after {
			burnt = t.New.Names()[0]
			list.mu.Lock()
			defer list.mu.Unlock()
			list.burnt[burnt] = true
		}
		return nil
	})
	if s := h.finish(r.ID); s.State != tallystick.RecallDone {
		h.tell(r.ID)
		t.Fatalf("it is %s: %s", s.State, s.Reason)
	}
	shown := h.estate.Shown("app2")
	if burnt == "" || shown.Names()[0] == burnt || shown.Is(h.olds["app2"]) {
		t.Error("the burnt one is in use")
	}
	h.soFar()
	if twice, made := h.desk.Twice(); len(twice) > 0 || made != 5 {
		t.Errorf("%d certificates were made, twice for %v", made, twice)
	}
}

// What the holder does holds the drain up; what others do does not.
func TestDrain(t *testing.T) {
	h := onSQLite(t, nil)
	busy := true
	h.ledger.says(func(q recall.DrainQuestion) recall.DrainAnswer {
		a := recall.DrainAnswer{Books: 2, Closed: h.clock.now(), Others: 7, OthersLast: h.clock.now()}
		if slices.Equal(q.Credential, h.olds["app1"].Names()) && busy {
			a.Uses, a.Last = 3, h.clock.now()
		}
		return a
	})
	r := h.open(func(r *recall.Request) { r.Waves = &tallystick.Waves{Canary: 100, Growth: 1} })
	for range 40 {
		h.turn()
		h.clock.pass(10 * second)
	}
	for name, target := range h.targets(r.ID) {
		if held := name == "app1 ldap"; held != (target.State == string(tallystick.PhaseDrain)) && !strings.HasPrefix(target.State, "revoke") {
			t.Errorf("%s is %s", name, target.State)
		}
	}
	if h.estate.Denies("ldap", h.olds["app1"]) {
		t.Error("it was blocked while its holder used it")
	}
	busy = false
	h.finish(r.ID)
	h.check(r.ID)
}

// Each block of a rehearsal undoes itself, also after its process is gone, and when
// somebody has cancelled the rehearsal.
func TestRehearsal(t *testing.T) {
	for _, how := range []string{"in peace", "cancelled", "failed after it happened"} {
		t.Run(how, func(t *testing.T) {
			h := onSQLite(t, func(c *recall.Config) { c.Defaults.Waves = tallystick.Waves{Canary: 100, Growth: 1} })
			h.ledger.says(func(q recall.DrainQuestion) recall.DrainAnswer {
				if slices.Equal(q.Credential, h.olds["app1"].Names()) {
					return recall.DrainAnswer{Books: 1, Uses: 2, Refused: 2, Closed: h.clock.now()}
				}
				return recall.DrainAnswer{Books: 1, Closed: h.clock.now()}
			})
			r := h.open(func(r *recall.Request) { r.Rehearse = time.Minute })
			if how == "failed after it happened" {
				h.estate.SetFault(func(t doors.Task, after bool) error {
					if t.Act == tallystick.ActBlock && after {
						return fmt.Errorf("%w: the door is mad", tallystick.ErrInvalid)
					}
					return nil
				})
			}
			blocked := func() (n int) {
				for _, c := range h.between {
					if h.estate.Denies(c.Relying, h.olds[c.Holder]) {
						n++
					}
				}
				return n
			}
			if n, err := h.Turn(t.Context()); n == 0 || err != nil || blocked() == 0 {
				t.Fatalf("%d steps, %d blocked, %v", n, blocked(), err)
			}
			if how == "cancelled" {
				h.must(h.Cancel(t.Context(), olga, r.ID, "a customer calls"))
			} else {
				h.turn()
				h.clock.pass(time.Minute + second)
			}
			h.turn()
			if n := blocked(); n > 0 {
				h.tell(r.ID)
				t.Errorf("%d are still blocked", n)
			}
			if _, made := h.desk.Twice(); made > 0 || h.desk.Revoked(h.olds["app1"]) {
				t.Error("a rehearsal made or revoked something")
			}
			broke, err := h.Broken(t.Context(), vera, r.ID)
			if err != nil || len(broke) != 1 || broke[0].Target.Holder != "app1" {
				t.Errorf("broke: %+v, %v", broke, err)
			}
			if s := h.status(r.ID); how == "in peace" && s.State != tallystick.RecallDone {
				t.Errorf("it is %s", s.State)
			}
		})
	}
}

// A node that died, and one whose clock was a year ahead, hold nothing up.
func TestDeadNodes(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	for _, ahead := range []time.Duration{0, 365 * 24 * time.Hour} {
		dead, err := h.DB.ClaimRecallSteps(t.Context(), store.StepClaim{Owner: "dead", Now: h.clock.now().Add(ahead), Lease: recall.LeaseTime, Most: 3})
		if err != nil || len(dead) == 0 {
			t.Fatal(dead, err)
		}
		h.clock.pass(recall.LeaseTime + second)
		if n, err := h.Turn(t.Context()); n == 0 || err != nil {
			t.Fatalf("%d steps were taken over, %v", n, err)
		}
		if err := h.DB.FinishRecallStep(t.Context(), dead[0].RecallStepRow, store.StepOutcome{At: time.Now()}); !errors.Is(err, store.ErrNotOurs) {
			t.Errorf("the dead writes: %v", err)
		}
	}
	for _, off := range []time.Duration{-time.Hour, 2 * time.Hour} {
		h.clock.pass(off)
		h.turn()
	}
	h.finish(r.ID)
	h.check(r.ID)
}

// Nodes whose clocks differ by a minute leave each other's steps alone.
func TestClocksThatDiffer(t *testing.T) {
	h := onSQLite(t, nil)
	h.open(nil)
	ahead := store.StepClaim{Owner: "ahead", Now: h.clock.now().Add(recall.LeaseTime + second), Lease: recall.LeaseTime, Most: 3}
	first, err := h.DB.ClaimRecallSteps(t.Context(), ahead)
	if err != nil || len(first) == 0 {
		t.Fatal(first, err)
	}
	behind, err := h.DB.ClaimRecallSteps(t.Context(), store.StepClaim{Owner: "behind", Now: h.clock.now(), Lease: recall.LeaseTime, Most: 3})
	if err != nil || len(behind) != 0 {
		t.Errorf("the other takes %d of them, %v", len(behind), err)
	}
}

func TestPaused(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	_, err := h.Turn(t.Context())
	h.must(err)
	h.must(h.Pause(t.Context(), olga, r.ID, "change freeze"))
	if n, err := h.Turn(t.Context()); n != 0 || err != nil {
		t.Errorf("%d steps went on, %v", n, err)
	}
	h.must(h.Resume(t.Context(), olga, r.ID))
	h.finish(r.ID)
	h.check(r.ID)
}

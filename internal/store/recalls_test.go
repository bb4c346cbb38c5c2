// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// aPlan is a recall of so many connections to one holder: a key that they share, and an
// install, a block and a prove of each.
func aPlan(name string, targets int) store.RecallPlan {
	p := store.RecallPlan{Recall: tallystick.Recall{
		Name: name, What: tallystick.Burnt{Kind: tallystick.BurntKey, Value: "ab"}, Why: "stolen", Deadline: noon.Add(72 * time.Hour), AtDeadline: tallystick.AtDeadlineBlock,
		Quiet: time.Minute, Waves: tallystick.Waves{Canary: 1, Growth: 2, Errors: 100}, State: tallystick.RecallApproved, OpenedBy: "olga", Opened: noon,
	}}
	key := store.PlannedStep{Act: tallystick.ActKey, Phase: tallystick.PhasePrepare, Door: "app", Limit: "pemfile", From: -1}
	for i := range targets {
		key.Targets = append(key.Targets, i)
	}
	p.Steps = append(p.Steps, key)
	for i := range targets {
		door := fmt.Sprint(name, "-mail", i/2) // two targets share a door
		p.Targets = append(p.Targets, store.PlannedTarget{
			RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetConnection, Wave: 1 + min(i, 1), Holder: "app", Relying: door, Old: "cert-sha256:ab", Grants: []string{"svc"}},
			Facts:        []byte(fmt.Sprintf(`{"relying_party":%q}`, door)),
		})
		at := len(p.Steps)
		p.Steps = append(p.Steps,
			store.PlannedStep{Act: tallystick.ActTrust, Phase: tallystick.PhaseActivate, Wave: 1, Targets: []int{i}, Door: door, Limit: "postfix", From: 0, After: []int{0}},
			store.PlannedStep{Act: tallystick.ActBlock, Phase: tallystick.PhaseRevoke, Wave: 1, Targets: []int{i}, Door: door, Limit: "postfix", From: -1, After: []int{at}},
			store.PlannedStep{Act: tallystick.ActProve, Phase: tallystick.PhaseProve, Wave: 1, Targets: []int{i}, Door: "app", Limit: "pemfile", From: 0, After: []int{at + 1, 0}})
	}
	return p
}

// A recaller does with a store what an engine does.
type recaller struct {
	*testing.T
	db  *store.DB
	now time.Time
}

func (r *recaller) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *recaller) begin(p store.RecallPlan) tallystick.Recall {
	r.Helper()
	one, err := r.db.InsertRecall(r.Context(), p, 0)
	r.must(err)
	r.must(r.db.MoveRecall(r.Context(), one.ID, store.RecallMove{From: []tallystick.RecallState{tallystick.RecallApproved}, To: tallystick.RecallRunning, At: r.now, Event: "Begun."}))
	return one
}

func (r *recaller) claim(owner string, most int, busy ...string) []store.ClaimedStep {
	r.Helper()
	list, err := r.db.ClaimRecallSteps(r.Context(), store.StepClaim{Owner: owner, Now: r.now, Lease: time.Minute, Most: most, Busy: busy})
	r.must(err)
	return list
}

func (r *recaller) finish(s store.ClaimedStep, result string) {
	r.Helper()
	r.must(r.db.FinishRecallStep(r.Context(), s.RecallStepRow, store.StepOutcome{Result: []byte(result), At: r.now, Events: []store.RecallEvent{{At: r.now, Kind: store.EventStep, Text: "done"}}}))
}

// counted returns how many steps are in a state.
func (r *recaller) counted(recall int64, state string) (n int64) {
	r.Helper()
	list, err := r.db.CountRecallSteps(r.Context(), recall)
	r.must(err)
	for _, c := range list {
		if c.State == state {
			n += c.Count
		}
	}
	return n
}

func TestRecallSteps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := &recaller{t, db, noon}
		one := r.begin(aPlan("one", 4))
		first := r.claim("a", 10)
		if len(first) != 1 || first[0].Act != tallystick.ActKey || string(first[0].Facts) != `{"relying_party":"one-mail0"}` || !first[0].Began.Equal(noon) {
			t.Fatalf("at first there is %+v", first)
		}
		if more := r.claim("b", 10); len(more) != 0 {
			t.Fatalf("others have it too: %+v", more)
		}
		r.finish(first[0], `{"csr":"eA=="}`)
		if err := db.FinishRecallStep(t.Context(), first[0].RecallStepRow, store.StepOutcome{}); !errors.Is(err, store.ErrNotOurs) {
			t.Errorf("it is finished twice: %v", err)
		}
		if busy := r.claim("a", 10, "postfix"); len(busy) != 0 {
			t.Errorf("what is limited is taken up: %+v", busy)
		}
		trusts := r.claim("a", 10) // of two at each of two doors, one at a time
		if len(trusts) != 2 || trusts[0].Door == trusts[1].Door || trusts[0].New == nil || string(trusts[0].New.Result) != `{"csr":"eA=="}` || trusts[0].Key.ID != first[0].ID {
			t.Fatalf("then %+v", trusts)
		}
		r.finish(trusts[0], "{}")
		if n := r.counted(one.ID, tallystick.StepReady); n != 3 {
			t.Errorf("%d are ready", n)
		}
		// A lease that has run out lets another go on, and closes the fence.
		r.now = noon.Add(2 * time.Minute)
		again := r.claim("b", 10)
		if !hasStep(again, trusts[1].ID) {
			t.Fatalf("nobody takes over: %+v", again)
		}
		lost, err := db.LeaseRecallSteps(t.Context(), []store.RecallStepRow{trusts[1].RecallStepRow, again[0].RecallStepRow}, r.now.Add(time.Minute))
		if diff := cmp.Diff([]int64{trusts[1].ID}, lost); err != nil || diff != "" {
			t.Errorf("lost: %v %s", err, diff)
		}
		for len(again) > 0 {
			for _, s := range again {
				r.finish(s, "{}")
			}
			again = r.claim("b", 10)
		}
		states, err := db.CountRecallTargets(t.Context(), one.ID)
		r.must(err)
		want := []store.TargetCount{{Wave: 1, State: tallystick.TargetProven, Count: 1}, {Wave: 2, State: tallystick.TargetProven, Count: 3}}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Error(diff)
		}
		ended, err := db.EndRecall(t.Context(), one.ID, r.now)
		if err != nil || !ended {
			t.Errorf("it is not over: %v", err)
		}
		r.eventsInARow(one.ID, 1+13+4+1)
	})
}

func hasStep(list []store.ClaimedStep, id int64) bool {
	for _, s := range list {
		if s.ID == id {
			return true
		}
	}
	return false
}

func (r *recaller) eventsInARow(recall int64, want int) {
	r.Helper()
	events, err := r.db.RecallEvents(r.Context(), recall, 0, 1000)
	r.must(err)
	for i, e := range events {
		if e.N != int64(i+1) {
			r.Errorf("event %d has the number %d", i+1, e.N)
		}
	}
	if len(events) != want {
		r.Errorf("there are %d events, want %d", len(events), want)
	}
}

func TestRecallsGoOnSideBySide(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := &recaller{t, db, noon}
		p := aPlan("two", 2)
		for i := range p.Targets {
			p.Targets[i].Old = "cert-sha256:cd"
		}
		one, two := r.begin(aPlan("one", 2)), r.begin(p)
		seen := map[int64]int{}
		for _, s := range r.claim("a", 2) {
			seen[s.Recall]++
		}
		if diff := cmp.Diff(map[int64]int{one.ID: 1, two.ID: 1}, seen); diff != "" {
			t.Error(diff)
		}
		if _, err := db.InsertRecall(t.Context(), aPlan("one", 1), 0); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("a second of the name: %v", err)
		}
		same := aPlan("three", 1)
		same.Targets[0].Relying = "one-mail0"
		if _, err := db.InsertRecall(t.Context(), same, 0); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("a second at a door: %v", err)
		}
		same.Recall.Name, same.Recall.Rehearse = "four", time.Minute
		_, err := db.InsertRecall(t.Context(), same, 0)
		r.must(err)
		if r, err := db.Recall(t.Context(), two.ID); err != nil || r.Quiet != time.Minute || !r.Deadline.Equal(p.Recall.Deadline) || r.Waves != p.Recall.Waves || !r.Started.Equal(noon) {
			t.Errorf("it comes back as %+v, %v", r, err)
		}
	})
}

// A wave bears as many failures as its budget has thousandths; the first bears none.
func TestRecallStopsByItsBudget(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := &recaller{t, db, noon}
		p := aPlan("one", 24) // 1 and 23, of which 2 may fail
		one := r.begin(p)
		r.finish(r.claim("a", 1)[0], "{}")
		failed := 0
		for {
			list := r.claim("a", 30)
			if len(list) == 0 {
				break
			}
			for _, s := range list {
				target, err := db.RecallTarget(t.Context(), s.Target)
				r.must(err)
				if target.Wave == 1 || s.Act != tallystick.ActTrust || failed == 3 {
					r.finish(s, "{}")
					continue
				}
				failed++
				s.Error = "no"
				r.must(db.FailRecallStep(t.Context(), s.RecallStepRow, store.StepOutcome{At: r.now}, ". Repair it."))
				row, err := db.Recall(t.Context(), one.ID)
				r.must(err)
				if stopped := row.State == tallystick.RecallStopped; stopped != (failed == 3) {
					t.Fatalf("with %d failures it is %s: %s", failed, row.State, row.Reason)
				}
			}
		}
		list, err := db.RecallTargets(t.Context(), one.ID, store.TargetFilter{State: tallystick.TargetFailed, Wave: 2, Door: "app"}, 0, 10)
		if err != nil || len(list) != 3 || list[0].Error != "no. Repair it." {
			t.Errorf("failed: %+v, %v", list, err)
		}
	})
}

// Ten thousand targets are kept in a few seconds: this is a fifth of them.
func TestALargePlan(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		began := time.Now()
		one, err := db.InsertRecall(t.Context(), aPlan("large", 2000), 0)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		r := &recaller{t, db, noon}
		if ready, waiting := r.counted(one.ID, tallystick.StepReady), r.counted(one.ID, tallystick.StepWaiting); ready != 1 || waiting != 6000 {
			t.Errorf("%d are ready and %d wait", ready, waiting)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

// What was rolled back is rotated when the deadline comes, and is not said to be undone then.
func TestTheDeadlineOverridesARollback(t *testing.T) {
	for _, overlap := range []string{driver.OverlapTwo, driver.OverlapNone} {
		t.Run(overlap, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				s := newSafe(t, db, overlap)
				r := s.about("svc0")
				s.goOn()
				s.must(s.Undo(t.Context(), olga, s.only(r.ID).ID, "the customer asks for it"))
				s.goOn()
				if state := s.only(r.ID).State; state != tallystick.TargetUndone || !s.bank.lets("svc0", old("svc0")) {
					s.tell(r.ID)
					t.Fatalf("it is %s", state)
				}
				s.clock.pass(s.Defaults.Deadline + time.Hour)
				s.goOn()
				s.ids = map[string]string{"svc0": s.ids["svc0"]}
				s.proven(r.ID)
				if state := s.only(r.ID).State; state != tallystick.TargetProven {
					t.Errorf("it is %s", state)
				}
				events, err := s.Events(t.Context(), vera, r.ID, 0, 1000)
				s.must(err)
				if !slices.ContainsFunc(events, func(e recall.Event) bool {
					return e.Text == "It was rolled back, and the deadline has it rotated after all."
				}) {
					t.Error("nothing says why it is rotated after all")
				}
			})
		})
	}
}

// Where nothing is blocked at the deadline what was rolled back stays so.
func TestADeadlineThatHoldsLeavesWhatWasRolledBack(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	r := s.open(func(r *recall.Request) {
		r.What, r.AtDeadline = tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: s.ids["svc0"]}, tallystick.AtDeadlineHold
	})
	s.goOn()
	s.must(s.Undo(t.Context(), olga, s.only(r.ID).ID, "the customer asks for it"))
	s.goOn()
	s.clock.pass(s.Defaults.Deadline + time.Hour)
	s.goOn()
	if state := s.only(r.ID).State; state != tallystick.TargetUndone || !s.bank.lets("svc0", old("svc0")) {
		t.Errorf("it is %s", state)
	}
}

// A system that makes its secrets makes another one where the one before was taken away on the way.
// Nobody has entrusted anything meanwhile, and nothing says so.
func TestASecretThatIsMadeAgain(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	s.bank.makes = true
	r := s.about("svc0")
	s.goOn()
	s.bank.fault = func(act, _ string, after bool) error {
		if act == "set" && after { // the roll-back takes it away, and the answer is lost
			return fmt.Errorf("%w: no answer", tallystick.ErrUnavailable)
		}
		return nil
	}
	s.must(s.Undo(t.Context(), olga, s.only(r.ID).ID, "the customer asks for it"))
	s.turn()
	if len(s.bank.accounts["svc0"]) != 1 {
		t.Fatalf("by these they get in: %q", s.bank.accounts["svc0"])
	}
	s.bank.fault = nil
	s.clock.pass(s.Defaults.Deadline + time.Hour)
	s.goOn()
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.fetch()
	if target := s.only(r.ID); s.bank.lets("svc0", old("svc0")) || strings.Contains(target.Error, "somebody") {
		s.tell(r.ID)
		t.Fatalf("the old one gets in, or it says: %s", target.Error)
	}
	s.must(s.Retry(t.Context(), olga, s.only(r.ID).ID, "the deadline came first"))
	s.goOn()
	s.proven(r.ID)
}

// What a system makes is rotated, taken back, and rotated with another one.
func TestASecretThatTheSystemMakes(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapTwo)
	s.bank.makes = true
	r := s.about("svc0")
	s.goOn()
	first := slices.Clone(s.bank.accounts["svc0"])
	s.must(s.Undo(t.Context(), olga, s.only(r.ID).ID, "the customer asks for it"))
	s.goOn()
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.fetch()
	if len(first) != 2 || len(s.bank.accounts["svc0"]) != 1 || !s.bank.lets("svc0", old("svc0")) {
		t.Fatalf("it was %q, and is %q", first, s.bank.accounts["svc0"])
	}
	s.must(s.Retry(t.Context(), olga, s.only(r.ID).ID, "the customer has another mind"))
	s.done(r.ID)
	s.proven(r.ID)
	if s.bank.lets("svc0", first[1]) {
		t.Error("what was taken back gets in again")
	}
}

// Whoever names another holder entrusts the same value again. That is no other value: the recall waits
// for the new holder, and goes on.
func TestTheNewValueIsEntrustedAgain(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	r := s.about("svc0")
	s.goOn() // it drains
	value, _, err := s.vault.Reveal(t.Context(), mailSync, s.ids["svc0"], 0)
	s.must(err)
	_, err = s.vault.Entrust(t.Context(), olga, vault.Entrust{
		Name: vault.Name{Customer: "acme", System: "bank.acme.example", Account: "svc0", Kind: vault.Password}, Holder: "token:8", Value: value,
	})
	s.must(err)
	s.goOn()
	if target := s.only(r.ID); target.State != string(tallystick.PhaseDrain) {
		t.Fatalf("it is %s: %s", target.State, target.Error)
	}
	if got := s.status(r.ID).Waiting; !slices.Equal(got, []recall.Waiting{{Holder: "token:8", Targets: 1}}) {
		t.Errorf("it waits for %+v", got)
	}
	other := gate.Actor{Name: "mail-sync-2", Role: gate.Client, Via: "token 8"}
	_, _, err = s.vault.Reveal(t.Context(), other, s.ids["svc0"], 0)
	s.must(err)
	s.goOn()
	if s.only(r.ID).State != tallystick.TargetProven || s.bank.lets("svc0", old("svc0")) {
		s.tell(r.ID)
		t.Error("it does not go on")
	}
}

// The status names the holders that have not been given the new values, and no others.
func TestWhomARecallWaitsFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := newSafe(t, db, driver.OverlapTwo)
		r := s.begin()
		s.turn()
		if got := s.status(r.ID).Waiting; !slices.Equal(got, []recall.Waiting{{Holder: "token:7", Targets: 1}}) {
			t.Errorf("the canary waits for %+v", got)
		}
		list, err := s.Targets(t.Context(), vera, r.ID, recall.Filter{Wave: 1}, 0, 10)
		s.must(err)
		_, _, err = s.vault.Reveal(t.Context(), mailSync, strings.TrimPrefix(list[0].Old, tallystick.EntrustedPrefix), 0)
		s.must(err)
		s.goOn()
		if got := s.status(r.ID).Waiting; !slices.Equal(got, []recall.Waiting{{Holder: "token:7", Targets: 3}}) {
			t.Errorf("the next wave waits for %+v", got)
		}
		s.done(r.ID)
		s.proven(r.ID)
		if got := s.status(r.ID).Waiting; len(got) != 0 {
			t.Errorf("it is over and waits for %+v", got)
		}
	})
}

// What was tried before an error came is kept with the step: wrong tries count at the other side. A new
// value that was refused is not tried again.
func TestTriesBesideAnError(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	r := s.about("svc0")
	s.goOn() // it drains
	tests := 0
	s.bank.fault = func(act, account string, after bool) error {
		if act != "test" || !after {
			return nil
		}
		tests++
		return fmt.Errorf("%w: the second listener is away", tallystick.ErrUnavailable)
	}
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.fetch()
	s.goOn()
	if proof := s.proof(r.ID); tests < 2 || len(proof.Attempts) != 1 || len(proof.NewAttempts) != 1 || proof.Attempts[0].Outcome != driver.OutcomeRefused {
		t.Errorf("after %d tries it has %+v", tests, proof)
	}
	s.bank.mu.Lock()
	s.bank.accounts["svc0"], tests = []string{"set by hand"}, 0
	s.bank.mu.Unlock()
	s.clock.pass(10 * time.Minute)
	s.goOn()
	if target := s.only(r.ID); target.State != tallystick.TargetFailed || tests != 1 {
		t.Errorf("it is %s after %d tries", target.State, tests)
	}
}

// proof is what the only prove step of a recall has as its result.
func (s *safe) proof(id int64) (result doors.Result) {
	s.t.Helper()
	for _, step := range s.steps(id) {
		if step.Act == tallystick.ActProve && len(step.Result) > 0 {
			s.must(json.Unmarshal(step.Result, &result))
		}
	}
	return result
}

// What does not go as a target stands is nobody's doing, and nothing says so.
func TestNobodyIsBlamed(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	r := s.about("svc0")
	s.goOn() // it drains
	target := s.only(r.ID)
	_, again := s.Open(t.Context(), olga, recall.Request{Name: r.Name, What: r.What})
	for what, err := range map[string]error{
		"retry": s.Retry(t.Context(), olga, target.ID, "nothing has failed"), "resume": s.Resume(t.Context(), olga, r.ID), "the same name": again,
		"done": s.Done(t.Context(), olga, target.ID, "by hand"),
	} {
		if err == nil || strings.Contains(err.Error(), "somebody") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

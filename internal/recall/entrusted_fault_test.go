// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

// newSafeAt returns a safe with the path of its database.
func newSafeAt(t *testing.T, overlap string) (*safe, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tally.db")
	return newSafe(t, storetest.Open(t, path), overlap), path
}

// go on works for some minutes, whatever comes of it.
func (s *safe) goOn() {
	s.t.Helper()
	for range 30 {
		s.turn()
		s.clock.pass(6 * second)
	}
}

// about opens a recall of one secret.
func (s *safe) about(account string) tallystick.Recall {
	s.t.Helper()
	return s.open(func(r *recall.Request) {
		r.Name, r.What = "of-"+account, tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: s.ids[account]}
	})
}

func (s *safe) only(id int64) tallystick.RecallTarget {
	s.t.Helper()
	list, err := s.Targets(s.t.Context(), vera, id, recall.Filter{}, 0, 10)
	s.must(err)
	if len(list) != 1 {
		s.t.Fatalf("%d targets", len(list))
	}
	return list[0]
}

// Who can write to the database and has no wrapping key cannot have a value set elsewhere.
func TestAPlanThatWasChangedLeadsNowhere(t *testing.T) {
	s, path := newSafeAt(t, driver.OverlapNone)
	s.bank.fault = func(act, _ string, after bool) error {
		if act == "set" {
			return fmt.Errorf("%w: not now", tallystick.ErrUnavailable)
		}
		return nil
	}
	r := s.about("svc0")
	s.turn() // the values are kept
	storetest.Exec(t, path, fmt.Sprintf(`UPDATE recall_targets SET facts = REPLACE(facts, '"account":"svc0"', '"account":"svc1"') WHERE recall_id = %d`, r.ID))
	s.bank.fault = nil
	s.goOn()
	if target := s.only(r.ID); target.State != tallystick.TargetFailed || !strings.Contains(target.Error, "the plan was changed") {
		t.Errorf("it is %s: %s", target.State, target.Error)
	}
	for _, account := range []string{"svc0", "svc1"} {
		if !s.bank.lets(account, old(account)) {
			t.Errorf("%s was changed", account)
		}
	}
}

// Who may entrust a value cannot have an account's password set by naming it.
func TestTheValueMustBeTheAccounts(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapNone)
	s.bank.accounts["boss"] = []string{"the boss's own"}
	made, err := s.vault.Entrust(t.Context(), olga, vault.Entrust{
		Name: vault.Name{Customer: "acme", System: "bank.acme.example", Account: "boss", Kind: vault.Password}, Holder: "token:7", Value: driver.NewSecret("a guess"),
	})
	s.must(err)
	s.ids["boss"] = made.ID
	r := s.about("boss")
	s.goOn()
	if target := s.only(r.ID); target.State != tallystick.TargetFailed || !strings.Contains(target.Error, "does not get in") {
		t.Errorf("it is %s: %s", target.State, target.Error)
	}
	s.clock.pass(s.Defaults.Deadline + time.Hour)
	s.goOn()
	if !s.bank.lets("boss", "the boss's own") || s.bank.worst > 2 {
		t.Errorf("it was changed, or tried %d times", s.bank.worst)
	}
}

func TestTwoRecallsOfOneSecretAreNotOpen(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	s.about("svc0")
	s.goOn() // it drains: there is a newer version
	_, err := s.Open(t.Context(), olga, recall.Request{Name: "again", What: tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: s.ids["svc0"]}})
	if !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("the second one: %v", err)
	}
}

// A value that may be in force is not destroyed: neither by skipping nor by cancelling.
func TestNothingIsSkippedWhileItIsNotKnown(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapNone)
	away := true
	s.bank.fault = func(act, _ string, after bool) error {
		if act == "set" && after && away {
			return fmt.Errorf("%w: no answer", tallystick.ErrUnavailable)
		}
		return nil
	}
	r := s.about("svc0")
	s.turn()
	target := s.only(r.ID)
	if err := s.Skip(t.Context(), olga, target.ID, "the system is away"); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("it is skipped: %v", err)
	}
	if err := s.Cancel(t.Context(), olga, r.ID, "enough"); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("it is cancelled: %v", err)
	}
	away = false
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.clock.pass(time.Minute)
	s.done(r.ID)
	s.proven(r.ID)
}

// What fails after the change does not keep the new value from its holder.
func TestAFailureAfterTheChange(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapNone)
	s.bank.fault = func(act, _ string, after bool) error {
		if act == "set" && after {
			return fmt.Errorf("%w: the cache cannot be flushed", tallystick.ErrInvalid)
		}
		return nil
	}
	s.about("svc0")
	s.goOn()
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.fetch()
	if s.bank.lets("svc0", old("svc0")) {
		t.Error("nothing was set")
	}
}

// The holder must have been given the new version itself: the old value that somebody entrusts
// again is another version, and no new value.
func TestTheOldValueIsEntrustedAgain(t *testing.T) {
	s, _ := newSafeAt(t, driver.OverlapTwo)
	r := s.about("svc0")
	again := vault.Entrust{
		Name: vault.Name{Customer: "acme", System: "bank.acme.example", Account: "svc0", Kind: vault.Password}, Holder: "token:7", Value: driver.NewSecret(old("svc0")),
	}
	_, err := s.vault.Entrust(t.Context(), olga, again)
	s.must(err)
	_, _, err = s.vault.Reveal(t.Context(), mailSync, s.ids["svc0"], 0)
	s.must(err)
	s.goOn()
	if !s.bank.lets("svc0", old("svc0")) {
		t.Error("the old one was dropped before the holder had the new one")
	}
	s.ids = map[string]string{"svc0": s.ids["svc0"]}
	s.done(r.ID)
	s.proven(r.ID)
}

// A relay is a program that nobody reaches.
type relay struct{}

func (relay) SupplySecret(context.Context, driver.SupplyRequest) (driver.Changed, error) {
	return driver.Changed{}, fmt.Errorf("%w: the relay is away", tallystick.ErrUnavailable)
}

// A program that is away keeps no stolen value alive beyond the deadline.
func TestAProgramIsAwayAtTheDeadline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tally.db")
	s := newSafeWith(t, storetest.Open(t, path), driver.OverlapTwo, true)
	r := s.about("svc0")
	s.goOn()
	if !s.bank.lets("svc0", old("svc0")) {
		t.Error("the old one was dropped while the relay goes on with it")
	}
	s.clock.pass(s.Defaults.Deadline + time.Hour)
	s.goOn()
	if s.bank.lets("svc0", old("svc0")) {
		s.tell(r.ID)
		t.Error("the old one gets in after the deadline")
	}
}

// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// A stuck roll-back: app1's new one was refused, and app1 is away when its old one is to
// be put back.
type stuck struct {
	*house
	id     int64
	refuse bool  // ldap refuses the new one
	away   error // of app1 when it is to have its old one back
}

func newStuck(t *testing.T, h *house) *stuck {
	t.Helper()
	s := &stuck{house: h, refuse: true, away: fmt.Errorf("%w: no route to app1", tallystick.ErrUnavailable)}
	s.estate.SetFault(func(task doors.Task, after bool) error {
		switch {
		case after || task.Door != "app1":
		case s.refuse && task.Act == tallystick.ActProbe:
			return fmt.Errorf("%w: the new one is refused", tallystick.ErrInvalid)
		case task.Act == tallystick.ActInstall && task.OldKeyName == "":
			return s.away
		}
		return nil
	})
	s.id = s.open(nil).ID
	for range 40 {
		s.turn()
		s.clock.pass(6 * second)
	}
	if state := s.target().State; state != tallystick.TargetFailed || s.estate.Shown("app1").Is(s.olds["app1"]) {
		s.tell(s.id)
		t.Fatalf("app1 is %s", state)
	}
	return s
}

func (s *stuck) target() tallystick.RecallTarget {
	s.t.Helper()
	return s.targets(s.id)["app1 ldap"]
}

func (s *stuck) work(times int) {
	s.t.Helper()
	for range times {
		s.turn()
		s.clock.pass(5 * time.Minute)
	}
}

// Nothing of a target goes on before it is rolled back: otherwise the old one would be
// put back when it is long revoked.
func TestNothingGoesOnDuringARollback(t *testing.T) {
	s := newStuck(t, onSQLite(t, nil))
	s.refuse = false
	if err := s.Retry(t.Context(), olga, s.target().ID, "mended"); !errors.Is(err, tallystick.ErrConflict) {
		t.Fatalf("it was retried: %v", err)
	}
	if err := s.Undo(t.Context(), olga, s.target().ID, "once more"); !errors.Is(err, tallystick.ErrConflict) {
		t.Fatalf("it is rolled back twice: %v", err)
	}
	s.away = nil
	s.work(3)
	s.soFar()
	if state := s.target().State; state != tallystick.TargetUndone || !s.estate.Shown("app1").Is(s.olds["app1"]) {
		t.Fatalf("it is %s", state)
	}
	s.must(s.Retry(t.Context(), olga, s.target().ID, "mended"))
	s.must(s.Resume(t.Context(), olga, s.id))
	s.finish(s.id)
	s.check(s.id)
}

// A roll-back that failed is tried again, and nothing else.
func TestAFailedRollbackIsRetried(t *testing.T) {
	s := newStuck(t, onSQLite(t, nil))
	s.refuse, s.away = false, fmt.Errorf("%w: its disk is full", tallystick.ErrInvalid)
	s.work(3)
	s.away = nil
	s.must(s.Retry(t.Context(), olga, s.target().ID, "there is room again"))
	s.work(3)
	if state := s.target().State; state != tallystick.TargetUndone || !s.estate.Shown("app1").Is(s.olds["app1"]) {
		s.tell(s.id)
		t.Errorf("it is %s", state)
	}
	s.soFar()
}

// What the deadline blocks is not put back afterwards, and nobody rolls back any more.
func TestTheDeadlineEndsARollback(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := newStuck(t, newHouse(t, db, nil))
		s.clock.pass(7 * 24 * time.Hour)
		s.work(5)
		s.away = nil
		s.work(5)
		if s.estate.Shown("app1").Is(s.olds["app1"]) || s.estate.Lets("ldap", s.olds["app1"]) {
			s.tell(s.id)
			t.Error("the old one is back")
		}
		target := s.target()
		if target.State != tallystick.TargetFailed || !target.Late || !strings.Contains(target.Error, "deadline") {
			t.Errorf("it is %+v", target)
		}
		for name, one := range s.targets(s.id) {
			if err := s.Undo(t.Context(), olga, one.ID, "too late"); !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("%s is rolled back: %v", name, err)
			}
		}
		s.estate.Forgive()
		s.refuse = false
		s.must(s.Retry(t.Context(), olga, target.ID, "mended"))
		s.finish(s.id)
		s.check(s.id)
	})
}

// The old key is kept until it is put back, also when the recall is cancelled meanwhile.
func TestCancelledDuringARollback(t *testing.T) {
	s := newStuck(t, onSQLite(t, nil))
	s.must(s.Cancel(t.Context(), olga, s.id, "enough"))
	s.work(2)
	s.away = nil
	s.work(3)
	if !s.estate.Shown("app1").Is(s.olds["app1"]) {
		s.tell(s.id)
		t.Error("the old one is not back")
	}
	if n := s.estate.Keys(); n != 0 {
		t.Errorf("%d keys are left behind", n)
	}
}

// forgetful are doors that cannot destroy keys at first.
type forgetful struct {
	*recalltest.Estate
	fails *int
}

func (f forgetful) Forget(ctx context.Context, prefix string) error {
	if *f.fails--; *f.fails >= 0 {
		return errors.New("the disk is read-only")
	}
	return f.Estate.Forget(ctx, prefix)
}

func TestKeysAreDestroyedLater(t *testing.T) {
	fails := 1
	h := onSQLite(t, nil)
	c := h.Config
	c.Doors = forgetful{h.estate, &fails}
	var err error
	h.Engine, err = recall.New(c)
	h.must(err)
	r := h.open(nil)
	failed := false
	for range 100 {
		if n, err := h.Turn(t.Context()); err != nil {
			failed = true
		} else if n == 0 {
			h.clock.pass(6 * second)
		}
		if failed && h.estate.Keys() == 0 {
			break
		}
	}
	if !failed {
		t.Error("nothing failed")
	}
	h.check(r.ID)
}

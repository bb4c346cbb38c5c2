// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
)

// Nothing follows from a try that was not made: a door that cannot be reached proves nothing.
func TestAnUnreachableDoorProvesNothing(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if t.Act == tallystick.ActProve && t.Door == "app1" {
			return context.DeadlineExceeded
		}
		return nil
	})
	for range 60 {
		h.turn()
		h.clock.pass(time.Hour / 2)
	}
	if target := h.targets(r.ID)["app1 ldap"]; target.State != string(tallystick.PhaseProve) {
		t.Errorf("it is %s: %s", target.State, target.Error)
	}
	h.estate.SetFault(nil)
	h.finish(r.ID)
	h.check(r.ID)
}

// A door that cannot be brought to trust the new credential keeps no holder from having it by
// the deadline: the old one is refused everywhere then.
func TestOneDoorThatFailsLocksNobodyOut(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(func(r *recall.Request) { r.Waves = &tallystick.Waves{Canary: 1000, Growth: 2, Errors: 1000} })
	h.estate.SetFault(func(t doors.Task, _ bool) error {
		if t.Act == tallystick.ActTrust && t.Door == "mail2" {
			return fmt.Errorf("%w: there is no such tenant", tallystick.ErrInvalid)
		}
		return nil
	})
	for range 20 {
		h.turn()
		h.clock.pass(10 * second)
	}
	h.clock.pass(7 * 24 * time.Hour)
	for range 20 {
		h.turn()
		h.clock.pass(10 * second)
	}
	for _, holder := range []string{"app1", "app2"} {
		view, err := h.estate.Look(t.Context(), holder)
		h.must(err)
		if len(view.Shown) != 1 || view.Shown[0].Is(h.olds[holder]) {
			h.tell(r.ID)
			t.Errorf("%s still has the old one, which is refused", holder)
		}
	}
	h.estate.SetFault(nil)
}

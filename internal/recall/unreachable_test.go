// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
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

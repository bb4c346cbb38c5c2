// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// A deadline comes while nothing has been begun yet: the server was away, or had too much to do.
// The old one is refused at once all the same, and yet nobody is without one that works at
// any moment: holders have the new one, and doors let it in, before the old one is blocked.
func TestTheDeadlineLocksNobodyOutWhoCanBeHelped(t *testing.T) {
	h := onSQLite(t, nil)
	r := h.open(nil)
	h.clock.pass(8 * 24 * time.Hour)
	for range 200 {
		n, err := h.Turn(t.Context())
		h.must(err)
		h.soFar()
		if n == 0 {
			break
		}
	}
	s := h.finish(r.ID)
	if s.State != tallystick.RecallDone || s.Blocked.IsZero() {
		h.tell(r.ID)
		t.Fatalf("it is %s, blocked at %s", s.State, s.Blocked)
	}
	h.check(r.ID)
}

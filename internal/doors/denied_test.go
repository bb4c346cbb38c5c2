// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// set has the people of the server let these in, and nobody else change it.
func (g *gatekeeper) set(lets ...driver.Public) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.lets = true, lets
}

// What a door denies us is done once its people have done it: it is looked at.
func TestWhatADoorDeniesIsLookedAt(t *testing.T) {
	e := newEstate(t, false)
	fresh := driver.Public{Chain: e.pki.Client(t, "journal").Chain}
	old, other := e.old.Public, driver.Public{Chain: e.pki.Client(t, "other").Chain}
	for _, row := range []struct {
		what string
		act  tallystick.Act
		lets []driver.Public
		done bool
	}{
		{"trust before", tallystick.ActTrust, []driver.Public{old}, false},
		{"trust after", tallystick.ActTrust, []driver.Public{old, fresh}, true},
		{"block before", tallystick.ActBlock, []driver.Public{old, fresh}, false},
		{"block after", tallystick.ActBlock, []driver.Public{fresh}, true},
		{"block when it says nothing", tallystick.ActBlock, nil, false},
		{"block of what never got in", tallystick.ActBlock, []driver.Public{other}, true},
		{"lift before", tallystick.ActLift, []driver.Public{other}, false},
		{"lift after", tallystick.ActLift, []driver.Public{other, old}, true},
	} {
		e.gate.set(row.lets...)
		task := e.task(row.act, "archive")
		task.New = fresh
		result, err := e.Do(t.Context(), task)
		if row.done != (err == nil) || err != nil && !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("%s: %v", row.what, err)
		}
		var how []string
		if result.Changed != nil {
			how = result.Changed.How
		}
		if result.Blocked != nil {
			how = result.Blocked.How
		}
		if row.done && (!slices.Equal(how, []string{"by-hand"}) || result.View == nil) {
			t.Errorf("%s: by %q", row.what, how)
		}
	}
}

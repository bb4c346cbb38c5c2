// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// journal ends the names of the journals of package installing, whose tests cut them off: they are
// alike for all drivers.
const journal = ".tallystick-before"

// A cut is a write of a verb that fails.
type cut struct {
	n    int // the write, from 1
	name string
	when When
	gone bool // the caller goes away
}

// String names it in the error of a test.
func (c cut) String() string {
	return fmt.Sprintf("write %d (%s) fails %s, caller gone: %v", c.n, c.name, c.when, c.gone)
}

// cutOff has each write of a verb fail in turn: before and after it has happened, after it has
// happened while the caller goes away, and with the caller killed. Whatever the verb says, the
// server goes on serving, and the verb without faults gets to where it should.
func (s DoorSuite) cutOff(t *testing.T, of func(*running) verb) {
	lanes := max(1, s.Lanes)
	for lane := range lanes {
		t.Run(fmt.Sprint(lane+1), func(t *testing.T) {
			s.aside(t)
			r := s.begin(t)
			r.lane(t, of(r), lane, lanes)
		})
	}
}

// lane does every so many of the cuts of a verb.
func (r *running) lane(t *testing.T, v verb, lane, lanes int) {
	before := r.look(t)
	r.host.Fail(0, Never, nil)
	if _, err := v.do(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, writes := r.look(t), r.host.Writes()
	t.Logf("%d writes: %q", len(writes), writes)
	var cuts []cut
	for i, name := range writes {
		if strings.HasSuffix(name, journal) {
			continue
		}
		cuts = append(cuts, cut{i + 1, name, Before, false}, cut{i + 1, name, After, false}, cut{i + 1, name, After, true}, cut{i + 1, name, Killed, true})
	}
	there := true // the verb is done
	for i := lane; i < len(cuts); i += lanes {
		do, want := v.do, after
		switch {
		case !v.mirrored:
			r.reset(t, v)
		case there:
			do, want = v.undo, before
		}
		there = !there
		r.cut(t, cuts[i], do, want)
	}
}

// cut does a verb with a fault, and then without.
func (r *running) cut(t *testing.T, c cut, do func(context.Context) (driver.Changed, error), want driver.View) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	then := cancel
	if !c.gone {
		then = nil
	}
	r.host.Fail(c.n, c.when, then)
	changed, err := do(ctx)
	writes := r.host.Writes()
	r.host.Fail(0, Never, nil)
	public(t, err)
	if err == nil {
		if d := cmp.Diff(want, r.look(t)); d != "" {
			t.Errorf("%s: it says that all is well (%+v):\n%s", c, changed, d)
		}
	}
	// Who is killed between two files leaves half of a credential: there until the next call.
	if c.when != Killed {
		if errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%s: one fault leaves damage: %v", c, err)
		}
		if bad := r.Good(); bad != nil {
			t.Errorf("%s: the server does not serve: %v\nthe verb said: %v\nit wrote %q", c, bad, err, writes)
		}
		r.host.Fail(0, Never, nil)
	}
	if _, again := do(t.Context()); again != nil {
		t.Fatalf("%s: again, without faults: %v\nfirst: %v", c, again, err)
	}
	if d := cmp.Diff(want, r.look(t)); d != "" {
		t.Errorf("%s: repeated, the door stands otherwise:\n%s", c, d)
	}
	if bad := r.Good(); bad != nil {
		t.Errorf("%s: repeated, the server does not serve: %v", c, bad)
	}
}

// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// atDoors are the acts of a recall that are done at doors, and acts are all.
var (
	atDoors = []tallystick.Act{tallystick.ActKey, tallystick.ActTrust, tallystick.ActInstall, tallystick.ActProbe, tallystick.ActHold, tallystick.ActBlock, tallystick.ActProve}
	acts    = append([]tallystick.Act{tallystick.ActIssue, tallystick.ActDrain, tallystick.ActRevoke}, atDoors...)
)

// A onceOnly fails the first time that it is asked.
type onceOnly struct{ done bool }

func (o *onceOnly) fail() error {
	if o.done {
		return nil
	}
	o.done = true
	return errors.New("the connection was reset")
}

// A fault of the table: something fails once, before it is done or when it is done.
type fault struct {
	name   string
	inject func(h *house, url string, t *testing.T) *onceOnly // nil: it is the store that fails
	heal   string                                             // SQL that ends it; "" when it ends by itself
}

// faults are everything that an engine writes, at doors and issuers, in the audit log
// and in the store, each failed, and failed although it happened. A write of the store
// that happened and was not heard of is a process that is killed: see killed_test.go.
func faults() []fault {
	var list []fault
	for _, after := range []bool{false, true} {
		when := map[bool]string{false: "fails", true: "fails after it happened"}[after]
		for _, act := range atDoors {
			list = append(list, fault{name: fmt.Sprintf("%s %s", act, when), inject: func(h *house, _ string, _ *testing.T) *onceOnly {
				once := &onceOnly{}
				h.estate.SetFault(func(t doors.Task, done bool) error {
					if t.Act != act || done != after {
						return nil
					}
					return once.fail()
				})
				return once
			}})
		}
		for _, what := range []string{"recall-", "revoke "} {
			list = append(list, fault{name: fmt.Sprintf("issuer %s%s", what, when), inject: func(h *house, _ string, _ *testing.T) *onceOnly {
				once := &onceOnly{}
				h.desk.SetFault(func(order string, done bool) error {
					if !strings.HasPrefix(order, what) || done != after {
						return nil
					}
					return once.fail()
				})
				return once
			}})
		}
		for _, act := range acts {
			list = append(list, fault{name: fmt.Sprintf("record of %s %s", act, when), inject: func(h *house, _ string, _ *testing.T) *onceOnly {
				once := &onceOnly{}
				h.log.fault = func(detail string, done bool) error {
					if !strings.HasPrefix(detail, string(act)) || done != after {
						return nil
					}
					return once.fail()
				}
				return once
			}})
		}
	}
	for _, act := range acts {
		for _, state := range []string{tallystick.StepRunning, tallystick.StepDone} {
			list = append(list, fault{
				name: fmt.Sprintf("the store fails when %s is %s", act, state), heal: `DROP TRIGGER full`,
				inject: func(_ *house, url string, t *testing.T) *onceOnly {
					storetest.Exec(t, url, fmt.Sprintf(`CREATE TRIGGER full BEFORE UPDATE ON recall_steps WHEN NEW.act = '%s' AND NEW.state = '%s' AND OLD.state <> NEW.state
						BEGIN SELECT RAISE(ABORT, 'disk full'); END`, act, state))
					return nil
				},
			})
		}
	}
	return list
}

// Whatever fails, and whether or not it happened all the same: the next engine goes on,
// nothing is made twice, nobody is ever without a credential that works, and the end is
// the same.
func TestFaults(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			url := filepath.Join(t.TempDir(), "tally.db")
			h := newHouse(t, storetest.Open(t, url), nil)
			r := h.open(nil)
			once := f.inject(h, url, t)
			failed := false
			for range 300 {
				n, err := h.Turn(t.Context())
				if err != nil && f.heal == "" && !strings.Contains(err.Error(), "reset") {
					t.Fatal(err)
				}
				if err != nil && !failed && f.heal != "" {
					failed = true
					storetest.Exec(t, url, f.heal)
				}
				h.soFar()
				if n == 0 {
					if h.status(r.ID).State.Over() {
						break
					}
					h.clock.pass(recall.LeaseTime + second)
				}
			}
			if once != nil {
				failed = once.done
			}
			if !failed {
				t.Error("nothing failed")
			}
			h.check(r.ID)
		})
	}
}

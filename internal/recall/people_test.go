// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
)

// One person is one, however they come in: by a session, a token that they made, the machine
// on which they started the server.
func TestOnePersonIsOne(t *testing.T) {
	h := onSQLite(t, func(c *recall.Config) { c.Defaults.Approvals = 2 })
	ctx := t.Context()
	token := func(name, by string) gate.Actor {
		t.Helper()
		return gate.Actor{Name: name, Role: gate.Operator, Via: "token", MadeBy: by}
	}
	h.must(h.DB.AddLink(ctx, store.NewLink{Hash: "h1", Expires: time.Now().Add(time.Hour), Last: "admin", Person: store.Person{Name: "admin", Role: "admin", CreatedBy: gate.FirstStart}}))
	h.must(h.DB.AddLink(ctx, store.NewLink{Hash: "h2", Expires: time.Now().Add(time.Hour), Last: "admin", Person: store.Person{Name: "olga", Role: "operator", CreatedBy: "root"}}))
	admin := gate.Actor{Name: "admin", Role: gate.Admin, Via: "session"}
	olgas, ottos, admins := token("ci", "olga"), token("deploy", "otto"), token("robot", "admin")
	for i, one := range []struct {
		opens, approves gate.Actor
		same            bool
	}{
		{olga, olgas, true}, {olgas, olga, true}, {olga, ottos, false}, {olgas, token("ci-2", "olga"), true}, {olgas, ottos, false},
		{gate.Local("root"), gate.Local("root"), true}, {gate.Local("root"), admin, true}, {admins, gate.Local("tally"), true}, {admin, admins, true},
		{gate.Local("root"), gate.Local("otto"), false}, {gate.Local("root"), olga, false}, {admin, olga, false},
	} {
		name := fmt.Sprint("one-", i)
		r, err := h.Open(ctx, one.opens, recall.Request{Name: name, What: h.burntKey()})
		h.must(err)
		err = h.Approve(ctx, one.approves, r.ID, r.Deadline)
		if one.same != errors.Is(err, tallystick.ErrDenied) || !one.same && err != nil {
			t.Errorf("%+v opened it, %+v approves: %v", one.opens, one.approves, err)
		}
		approval := audit.ApprovalRecord(name, r.Deadline)
		outcome := slices.ContainsFunc(h.log.list, func(e audit.Record) bool {
			return e.Object == approval.Object && e.Actor == one.approves.Name && e.Action == approval.Action
		})
		refused := slices.ContainsFunc(h.log.list, func(e audit.Record) bool {
			return e.Object == approval.Object && e.Actor == one.approves.Name && !e.Allowed
		})
		if outcome == one.same || refused != one.same {
			t.Errorf("%s by %s: on record as given %v, as refused %v", name, one.approves.Name, outcome, refused)
		}
		h.must(h.Cancel(ctx, olga, r.ID, "it was a test"))
	}
	r, err := h.Open(ctx, olga, recall.Request{Name: "twice", What: h.burntKey()})
	h.must(err)
	h.must(h.Approve(ctx, otto, r.ID, r.Deadline))
	h.must(h.Approve(ctx, ottos, r.ID, r.Deadline))
	if s := h.status(r.ID); s.State != tallystick.RecallWaiting || len(s.ApprovedBy) != 1 {
		t.Errorf("otto and his token count as two: it is %s, approved by %q", s.State, s.ApprovedBy)
	}
}

// What a person says that they did is on record, with what they said.
func TestWhatPeopleDoIsOnRecord(t *testing.T) {
	h := onSQLite(t, nil)
	h.denied("ldap")
	r := h.open(nil)
	h.onward(3)
	target := h.targets(r.ID)["app1 ldap"]
	h.must(h.Done(t.Context(), olga, target.ID, "ticket 4711"))
	steps, err := h.Steps(t.Context(), vera, r.ID, target.ID, 0, 100)
	h.must(err)
	found := false
	for _, s := range steps {
		if !strings.Contains(string(s.Result), "4711") {
			continue
		}
		want := audit.StepRecord("key-of-all", s.ID, audit.StepSaid("trust", "ldap", "done"), s.Result)
		found = found || slices.ContainsFunc(h.log.list, func(e audit.Record) bool {
			return e.Actor == "olga" && e.Action == want.Action && e.Object == want.Object && e.Detail == want.Detail
		})
	}
	if !found {
		t.Error("what olga said is not on record")
	}
}

// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// crowd adds and issues n renewals at the desk.
func (h *house) crowd(n int) {
	h.t.Helper()
	for i := range n {
		h.add(renewal.Wanted{Name: fmt.Sprintf("r%02d", i), Issuer: "desk", Names: []string{fmt.Sprintf("r%02d.old.example.com", i)}})
	}
	h.turn()
}

func (h *house) turnMoves() {
	h.t.Helper()
	h.clock.pass(3 * time.Second)
	if err := h.TurnMoves(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) move(id int64) renewal.Move {
	h.t.Helper()
	m, err := h.MoveStatus(h.t.Context(), viewer, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// The first goes alone, then a tenth, then the others, each when all before it have
// their new certificates; names are mapped. The dry run says all that.
func TestAMoveGoesInWaves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		h.crowd(30)
		request := renewal.MoveRequest{
			Selection: renewal.Selection{Issuers: []string{"desk"}, Names: []string{"*.old.example.com"}}, To: "ca/lab",
			NamesThere: map[string]string{"*.old.example.com": "*.new.example.com"}, ProfilesThere: map[string]string{"server": "mutual"},
		}
		tried, err := h.TryMove(t.Context(), operator, request)
		if err != nil || len(tried.Items) != 30 || tried.Waves != 3 || tried.ID != 0 || tried.Items[4].After.Names[0] != "r04.new.example.com" {
			t.Fatalf("the dry run says %+v, %v", tried, err)
		}
		if r := h.get("r04"); r.Issuer != "desk" {
			t.Fatal("the dry run has moved something")
		}
		m, err := h.Move(t.Context(), operator, request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Move(t.Context(), operator, request); !errors.Is(err, tallystick.ErrConflict) || !strings.Contains(problem.Of(err).Hint, "on their way") {
			t.Errorf("two moves of the same: %v", err)
		}
		for wave, there := range []int{1, 3, 30} {
			h.turnMoves()
			h.turnMoves() // once more changes nothing
			h.turn()
			list, err := h.List(t.Context(), viewer, store.RenewalFilter{Issuer: "ca/lab"}, "", 100)
			if err != nil || len(list) != there || h.issued() != there {
				t.Fatalf("in wave %d there are %d with %d certificates, want %d; %v", wave+1, len(list), h.issued(), there, err)
			}
		}
		h.turnMoves()
		if m = h.move(m.ID); m.State != store.MoveDone || m.Counts["done"] != 30 {
			t.Errorf("it ended as %+v", m)
		}
		if r := h.expect("r07", "good"); r.IssuedBy != "ca/lab" || r.Profile != "mutual" || r.Names[0] != "r07.new.example.com" {
			t.Errorf("it is %+v", r)
		}
	})
}

// When the first fails, nothing else goes, and it goes back to where it was.
func TestAMoveThatFailsStops(t *testing.T) {
	h := onSQLite(t, func(c *renewal.Config) {
		c.Issuers = append(c.Issuers, renewal.Issuer{Name: "bad", Driver: "desk", Issuer: &desk{before: func(driver.IssueRequest) (time.Time, error) {
			return time.Time{}, fmt.Errorf("%w: you are nobody here", tallystick.ErrDenied)
		}}})
	})
	h.crowd(10)
	was := h.get("r00")
	m, err := h.Move(t.Context(), operator, renewal.MoveRequest{To: "bad"})
	if err != nil || !m.Unforeseen {
		t.Fatal(m, err)
	}
	for range 5 {
		h.turnMoves()
		h.turn()
	}
	if m = h.move(m.ID); m.State != store.MoveStopped || m.Counts["failed"] != 1 || m.Counts["waiting"] != 9 || !strings.Contains(m.Items[0].Error, "you are nobody here") {
		t.Fatalf("it ended as %+v", m)
	}
	is := h.expect("r00", "good")
	if diff := cmp.Diff(was, is, cmp.FilterPath(func(p cmp.Path) bool {
		return p.String() == "Why" || p.String() == "Explanation" || p.String() == "Error"
	}, cmp.Ignore())); diff != "" {
		t.Errorf("it is not where it was:\n%s", diff)
	}
	if h.desk.count() != 10 {
		t.Error("something was issued once more")
	}
	// Whoever has put it right lets the move go on.
	h.Issuers[1].Issuer.(*desk).behave(func(d *desk) {
		fresh := newDesk(t)
		d.key, d.root, d.life, d.made, d.before = fresh.key, fresh.root, fresh.life, fresh.made, nil
	})
	if err := h.RetryMove(t.Context(), operator, m.ID); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		h.turnMoves()
		h.turn()
	}
	if m = h.move(m.ID); m.State != store.MoveDone || m.Counts["done"] != 10 {
		t.Errorf("it ended as %+v", m)
	}
}

// An issuer that cannot be reached fails its wave after a few minutes.
func TestAMoveToAnIssuerThatIsAway(t *testing.T) {
	h := onSQLite(t, func(c *renewal.Config) {
		c.Issuers = append(c.Issuers, renewal.Issuer{Name: "away", Driver: "desk", Issuer: &desk{before: func(driver.IssueRequest) (time.Time, error) {
			return time.Time{}, tallystick.ErrUnavailable
		}}})
	})
	h.crowd(3)
	m, err := h.Move(t.Context(), operator, renewal.MoveRequest{To: "away"})
	if err != nil {
		t.Fatal(err)
	}
	began := h.clock.now()
	for h.move(m.ID).State == store.MoveRunning && h.clock.now().Sub(began) < time.Hour {
		h.turnMoves()
		h.turn()
		h.clock.pass(30 * time.Second)
	}
	if took := h.clock.now().Sub(began); took > 15*time.Minute || h.get("r00").Issuer != "desk" {
		t.Errorf("after %s it is at %s: %+v", took, h.get("r00").Issuer, h.move(m.ID))
	}
}

func TestAMoveIsStoppedByAPerson(t *testing.T) {
	h := onSQLite(t, nil)
	h.crowd(5)
	m, err := h.Move(t.Context(), operator, renewal.MoveRequest{To: "ca/lab", Selection: renewal.Selection{Renewals: []string{"r0?"}}, Waves: []int{40}})
	if err != nil || m.Waves != 2 {
		t.Fatal(m, err)
	}
	h.turnMoves()
	if got := h.get("r01").Issuer; got != "ca/lab" {
		t.Fatalf("the first two are at %s", got)
	}
	if err := h.StopMove(t.Context(), operator, m.ID); err != nil {
		t.Fatal(err)
	}
	h.turn()
	h.turnMoves()
	if m = h.move(m.ID); m.State != store.MoveStopped || m.Error != "stopped by olga" || h.get("r01").Issuer != "desk" || h.issued() != 0 {
		t.Errorf("it ended as %+v; r01 is at %s", m, h.get("r01").Issuer)
	}
	if err := h.StopMove(t.Context(), operator, m.ID); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("it was stopped twice: %v", err)
	}
}

// What the new CA's policy would refuse is told beforehand, and left out if so wished.
func TestAMoveAsksThePolicyFirst(t *testing.T) {
	h := onSQLite(t, nil)
	h.says(func(r policy.Request) ca.Decision {
		return ca.Decision{Allowed: r.DNS[0] != "r01.old.example.com", Why: "r01 stays", Approval: r.DNS[0] == "r02.old.example.com"}
	})
	h.crowd(4)
	request := renewal.MoveRequest{To: "ca/lab"}
	_, err := h.Move(t.Context(), operator, request)
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "1 of 4 would be refused, such as r01: r01 stays") {
		t.Errorf("it says %v", err)
	}
	request.Skip = true
	m, err := h.Move(t.Context(), operator, request)
	if err != nil || m.Counts["refused"] != 1 || m.Counts["waiting"] != 3 {
		t.Fatal(m, err)
	}
	states := []string{}
	for _, i := range m.Items {
		states = append(states, i.Renewal+" "+i.State+" "+i.Error)
	}
	want := []string{"r01 refused r01 stays", "r00 waiting ", "r02 waiting somebody must approve it", "r03 waiting "}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []renewal.MoveRequest{
		{To: "ca/lab", Selection: renewal.Selection{Renewals: []string{"["}}}, {To: "ca/lab", Selection: renewal.Selection{Renewals: []string{"none"}}},
		{To: "ca/lab", Waves: []int{10, 5}}, {To: "ca/lab", Waves: []int{200}},
	} {
		if _, err := h.TryMove(t.Context(), operator, bad); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := h.TryMove(t.Context(), operator, renewal.MoveRequest{To: "nowhere"}); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
	if _, err := h.TryMove(t.Context(), viewer, request); !errors.Is(err, tallystick.ErrDenied) {
		t.Error(err)
	}
}

// A move goes on in the next process, and nothing is asked for twice.
func TestAMoveGoesOnAfterARestart(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	h := newHouse(t, db, nil)
	h.crowd(12)
	m, err := h.Move(t.Context(), operator, renewal.MoveRequest{To: "ca/lab"})
	if err != nil {
		t.Fatal(err)
	}
	h.turnMoves()
	next, err := renewal.New(renewal.Config{DB: db, Gate: h.Gate, Keys: h.Keys, Now: h.clock.now, Node: "next", CA: h.ca, Issuers: h.Issuers})
	if err != nil {
		t.Fatal(err)
	}
	h.Engine = next
	for range 6 {
		h.turnMoves()
		h.turn()
	}
	if m = h.move(m.ID); m.State != store.MoveDone || h.issued() != 12 {
		t.Errorf("it ended as %+v with %d certificates", m, h.issued())
	}
	all, err := h.Moves(t.Context(), viewer, 10)
	if err != nil || len(all) != 1 || all[0].Items != nil {
		t.Error(all, err)
	}
}

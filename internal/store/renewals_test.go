// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestRenewals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, at := t.Context(), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		want := store.Renewal{
			Name: "shop", Issuer: "ca/lab", Profile: "server", Names: []string{"100%.example.com", "a_b"}, Algorithm: "ecdsa-p256", Lifetime: time.Hour, Share: 667, KeepKey: true,
			Directory: "/etc/ssl/shop", Hook: `{"command":["/bin/true"]}`, Due: at, Why: store.DueNew, Created: at, CreatedBy: "ada", Declared: true,
		}
		added, err := db.AddRenewal(ctx, want)
		must(err)
		want.ID = added.ID
		for name, r := range map[string]store.Renewal{
			"name": {Name: "shop", Issuer: "x"}, "directory": {Name: "b", Directory: want.Directory}, "all": {Name: "c", Issuer: "ca/lab", Profile: "server", Names: want.Names, Directory: want.Directory},
		} {
			if _, err := db.AddRenewal(ctx, r); !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("the same %s: %v", name, err)
			}
			if same, err := db.SameRenewal(ctx, r); err != nil || same.ID != want.ID {
				t.Errorf("the same %s: %+v, %v", name, same, err)
			}
		}
		got, err := db.Renewal(ctx, "shop")
		must(err)
		if len(got.Certificate) == 0 {
			got.Certificate = nil // an engine has an empty one
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		want.Paused, want.Error, want.Failures, want.Refused = true, "no", 2, true
		must(db.ChangeRenewal(ctx, want))
		for f, n := range map[store.RenewalFilter]int{
			{}: 1, {Issuer: "ca/lab"}: 1, {Issuer: "ca"}: 0, {State: "paused"}: 1, {State: "refused"}: 1, {State: "failing"}: 0, {State: "expired", Now: at}: 0,
			{Like: "0%.ex"}: 1, {Like: "0%ex"}: 0, {Like: "a_b"}: 1, {Like: "a.b"}: 0, {Declared: true}: 1, {State: "waiting"}: 0, {State: "overdue", Now: at.Add(2 * time.Hour)}: 0,
		} {
			list, err := db.Renewals(ctx, f, "", 10)
			if err != nil || len(list) != n {
				t.Errorf("%+v finds %d, %v; want %d", f, len(list), err, n)
			}
		}
		numbers, err := db.CountRenewals(ctx, at.Add(2*time.Hour))
		if err != nil || numbers.All != 1 || numbers.Paused != 1 || numbers.Refused != 1 || numbers.Overdue != 0 || !numbers.Oldest.IsZero() {
			t.Errorf("the numbers are %+v, %v", numbers, err)
		}
		must(db.PauseRenewal(ctx, want.ID, false))
		must(db.AskRenewal(ctx, want.ID, store.DueAsked, at))
		if list, err := db.DueIssuers(ctx, at); err != nil || len(list) != 1 {
			t.Error(list, err)
		}
		if _, err := db.RemoveRenewal(ctx, want.ID); err != nil {
			t.Error(err)
		}
		if _, err := db.Renewal(ctx, "shop"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

// The fence: whoever has lost an order can write nothing any more.
func TestTheFenceOfAnOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, at := t.Context(), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		lease := time.Minute
		if _, err := db.AddRenewal(ctx, store.Renewal{Name: "shop", Issuer: "x", Due: at, Why: store.DueNew, Created: at}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is one already
			if _, err := db.OpenOrders(ctx, "x", store.Budget{}, at, 10); err != nil {
				t.Fatal(err)
			}
		}
		claim := func(node string, now time.Time) []store.RenewalOrder {
			t.Helper()
			list, err := db.ClaimOrders(ctx, node, now, lease, 10)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		first := claim("a", at)
		if len(first) != 1 || len(claim("b", at.Add(lease/2))) != 0 || len(claim("a", at)) != 0 {
			t.Fatal("an order is not one node's")
		}
		second := claim("b", at.Add(2*lease))
		if len(second) != 1 || second[0].Attempt != 2 {
			t.Fatalf("it was not taken over: %+v", second)
		}
		lost, now := first[0], at.Add(2*lease)
		for name, err := range map[string]error{
			"keep": db.KeepOrder(ctx, lost, now), "lease": db.LeaseOrder(ctx, lost, now), "rest": db.RestOrder(ctx, lost), "certify": db.CertifyOrder(ctx, lost, store.Renewal{}),
			"finish": db.FinishOrder(ctx, lost, now), "fail": db.FailOrder(ctx, lost, now, store.Renewal{}),
		} {
			if !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		mine := second[0]
		mine.Step, mine.KeyID, mine.CSR, mine.State = store.StepIssue, "key", []byte("csr"), "state"
		if err := db.KeepOrder(ctx, mine, now.Add(lease)); err != nil {
			t.Fatal(err)
		}
		mine.Next = now.Add(time.Hour)
		if err := db.RestOrder(ctx, mine); err != nil {
			t.Fatal(err)
		}
		if len(claim("a", now.Add(time.Minute))) != 0 {
			t.Error("it was taken up while it rests")
		}
		third := claim("a", now.Add(2*time.Hour))
		if len(third) != 1 || third[0].State != "state" || third[0].KeyID != "key" || third[0].Step != store.StepIssue {
			t.Errorf("it was taken up as %+v", third)
		}
	})
}

// No more is begun than the issuer may be asked for, in any hour.
func TestBudgets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, at := t.Context(), time.Date(2026, 11, 22, 12, 50, 0, 0, time.UTC)
		for n := range 20 {
			r := store.Renewal{Name: fmt.Sprint("r", n), Issuer: "x", Names: []string{fmt.Sprint(n)}, Due: at, Why: store.DueNew, Created: at.Add(time.Duration(-n) * time.Hour)}
			if n == 3 {
				r.Why = store.DueRecall
			}
			if _, err := db.AddRenewal(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{
			{0, 6}, {time.Minute, 0}, {10 * time.Minute, 0}, {40 * time.Minute, 3}, {70 * time.Minute, 3}, {2 * time.Hour, 2}, {5 * time.Hour, 1}, {169 * time.Hour, 5},
		} {
			n, err := db.OpenOrders(ctx, "x", store.Budget{PerHour: 6, PerWeek: 15}, at.Add(c.after), 100)
			if err != nil || n != c.want {
				t.Errorf("after %s %d are begun, %v; want %d", c.after, n, err, c.want)
			}
		}
		orders, err := db.RenewalOrders(ctx, 0, 0, 100)
		if err != nil || len(orders) != 20 {
			t.Fatal(len(orders), err)
		}
		if first := orders[len(orders)-1]; first.Why != store.DueRecall {
			t.Errorf("the first is for %s", first.Why)
		}
		hour, week, err := db.IssuerHours(ctx, at.Add(169*time.Hour))
		if err != nil || hour["x"] != 5 || week["x"] > 15 {
			t.Error(hour, week, err)
		}
	})
}

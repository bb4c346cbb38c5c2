// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// acmeID is an id of the nth millisecond.
func acmeID(n int) string { return fmt.Sprintf("%012x%020x", n, 7) }

func TestACMEAccounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		binding := store.ACMEBinding{ID: "b", Secret: "s", Names: []string{"*.lab.test"}, Created: now, CreatedBy: "ada"}
		if err := db.AddACMEBinding(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
		a := store.ACMEAccount{ID: acmeID(1), Thumbprint: "one", Key: "{}", Contact: []string{"mailto:a@b.example"}, Status: "valid", Binding: "b", Address: "10.0.0.1", Created: now}
		if err := db.AddACMEAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		got, err := db.ACMEAccountOfKey(t.Context(), "one")
		if diff := cmp.Diff(a, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		used, err := db.ACMEBinding(t.Context(), "b")
		binding.Used = now
		if diff := cmp.Diff(binding, used); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		twice := a
		twice.ID, twice.Thumbprint = acmeID(2), "two"
		if err := db.AddACMEAccount(t.Context(), twice); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a binding that was used: %v", err)
		}
		twice.Binding, twice.Thumbprint = "", "one"
		if err := db.AddACMEAccount(t.Context(), twice); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("a key that has an account: %v", err)
		}
		if err := db.RekeyACMEAccount(t.Context(), a.ID, "other", "two", "{}"); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("a change from a key that it has not: %v", err)
		}
		if err := db.RekeyACMEAccount(t.Context(), a.ID, "one", "two", "{2}"); err != nil {
			t.Error(err)
		}
		if err := db.EndACMEAccount(t.Context(), a.ID, "revoked"); err != nil {
			t.Error(err)
		}
		if err := db.EndACMEAccount(t.Context(), a.ID, "deactivated"); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("ended twice: %v", err)
		}
		list, err := db.ACMEAccounts(t.Context(), store.ACMEList{Status: "revoked"})
		if err != nil || len(list) != 1 || list[0].Key != "{2}" {
			t.Errorf("%+v %v", list, err)
		}
	})
}

func TestACMEOrders(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		var orders []store.ACMEOrder
		for i := range 3 {
			a := store.ACMEAuthorization{ID: acmeID(i), Account: "acc", Kind: "dns", Value: "a.lab.test", Status: "pending", Challenges: "[]", Created: now, Expires: now.Add(time.Duration(i+1) * time.Hour)}
			o := store.ACMEOrder{ID: acmeID(i), Account: "acc", Authority: "lab", Status: "pending", Profile: "server", Identifiers: []store.ACMEIdentifier{{Type: "dns", Value: "a.lab.test"}},
				Authorizations: []string{a.ID}, CSR: []byte{}, Created: now, Expires: now.Add(time.Hour)}
			if err := db.AddACMEOrder(t.Context(), o, []store.ACMEAuthorization{a}); err != nil {
				t.Fatal(err)
			}
			orders = append([]store.ACMEOrder{o}, orders...)
		}
		page, err := db.ACMEOrders(t.Context(), store.ACMEList{Account: "acc", Before: acmeID(2)})
		if diff := cmp.Diff(orders[1:], page, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if n, err := db.OpenACMEOrders(t.Context(), "acc", now); n != 3 || err != nil {
			t.Errorf("%d are open, %v", n, err)
		}
		o := orders[0]
		o.Status, o.CSR = "processing", []byte{1, 0, 2}
		if err := db.ChangeACMEOrder(t.Context(), "pending", o); err != nil {
			t.Fatal(err)
		}
		if err := db.ChangeACMEOrder(t.Context(), "pending", o); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("changed twice: %v", err)
		}
		if list, err := db.ProcessingACMEOrders(t.Context(), time.Time{}); err != nil || cmp.Diff([]store.ACMEOrder{o}, list) != "" {
			t.Errorf("%+v %v", list, err)
		}
		o.Status, o.Serial = "valid", "ab"
		if err := db.ChangeACMEOrder(t.Context(), "processing", o); err != nil {
			t.Fatal(err)
		}
		if id, err := db.ACMEOrderOfSerial(t.Context(), "acc", "ab"); id != o.ID || err != nil {
			t.Errorf("the order of the serial is %q, %v", id, err)
		}
		if id, err := db.ACMEOrderOfSerial(t.Context(), "other", "ab"); id != "" || err != nil {
			t.Errorf("the order of another account is %q, %v", id, err)
		}
		if n, err := db.ForgetACME(t.Context(), now.Add(90*time.Minute), now); n != 3 || err != nil { // two orders, one authorization
			t.Errorf("%d rows were forgotten, %v", n, err)
		}
		if _, err := db.ACMEOrder(t.Context(), o.ID); err != nil {
			t.Errorf("an order that came to something was forgotten: %v", err)
		}
	})
}

func TestACMEAuthorizations(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		usable := func(wildcard bool) string {
			a, err := db.UsableACMEAuthorization(t.Context(), "acc", "dns", "a.lab.test", wildcard, now)
			if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
				t.Fatal(err)
			}
			return a.ID
		}
		var fresh []store.ACMEAuthorization
		for i, wildcard := range []bool{false, false, true} {
			fresh = append(fresh, store.ACMEAuthorization{ID: acmeID(i), Account: "acc", Kind: "dns", Value: "a.lab.test", Wildcard: wildcard, Status: "pending", Challenges: "[]", Created: now, Expires: now.Add(time.Duration(2-i) * time.Hour)})
		}
		if err := db.AddACMEOrder(t.Context(), store.ACMEOrder{ID: acmeID(9), Account: "acc", Status: "pending", Created: now, Expires: now}, fresh); err != nil {
			t.Fatal(err)
		}
		if usable(false) != fresh[0].ID || usable(true) != "" {
			t.Errorf("usable are %q and %q: not the one that lasts longest, or one that has ended", usable(false), usable(true))
		}
		fresh[1].Status, fresh[1].Challenges = "valid", "[1]"
		if err := db.ChangeACMEAuthorization(t.Context(), "pending", fresh[1]); err != nil {
			t.Fatal(err)
		}
		if usable(false) != fresh[1].ID {
			t.Error("one that is valid does not go before one that is pending")
		}
		fresh[0].Status = "processing"
		if err := db.ChangeACMEAuthorization(t.Context(), "pending", fresh[0]); err != nil {
			t.Fatal(err)
		}
		if list, err := db.ProcessingACMEAuthorizations(t.Context()); err != nil || cmp.Diff(fresh[:1], list) != "" {
			t.Errorf("%+v %v", list, err)
		}
		if list, err := db.ACMEAuthorizations(t.Context(), []string{fresh[1].ID, "none", fresh[2].ID}); err != nil || len(list) != 2 {
			t.Errorf("%+v %v", list, err)
		}
	})
}

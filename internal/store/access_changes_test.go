// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var changedAt = time.Date(2026, 11, 20, 10, 15, 0, 0, time.UTC)

func accessChange(id string, at time.Time) tallystick.Change {
	return tallystick.Change{
		ID: id, Source: "entra", Time: at, Kind: tallystick.ChangeCredentialAdded, Target: "entra-app:t/1", TargetName: "sync \x00\xff",
		Accounts: []string{"account:entra-app/A"}, Credential: []string{"entra-key:" + id}, Existing: -1,
	}
}

func TestAccessChangesAreKeptOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		one := accessChange("1", changedAt)
		again := one
		again.Source = "another way"
		nameless := accessChange("", changedAt)
		first, err := db.RecordAccessChanges(ctx, []tallystick.Change{one, again, nameless, nameless})
		if err != nil || len(first) != 2 {
			t.Fatalf("%d changes were new: %v", len(first), err)
		}
		second, err := db.RecordAccessChanges(ctx, []tallystick.Change{again, nameless})
		if err != nil || len(second) != 0 {
			t.Fatalf("%d changes were new again: %v", len(second), err)
		}
	})
}

func TestAccessChangesArePagedNewestFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var list []tallystick.Change
		for i := range 7 { // several at one time
			list = append(list, accessChange(fmt.Sprint(i), changedAt.Add(time.Duration(i/3)*time.Minute)))
		}
		if _, err := db.RecordAccessChanges(ctx, list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for after := ""; ; {
			page, total, err := db.AccessChanges(ctx, store.AccessFilter{Target: "entra-app:", Kind: tallystick.ChangeCredentialAdded, Unexpected: true}, store.PageRequest{After: after, Limit: 2})
			if err != nil || total != 7 {
				t.Fatal(total, err)
			}
			for _, c := range page.Items {
				got = append(got, c.RecordID)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if d := cmp.Diff([]string{"6", "5", "4", "3", "2", "1", "0"}, got); d != "" {
			t.Error(d)
		}
		none, _, err := db.AccessChanges(ctx, store.AccessFilter{From: changedAt.Add(time.Hour)}, store.PageRequest{Limit: 10})
		if err != nil || len(none.Items) != 0 {
			t.Error(none, err)
		}
		if _, _, err := db.AccessChanges(ctx, store.AccessFilter{}, store.PageRequest{After: "x", Limit: 10}); err == nil {
			t.Error("a page that begins nowhere is listed")
		}
	})
}

func TestExpectedChangesSayByWhom(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		e, err := db.ExpectAccessChange(ctx, store.AccessExpectation{
			Target: "entra-app:t/1", Kind: tallystick.ChangeCredentialAdded, Actor: "account:x", Since: changedAt, Until: changedAt.Add(time.Hour), By: "ada", Reason: "renewal",
		})
		if err != nil || e.ID == 0 {
			t.Fatal(e, err)
		}
		bare, err := db.ExpectAccessChange(ctx, store.AccessExpectation{
			Target: "entra-app:t/3", Actor: "y", Since: changedAt, Until: changedAt.Add(2 * time.Hour), By: "bob", Reason: "as ever",
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]struct {
			edit func(*tallystick.Change)
			by   string
		}{
			"as expected":  {func(*tallystick.Change) {}, "ada: renewal"},
			"too early":    {func(c *tallystick.Change) { c.Time = changedAt.Add(-time.Second) }, ""},
			"too late":     {func(c *tallystick.Change) { c.Time = changedAt.Add(2 * time.Hour) }, ""},
			"other target": {func(c *tallystick.Change) { c.Target = "entra-app:t/2" }, ""},
			"other kind":   {func(c *tallystick.Change) { c.Kind = tallystick.ChangeGrantAdded }, ""},
			"other actor":  {func(c *tallystick.Change) { c.Actor = "account:y" }, ""},
			"bare actor":   {func(c *tallystick.Change) { c.Target, c.Actor = "entra-app:t/3", "account:y" }, "bob: as ever"},
			"as written":   {func(c *tallystick.Change) { c.Target, c.Actor = "entra-app:t/3", "y" }, "bob: as ever"},
		} {
			c := accessChange(name, changedAt.Add(time.Minute))
			c.Actor = "account:x"
			want.edit(&c)
			list, err := db.RecordAccessChanges(ctx, []tallystick.Change{c})
			if err != nil || len(list) != 1 || list[0].Expected != want.by {
				t.Errorf("%s: %+v %v", name, list, err)
			}
		}
		list, err := db.AccessExpectations(ctx, changedAt)
		if d := cmp.Diff([]store.AccessExpectation{e, bare}, list); d != "" || err != nil {
			t.Error(err, d)
		}
	})
}

func TestTheEarliestUseAfterAChangeCounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		list, err := db.RecordAccessChanges(ctx, []tallystick.Change{accessChange("1", changedAt)})
		if err != nil {
			t.Fatal(err)
		}
		id := list[0].ID
		for _, use := range []struct {
			after time.Duration
			news  bool
		}{{5 * time.Minute, true}, {7 * time.Minute, false}, {2 * time.Minute, true}, {2 * time.Minute, false}} {
			news, err := db.UseAccessChange(ctx, id, changedAt.Add(use.after), "192.0.2.1")
			if err != nil || news != use.news {
				t.Errorf("after %v: %v %v", use.after, news, err)
			}
		}
		near, err := db.AccessChangesAround(ctx, "elsewhere", "account:entra-app/a", changedAt.Add(-time.Hour), changedAt, 10)
		if err != nil || len(near) != 1 || !near[0].UsedAt.Equal(changedAt.Add(2*time.Minute)) || near[0].UsedFrom != "192.0.2.1" {
			t.Errorf("%+v %v", near, err)
		}
	})
}

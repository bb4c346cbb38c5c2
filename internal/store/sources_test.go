// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestSources(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		want := store.Source{
			Name: "edge", Kind: store.SourceHTTP, Side: tallystick.SideRelying, Format: "use", Path: "", TokenHash: "abc", Once: true,
			Settle: time.Minute, Silence: time.Hour, KeepRaw: 720 * time.Hour, Created: at, CreatedBy: "ada",
		}
		added, err := db.AddSource(ctx, want)
		if err != nil || added.ID == 0 {
			t.Fatal(added, err)
		}
		want.ID = added.ID
		if _, err := db.AddSource(ctx, want); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("the same name again: %v", err)
		}
		if _, err := db.AddSource(ctx, store.Source{Name: "a", Kind: store.SourceFile, Path: "/x"}); err != nil {
			t.Fatal(err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(db.FailSource(ctx, want.ID, "no such file"))
		got, err := db.SourceOfToken(ctx, "abc")
		must(err)
		want.Error = "no such file"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		must(db.AdvanceSource(ctx, want.ID, store.SourceProgress{Position: "{1}", Heard: at, Records: 3, Duplicates: 2, Malformed: 1, Wrong: []string{"x"}}))
		must(db.AdvanceSource(ctx, want.ID, store.SourceProgress{Records: 1, Heard: at.Add(-time.Hour), Done: at}))
		if position, err := db.SourcePosition(ctx, want.ID); err != nil || position != "{1}" {
			t.Error(position, err)
		}
		must(db.PauseSource(ctx, want.ID, true))
		want.Error, want.Begun, want.Heard, want.Records, want.Duplicates, want.Malformed = "", true, at, 4, 2, 1
		want.Wrong, want.Done, want.Paused = []string{"x"}, at, true
		list, err := db.Sources(ctx)
		must(err)
		if len(list) != 2 || list[0].Name != "a" {
			t.Fatalf("%+v", list)
		}
		if diff := cmp.Diff(want, list[1]); diff != "" {
			t.Error(diff)
		}
		must(db.RemoveSource(ctx, want.ID))
		for _, err := range []error{
			db.RemoveSource(ctx, want.ID), db.PauseSource(ctx, want.ID, true), db.FailSource(ctx, want.ID, "x"),
			db.AdvanceSource(ctx, want.ID, store.SourceProgress{}),
		} {
			if !errors.Is(err, tallystick.ErrNotFound) {
				t.Errorf("of a source that is gone: %v", err)
			}
		}
		if _, err := db.SourceOfToken(ctx, ""); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("no token finds a source: %v", err)
		}
		if _, err := db.Source(ctx, "edge"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

// How far a source is read had its place in the row of the source once.
func TestPositionsOutliveAnUpgrade(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		if err := store.MakeOld(t.Context(), url, 11); err != nil {
			t.Fatal(err)
		}
		storetest.Exec(t, url, `INSERT INTO sources (id, name, kind, side, format, created, created_by, position)
			VALUES (1, 'a', 'file', 'holder', '', 1, 'ada', '{1}'), (2, 'b', 'file', 'holder', '', 1, 'ada', '')`)
		db := storetest.Open(t, url)
		list, err := db.Sources(t.Context())
		if err != nil || len(list) != 2 || !list[0].Begun || list[1].Begun {
			t.Fatalf("%+v, %v", list, err)
		}
		for id, want := range map[int64]string{1: "{1}", 2: ""} {
			if got, err := db.SourcePosition(t.Context(), id); err != nil || got != want {
				t.Errorf("%d: %q, %v", id, got, err)
			}
		}
		if err := db.RemoveSource(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := db.SourcePosition(t.Context(), 1); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

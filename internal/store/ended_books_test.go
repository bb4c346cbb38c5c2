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

func TestEndedBooks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		book := func(source string, side tallystick.Side, reason string) store.EndedBook {
			return store.EndedBook{Source: source, Side: side, Ended: noon, Author: "ada", Reason: reason}
		}
		for _, b := range []store.EndedBook{
			book("old", tallystick.SideRelying, "gone"), book("old", tallystick.SideHolder, "gone"), book("a\x00b", tallystick.SideHolder, "odd\x00"),
			book("old", tallystick.SideHolder, "replaced in May"), // says it again
		} {
			must(t, db.EndBook(ctx, b))
		}
		ended := func() []store.EndedBook {
			list, err := db.EndedBooks(ctx)
			must(t, err)
			return list
		}
		want := []store.EndedBook{
			book("a\ufffdb", tallystick.SideHolder, "odd\ufffd"), book("old", tallystick.SideHolder, "replaced in May"), book("old", tallystick.SideRelying, "gone"),
		}
		if d := cmp.Diff(want, ended(), cmp.Comparer(time.Time.Equal)); d != "" {
			t.Error(d)
		}
		must(t, db.ReopenBook(ctx, "old", tallystick.SideHolder))
		if err := db.ReopenBook(ctx, "old", tallystick.SideHolder); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("reopened twice: %v", err)
		}
		if d := cmp.Diff(book("old", tallystick.SideRelying, "gone"), ended()[1], cmp.Comparer(time.Time.Equal)); d != "" {
			t.Errorf("the other side's: %s", d)
		}
	})
}

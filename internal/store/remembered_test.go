// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// Each source remembers its own, until it is removed.
func TestRemembered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		one, err := db.AddSource(ctx, store.Source{Name: "one", Kind: store.SourceDriver, Driver: "ad", Side: "relying"})
		must(err)
		other := one.ID + 1
		must(db.Remember(ctx, one.ID, map[string][]byte{"a": []byte("1"), "b": {0, 0xff}, "c": []byte("3")}))
		must(db.Remember(ctx, one.ID, map[string][]byte{"a": []byte("2"), "c": nil}))
		must(db.Remember(ctx, other, map[string][]byte{"a": []byte("of the other")}))
		got, err := db.Remembered(ctx, one.ID, []string{"b", "none", "a", "c"})
		must(err)
		if d := cmp.Diff([][]byte{{0, 0xff}, nil, []byte("2"), nil}, got); d != "" {
			t.Error(d)
		}
		must(db.RemoveSource(ctx, one.ID))
		got, err = db.Remembered(ctx, one.ID, []string{"a"})
		must(err)
		left, err := db.Remembered(ctx, other, []string{"a"})
		must(err)
		if got[0] != nil || string(left[0]) != "of the other" {
			t.Errorf("it remembers %q, and the other one %q", got[0], left[0])
		}
	})
}

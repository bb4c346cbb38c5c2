// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestKept(t *testing.T) {
	long := bytes.Repeat([]byte{0, 0xff, '\''}, 3<<20)
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, step := range []struct {
			name  string
			value []byte
		}{{"a", []byte{0}}, {"b", []byte("other")}, {"a", long}, {"a", nil}, {"a", nil}, {"a", []byte("again")}} {
			if err := db.Keep(t.Context(), step.name, step.value); err != nil {
				t.Fatal(err)
			}
			got, err := db.Kept(t.Context(), step.name)
			if err != nil || !bytes.Equal(got, step.value) || (got == nil) != (step.value == nil) {
				t.Errorf("%s: %d bytes, %v; want the %d that were kept", step.name, len(got), err, len(step.value))
			}
		}
		if got, err := db.Kept(t.Context(), "b"); err != nil || string(got) != "other" {
			t.Errorf("b: %q, %v; want what was kept before", got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := db.Kept(ctx, "b"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, not that of the context", err)
		}
	})
}

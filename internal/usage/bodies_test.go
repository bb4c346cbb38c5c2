// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// What is promoted from the types within must not come out beside, or instead of,
// what the bodies say.
func TestTimesOfBodiesAreInSeconds(t *testing.T) {
	source := store.Source{Name: "edge", Settle: 1500 * time.Millisecond, Silence: time.Hour, KeepRaw: 24 * time.Hour}
	book := usage.Book{
		Book: ledger.Book{Source: "edge", Late: 250 * time.Millisecond, MostLate: time.Minute}, Reading: &source, Behind: 2 * time.Minute, Skew: -30 * time.Second,
	}
	text, err := json.Marshal(usage.BookBodiesOf([]usage.Book{book})[0])
	must(t, err)
	var got map[string]any
	must(t, json.Unmarshal(text, &got))
	reading, _ := got["reading"].(map[string]any)
	for name, want := range map[string]float64{"late": 0.25, "most_late": 60, "behind": 120, "skew": -30} {
		if d := cmp.Diff(want, got[name]); d != "" {
			t.Errorf("%s of the book: %s", name, d)
		}
	}
	for name, want := range map[string]float64{"settle": 1.5, "silence": 3600, "keep_raw": 86400} {
		if d := cmp.Diff(want, reading[name]); d != "" {
			t.Errorf("%s of its source: %s", name, d)
		}
	}
	if got["source"] != "edge" || reading["name"] != "edge" {
		t.Errorf("the rest is lost: %s", text)
	}
}

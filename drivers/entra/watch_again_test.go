// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
)

// A keptKeys remembers what it is asked to.
type keptKeys map[string][]byte

// Remembered returns what is remembered.
func (m keptKeys) Remembered(_ context.Context, ids []string) ([][]byte, error) {
	list := make([][]byte, len(ids))
	for i, id := range ids {
		list[i] = m[id]
	}
	return list, nil
}

// A key that comes, goes and comes again under the same id came twice, and a page that is read
// again, because nobody took it, tells the same.
func TestAKeyThatComesAgain(t *testing.T) {
	const one, two, object = "8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e11", "8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e12", "8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e13"
	kept := keptKeys{}
	w := &watching{Entra: &Entra{}, now: time.Now, memory: kept}
	read := func(page string, ids ...string) (driver.WatchBatch, string) {
		t.Helper()
		var keys []keyCredential
		for _, id := range ids {
			keys = append(keys, keyCredential{KeyID: id})
		}
		b, err := w.compare(t.Context(), []deltaObject{{ID: object, Keys: &keys}}, true, page)
		if err != nil || len(b.Records) != 1 {
			t.Fatalf("%s: %q %v", page, b.Records, err)
		}
		var r keysRecord
		if err := json.Unmarshal(b.Records[0], &r); err != nil {
			t.Fatal(err)
		}
		return b, r.ID
	}
	take := func(b driver.WatchBatch) {
		for _, r := range b.Remember {
			kept[r.Key] = r.Value
		}
	}
	b, _ := read("1", one)
	take(b)
	_, first := read("2", one, two)
	b, again := read("2", one, two)
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("a page that is read again: %s", d)
	}
	take(b)
	b, _ = read("3", one)
	take(b)
	if _, later := read("4", one, two); later == first {
		t.Error("a key that comes again is known already")
	}
}

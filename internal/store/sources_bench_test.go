// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// BenchmarkSources lists a thousand sources, each with a position as long as those of tenants become.
func BenchmarkSources(b *testing.B) {
	db := storetest.Open(b, filepath.Join(b.TempDir(), "tally.db"))
	list, read := make([]store.Source, 1000), map[int64]store.SourceProgress{}
	for i := range list {
		list[i] = store.Source{
			Name: fmt.Sprintf("m365-%d", i), Kind: store.SourceDriver, Side: tallystick.SideRelying, Driver: "entra", Created: time.Unix(1, 0),
			Options: map[string]string{"tenant": fmt.Sprint(i), "application": "a", "credential": "/etc/tally/watch.pem"},
		}
	}
	if err := db.AddSources(b.Context(), list); err != nil {
		b.Fatal(err)
	}
	for _, one := range list {
		read[one.ID] = store.SourceProgress{Position: strings.Repeat("0123456789", 3000)}
	}
	if err := db.AdvanceSources(b.Context(), read); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if all, err := db.Sources(b.Context()); err != nil || len(all) != len(list) {
			b.Fatal(len(all), err)
		}
	}
}

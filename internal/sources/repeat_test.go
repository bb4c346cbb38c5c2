// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"compress/gzip"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/watch"
)

// nameless returns a line without a name of its own, at a second.
func nameless(second int) string {
	return fmt.Sprintf(`{"v":1,"time":%q,"credential":["x5t:aa"],"relying_party":"https:api"}`+"\n", start.Add(time.Duration(second)*time.Second).Format(time.RFC3339))
}

// numbered returns how many uses there are of each occurrence.
func (h *house) numbered() map[string]int {
	h.Helper()
	count := map[string]int{}
	for _, u := range h.uses() {
		count[u.Other[occurrence]]++
	}
	return count
}

func (h *house) wantNumbered(what string, first, second, third int) {
	h.Helper()
	if n := h.numbered(); n[""] != first || n["2"] != second || n["3"] != third {
		h.Errorf("%s: %v", what, n)
	}
}

func TestEqualLinesAreSoManyUses(t *testing.T) {
	h := newHouse(t)
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")})
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	pass := func() {
		t.Helper()
		_, err := w.pass(t.Context())
		must(t, err)
	}
	h.write("log", nameless(0)+nameless(0)+record(1)+record(1))
	pass()
	if n := len(h.uses()); n != 3 { // what has a name is there once
		t.Errorf("%d uses", n)
	}
	h.wantNumbered("two in one look", 2, 1, 0)
	h.write("log", nameless(2)+nameless(0))
	pass()
	h.wantNumbered("a third in the next", 3, 1, 1)

	// Rotated and compressed, it is what was read already.
	must(t, os.Rename(h.path("log"), h.path("log.1")))
	h.write("log", nameless(9)+nameless(9))
	pass()
	h.wantNumbered("rotated", 4, 2, 1)
	text, err := os.ReadFile(h.path("log.1"))
	must(t, err)
	packed, err := os.Create(h.path("log.2.gz"))
	must(t, err)
	z := gzip.NewWriter(packed)
	_, err = z.Write(text)
	must(t, err)
	must(t, z.Close())
	must(t, packed.Close())
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(h.path("log.2.gz"), old, old))
	must(t, os.Remove(h.path("log.1")))
	pass()
	h.wantNumbered("compressed", 4, 2, 1)

	// Nor does the same change anything for whoever reads it from the beginning.
	must(t, h.Remove(t.Context(), admin, "edge"))
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")})
	h.passes("edge", 1)
	h.wantNumbered("read again", 4, 2, 1)
}

// What is copied and truncated goes on in the copy from what was counted before.
func TestEqualLinesAreCountedInACopy(t *testing.T) {
	h := newHouse(t)
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")})
	w, err := h.newWatcher(h.Context(), h.source("edge"))
	must(t, err)
	h.write("log", records(1, 30)+nameless(0))
	_, err = w.pass(t.Context())
	must(t, err)
	h.write("log.1", records(1, 30)+nameless(0)+nameless(0)) // its writer was faster than we
	must(t, os.Truncate(h.path("log"), 0))
	_, err = w.pass(t.Context())
	must(t, err)
	h.wantNumbered("copied and truncated", 30, 1, 0)
}

// After a start nobody remembers what was counted: an equal line is taken for one
// that was read, and reading it all again puts that right.
func TestEqualLinesAcrossAStart(t *testing.T) {
	h := newHouse(t)
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")})
	h.write("log", nameless(0)+nameless(0))
	h.passes("edge", 1)
	h.write("log", nameless(0))
	h.passes("edge", 1)
	h.wantNumbered("across a start", 1, 1, 0)
	must(t, h.Remove(t.Context(), admin, "edge"))
	h.add(store.Source{Kind: store.SourceFile, Path: h.path("log")})
	h.passes("edge", 1)
	h.wantNumbered("read again", 1, 1, 1)
}

// A delivery that is sent again changes nothing.
func TestEqualLinesOfADeliveryAreOne(t *testing.T) {
	h := newHouse(t)
	token := h.add(store.Source{Kind: store.SourceHTTP})
	for range 2 {
		_, err := h.Receive(t.Context(), Delivery{Token: token, Source: "edge", Body: strings.NewReader(nameless(0) + nameless(0))})
		must(t, err)
	}
	h.wantNumbered("delivered twice", 1, 0, 0)
}

func TestRepeatsAreBounded(t *testing.T) {
	r := newRepeats()
	for second := range maxRepeats + 10 {
		r.number(&tallystick.Use{Time: start.Add(time.Duration(second) * time.Second)})
	}
	if len(r.times) != maxRepeats || len(r.order) != maxRepeats {
		t.Errorf("%d records are remembered", len(r.times))
	}
	for second, want := range map[int]string{0: "", maxRepeats + 5: "2"} {
		u := tallystick.Use{Time: start.Add(time.Duration(second) * time.Second)}
		if r.number(&u); u.Other[occurrence] != want {
			t.Errorf("second %d is %q", second, u.Other[occurrence])
		}
	}
	w := &watcher{feed: &feed{}}
	for range maxCounted + 3 {
		w.counting(&place{Offset: 1})
	}
	if len(w.counts) != maxCounted {
		t.Errorf("%d files are remembered", len(w.counts))
	}
}

// A thief cannot hide behind the use of the holder's that is written in the same
// second: of two equal lines the holder knows one, and the other is foreign.
func TestForeignUseBesideAnEqualLine(t *testing.T) {
	h := newHouse(t)
	l, err := ledger.Open(t.TempDir(), ledger.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	tallying, err := watch.Open(t.Context(), watch.Config{DB: h.DB, Ledger: l, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	raw, err := archive.Open(t.TempDir(), time.Now)
	must(t, err)
	t.Cleanup(func() { must(t, raw.Close()) })
	h.Sources = New(Config{DB: h.DB, Gate: gate.New(h.audit, time.Now), Appender: tallying, Archive: raw, Now: time.Now})
	h.add(store.Source{Name: "edge", Kind: store.SourceFile, Path: h.path("edge"), Settle: time.Second})
	h.add(store.Source{Name: "broker", Kind: store.SourceFile, Path: h.path("broker"), Settle: time.Second, Side: tallystick.SideHolder})
	h.write("edge", nameless(0)+nameless(0))
	h.write("broker", nameless(0))
	h.passes("edge", 1)
	h.passes("broker", 1)
	must(t, tallying.Finish(t.Context()))
	foreign, err := h.DB.AllVerdicts(t.Context(), tallystick.VerdictForeign)
	must(t, err)
	if len(foreign) != 1 || foreign[0].Uses != 1 {
		t.Errorf("foreign: %+v", foreign)
	}
}

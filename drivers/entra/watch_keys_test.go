// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// A notebook is a book that remembers what it is asked to, as a source does.
type notebook struct {
	teller
	memory map[string][]byte
}

// Remembered returns what is remembered.
func (n *notebook) Remembered(_ context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = n.memory[key]
	}
	return values, nil
}

// Take keeps a batch and what it asks to be remembered.
func (n *notebook) Take(b driver.WatchBatch) (int, error) {
	for _, r := range b.Remember {
		n.memory[r.Key] = r.Value
	}
	return n.teller.Take(b)
}

// keys has one round read, and returns what it says has changed: "+" and "-" with ids of keys.
func (w *tower) keys(d driver.Watcher, n *notebook) (told []string) {
	w.Helper()
	n.records, n.book.troubles, n.book.last = nil, nil, nil
	w.pass(10 * time.Minute)
	for again := time.Duration(0); again < time.Minute; { // until there is nothing more
		var err error
		if again, err = d.Watch(w.Context(), driver.WatchRequest{Position: n.book.position, Now: w.clock, Memory: n}, n); err != nil {
			w.Fatal(err)
		}
	}
	for _, r := range n.records {
		for sign, member := range map[string]string{"+": "added", "-": "removed"} {
			list, _ := r[member].([]any)
			for _, key := range list {
				told = append(told, sign+key.(map[string]any)["keyId"].(string))
			}
		}
	}
	slices.Sort(told)
	return told
}

func newNotebook() *notebook {
	return &notebook{teller: teller{book: newBook()}, memory: map[string][]byte{}}
}

// What is added and taken away is told once, whatever the delta queries repeat and forget.
func TestKeysAreWatched(t *testing.T) {
	w := newTower(t, emulator.Config{Faults: emulator.Faults{DeltaReplays: 5, DeltaDuplicates: true}})
	for n := range 120 { // more than a page
		w.tenant.AddApplication(emulator.AppSpec{Name: fmt.Sprint("App ", n), Secrets: []string{text}})
	}
	d, n := w.open(map[string]string{"logs": "keys"}), newNotebook()
	if told := w.keys(d, n); len(told) > 0 {
		t.Errorf("what was there is told as new: %v", told)
	}
	app := w.product.Application
	first := app.State().Secrets[0].KeyID
	second := w.tenant.AddSecret(app, "second", "another secret of a test").KeyID
	if d := cmp.Diff([]string{"+" + second}, w.keys(d, n)); d != "" {
		t.Error(d)
	}
	if r := n.records[0]; r["object"] != app.ID || r["tenantId"] != w.tenant.ID || r["existing"] != 1.0 || r["displayName"] != "Mail sync" {
		t.Errorf("%v", r)
	}
	if told := w.keys(w.open(map[string]string{"logs": "keys"}), n); len(told) > 0 {
		t.Errorf("told again after a start: %v", told)
	}
	// What happens while everything has to be read again is not lost.
	w.tenant.RemoveCredential(app, first)
	made := w.tenant.AddApplication(emulator.AppSpec{Name: "New", Secrets: []string{text}})
	third := made.Application.State().Secrets[0].KeyID
	w.tenant.ForgetDelta()
	want := []string{"+" + third, "-" + first}
	slices.Sort(want)
	if d := cmp.Diff(want, w.keys(d, n)); d != "" {
		t.Errorf("after 410: %s", d)
	}
	// A link is good for a week.
	w.pass(8 * 24 * time.Hour)
	w.tenant.Remove(made.Application)
	fourth := w.tenant.AddSecret(app, "fourth", "yet another secret of a test").KeyID
	if d := cmp.Diff([]string{"+" + fourth}, w.keys(d, n)); d != "" { // what is gone is not in what is read from the beginning
		t.Errorf("after a week: %s", d)
	}
	if len(n.book.troubles) > 0 || !n.book.closed.IsZero() || len(n.book.position) > 2000 {
		t.Errorf("%v, closed up to %v, %d bytes of position", n.book.troubles, n.book.closed, len(n.book.position))
	}
}

// Links to pages that end while they are read lose nothing.
func TestKeysWithLinksThatEnd(t *testing.T) {
	w := newTower(t, emulator.Config{})
	for range 250 {
		w.tenant.AddApplication(emulator.AppSpec{Secrets: []string{text}})
	}
	d, n := w.open(map[string]string{"logs": "keys"}), newNotebook()
	asked := 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if asked++; strings.HasSuffix(a.Path, "/delta") && asked%3 == 0 && asked < 12 {
				return &emulator.Injected{Status: http.StatusBadRequest, Code: "Directory_ExpiredPageToken"}
			}
			return nil
		}
	})
	if told := w.keys(d, n); len(told) > 0 || len(n.memory) < 250 || len(n.book.troubles) > 0 {
		t.Errorf("%v, %d objects are remembered, %v", told, len(n.memory), n.book.troubles)
	}
	added := w.tenant.AddSecret(w.product.Application, "second", "another secret of a test").KeyID
	if d := cmp.Diff([]string{"+" + added}, w.keys(d, n)); d != "" {
		t.Error(d)
	}
}

func TestKeysNeedAMemory(t *testing.T) {
	w := newTower(t, emulator.Config{})
	if _, err := w.round(w.open(map[string]string{"logs": "keys"}), newBook()); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}

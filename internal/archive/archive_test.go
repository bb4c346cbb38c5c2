// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func all([]byte) bool { return true }

func open(t *testing.T, dir string, now *time.Time) *Archive {
	t.Helper()
	a, err := Open(dir, func() time.Time { return *now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func keep(t *testing.T, a *Archive, first, last time.Time, records ...string) {
	t.Helper()
	var list [][]byte
	for _, r := range records {
		list = append(list, []byte(r))
	}
	if err := a.Append(t.Context(), 7, first, last, list); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, a *Archive, at time.Time, match func([]byte) bool) []string {
	t.Helper()
	found, err := a.Find(t.Context(), 7, at, match)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, r := range found {
		texts = append(texts, string(r))
	}
	return texts
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatWasKeptIsFoundAsItWas(t *testing.T) {
	now := noon
	a := open(t, filepath.Join(t.TempDir(), "raw"), &now)
	want(t, find(t, a, noon, all))
	keep(t, a, noon, noon.Add(time.Minute), "one\nwith two lines", "", "\x00\xff two")
	keep(t, a, noon.Add(time.Hour), noon.Add(time.Hour), "three", "three")
	want(t, find(t, a, noon.Add(time.Second), all), "one\nwith two lines", "", "\x00\xff two")
	want(t, find(t, a, noon.Add(time.Hour), all), "three")
	want(t, find(t, a, noon.Add(time.Second), func(r []byte) bool { return bytes.HasSuffix(r, []byte("two")) }), "\x00\xff two")
	want(t, find(t, a, noon.Add(2*time.Hour), all))
}

// A file that was cut anywhere goes on behind its last whole frame.
func TestATornEndIsCutOff(t *testing.T) {
	now := noon
	whole := filepath.Join(t.TempDir(), "raw")
	a := open(t, whole, &now)
	keep(t, a, noon, noon, "one")
	keep(t, a, noon, noon, "two")
	name := fmt.Sprintf("%020d.raw", noon.UnixMicro())
	text, err := os.ReadFile(filepath.Join(whole, "7", name))
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(text) / 2; cut < len(text); cut++ {
		dir := filepath.Join(t.TempDir(), "raw")
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "7"), 0o700), os.WriteFile(filepath.Join(dir, "7", name), text[:cut], 0o600)); err != nil {
			t.Fatal(err)
		}
		b := open(t, dir, &now)
		want(t, find(t, b, noon, all), "one")
		keep(t, b, noon, noon, "three")
		want(t, find(t, b, noon, all), "one", "three")
	}
}

func TestDamageIsTold(t *testing.T) {
	now := noon
	dir := filepath.Join(t.TempDir(), "raw")
	a := open(t, dir, &now)
	keep(t, a, noon, noon, "one")
	now = noon.Add(25 * time.Hour)
	keep(t, a, noon, noon, "two")
	path := filepath.Join(dir, "7", fmt.Sprintf("%020d.raw", noon.UnixMicro()))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range text {
		changed := bytes.Clone(text)
		changed[at] ^= 0x20
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := a.Find(t.Context(), 7, noon, all)
		if !errors.Is(err, tallystick.ErrDamaged) || len(found) != 1 || string(found[0]) != "two" {
			t.Errorf("byte %d changed: %q, %v", at, found, err)
		}
	}
}

// Expiring removes whole files, and only those in which everything is old.
func TestExpire(t *testing.T) {
	now := noon
	a := open(t, t.TempDir(), &now)
	keep(t, a, noon, noon, "old")
	now = noon.Add(25 * time.Hour)
	keep(t, a, noon, noon, "new")
	for _, c := range []struct {
		before time.Time
		want   []string
	}{{noon.Add(23 * time.Hour), []string{"old", "new"}}, {noon.Add(24 * time.Hour), []string{"new"}}, {noon.Add(49 * time.Hour), nil}} {
		if err := a.Expire(t.Context(), 7, c.before); err != nil {
			t.Fatal(err)
		}
		want(t, find(t, a, noon, all), c.want...)
	}
	if sources, err := a.Sources(); err != nil || len(sources) != 1 || sources[0] != 7 {
		t.Error(sources, err)
	}
}

// A stop and a start on the same day go on with the same file.
func TestAStartGoesOn(t *testing.T) {
	now := noon
	dir := t.TempDir()
	for i := range 3 {
		a := open(t, dir, &now)
		keep(t, a, noon, noon, fmt.Sprint(i))
		now = now.Add(time.Hour)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "7"))
	if err != nil || len(entries) != 1 {
		t.Error(entries, err)
	}
	want(t, find(t, open(t, dir, &now), noon, all), "0", "1", "2")
}

func TestADiskThatIsFull(t *testing.T) {
	now := noon
	a := open(t, t.TempDir(), &now)
	keep(t, a, noon, noon, "one")
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := a.stretchOf(7)
	file := s.file
	s.file = full
	if err := a.Append(t.Context(), 7, noon, noon, [][]byte{[]byte("two")}); !errors.Is(err, tallystick.ErrNoSpace) {
		t.Error(err)
	}
	if s.file != nil {
		t.Error("a file of which nobody knows how it ends is still written to")
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	keep(t, a, noon, noon, "three")
	want(t, find(t, a, noon, all), "one", "three")
}

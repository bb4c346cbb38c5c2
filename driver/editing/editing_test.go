// SPDX-License-Identifier: Apache-2.0

package editing_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/editing"
	"github.com/tallystick/tallystick/driver/host"
)

func file(t *testing.T, text string) editing.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return editing.File{Host: host.Local(), Path: path}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Many who edit one file at once, each a line of its own, lose nothing of each other.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const writers, lines = 24, 2_000
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "user%04d:old:\xff odd\r\n", i)
	}
	f := file(t, text.String())
	want := text.String()
	var group sync.WaitGroup
	for i := range writers {
		was, is := fmt.Appendf(nil, "user%04d:old:", 71*i), fmt.Appendf(nil, "user%04d:new:", 71*i)
		want = strings.Replace(want, string(was), string(is), 1)
		group.Go(func() {
			changed, err := f.Edit(t.Context(), func(text []byte) ([]byte, error) { return bytes.Replace(text, was, is, 1), nil })
			if err != nil || !changed {
				t.Errorf("writer %d: changed %v, %v", i, changed, err)
			}
		})
	}
	group.Wait()
	if d := cmp.Diff(want, read(t, f.Path)); d != "" {
		t.Errorf("the file is not what all have written:\n%s", d)
	}
}

// What servers look at, the time in seconds and the size, tells each change, however fast they
// come; mode and link stay, and nothing is left beside the file.
func TestEachChangeShows(t *testing.T) {
	t.Parallel()
	f := file(t, "a")
	link := filepath.Join(filepath.Dir(f.Path), "link")
	if err := os.Symlink("a file", link); err != nil {
		t.Fatal(err)
	}
	f.Path = link
	seen := map[int64]bool{}
	for _, text := range []string{"b", "c", "d"} {
		if _, err := f.Edit(t.Context(), func([]byte) ([]byte, error) { return []byte(text), nil }); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(link)
		if err != nil || info.Mode() != 0o640 || seen[info.ModTime().Unix()] {
			t.Errorf("mode %v, time %v, %v", info.Mode(), info.ModTime(), err)
		}
		seen[info.ModTime().Unix()] = true
	}
	if at, err := os.Readlink(link); err != nil || at != "a file" {
		t.Errorf("the link leads to %q: %v", at, err)
	}
	if names, err := os.ReadDir(filepath.Dir(link)); err != nil || len(names) != 2 {
		t.Errorf("beside the file stand %v, %v", names, err)
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	f := file(t, "a")
	faulty := drivertest.Faulty(f.Host)
	f.Host = faulty
	same := func(text []byte) ([]byte, error) { return text, nil }
	if changed, err := f.Edit(t.Context(), same); err != nil || changed || faulty.Count() > 0 {
		t.Errorf("changed %v, %v, %d writes", changed, err, faulty.Count())
	}
	no := errors.New("no")
	if _, err := f.Edit(t.Context(), func([]byte) ([]byte, error) { return []byte("b"), no }); !errors.Is(err, no) || read(t, f.Path) != "a" {
		t.Errorf("an edit that fails gives %v, and %q", err, read(t, f.Path))
	}
}

// A file that is not there is made like another one.
func TestMade(t *testing.T) {
	t.Parallel()
	f := file(t, "a")
	next := editing.File{Host: f.Host, Path: f.Path + ".next", Like: f.Path}
	if err := next.Read(t.Context(), func(text []byte) {
		if len(text) > 0 {
			t.Errorf("a file that is not there reads as %q", text)
		}
	}); err != nil {
		t.Error(err)
	}
	if _, err := next.Edit(t.Context(), func(text []byte) ([]byte, error) { return append(text, "made"...), nil }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(next.Path); err != nil || info.Mode() != 0o640 || read(t, next.Path) != "made" {
		t.Errorf("it is %v, %v", info, err)
	}
	lone := editing.File{Host: f.Host, Path: f.Path + ".lone"}
	if _, err := lone.Edit(t.Context(), func([]byte) ([]byte, error) { return []byte("x"), nil }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(lone.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("it is %v, %v", info, err)
	}
}

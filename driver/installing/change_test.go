// SPDX-License-Identifier: Apache-2.0

package installing_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
)

// A brittle host fails at one path.
type brittle struct {
	driver.Host
	path  string
	after bool // the write happens before it fails
	left  int  // how many of its writes fail; negative: all
}

var errBrittle = errors.New("brittle")

func (b *brittle) WriteFile(ctx context.Context, path string, content []byte, mode os.FileMode) error {
	if path != b.path || b.left == 0 {
		return b.Host.WriteFile(ctx, path, content, mode)
	}
	b.left--
	if b.after {
		b.Host.WriteFile(ctx, path, content, mode)
	}
	return errBrittle
}

// three files: one that is to be another, one that is as it shall be, and one that is not there.
type three struct{ a, b, c string }

func newThree(t *testing.T) three {
	dir := t.TempDir()
	f := three{filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")}
	f.reset(t)
	return f
}

func (f three) reset(t *testing.T) {
	t.Helper()
	for path, text := range map[string]string{f.a: "old a", f.b: "old b"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(f.c)
	os.Remove(installing.JournalFor(f.a))
}

// state is what is in the files, and in others beside them.
func (f three) state(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(f.a))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(f.a), entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return strings.Join(texts, ", ")
}

func (f three) change(h driver.Host) installing.Change {
	return installing.Change{Host: h, Files: []installing.File{
		{Path: f.a, Content: []byte("new a")}, {Path: f.b, Content: []byte("old b")}, {Path: f.c, Content: []byte("new c"), Mode: 0o600},
	}}
}

func TestChange(t *testing.T) {
	t.Parallel()
	f := newThree(t)
	change := f.change(host.Local())
	if how, err := change.Do(t.Context()); err != nil || strings.Join(how, " ") != "files" || f.state(t) != "new a, old b, new c" {
		t.Fatalf("%q, %v: %s", how, err, f.state(t))
	}
	if differs, err := change.Differs(t.Context()); err != nil || differs {
		t.Errorf("what is there differs (%v)", err)
	}
	if how, err := change.Do(t.Context()); err != nil || len(how) > 0 {
		t.Errorf("what is there is written again: %q (%v)", how, err)
	}
	for _, after := range []bool{false, true} {
		for _, path := range []string{f.a, f.c} {
			f.reset(t)
			if _, err := f.change(&brittle{host.Local(), path, after, 1}).Do(t.Context()); !errors.Is(err, errBrittle) || errors.Is(err, tallystick.ErrDamaged) || f.state(t) != "old a, old b" {
				t.Errorf("%s fails (happened: %v): %v: %s", path, after, err, f.state(t))
			}
		}
	}
	if _, err := f.change(&brittle{host.Local(), f.a, true, -1}).Do(t.Context()); !errors.Is(err, tallystick.ErrDamaged) || !strings.Contains(err.Error(), f.a) {
		t.Errorf("what cannot be put back gives %v, want ErrDamaged", err)
	}
}

// Each step that fails takes back what those before it did, also when the caller has gone.
func TestChangeIsTakenBack(t *testing.T) {
	t.Parallel()
	f := newThree(t)
	no := errors.New("no")
	for what, row := range map[string]struct {
		fails   string // a step
		eager   bool
		did     string
		damaged bool
	}{
		"check":                {"check", false, "check", false},
		"check, asked first":   {"check", true, "check", false},
		"second check":         {"second", true, "check second reload", false},
		"reload":               {"reload", false, "check reload back", false},
		"arrived":              {"arrived", false, "check reload arrived back", false},
		"and cannot come back": {"arrived back", false, "check reload arrived back", true},
	} {
		f.reset(t)
		ctx, cancel := context.WithCancel(t.Context())
		var did []string
		do := func(name string) func(context.Context) error {
			return func(context.Context) error {
				if name == "check" && len(did) > 0 {
					name = "second"
				}
				did = append(did, name)
				if strings.Contains(row.fails, name) {
					cancel()
					return no
				}
				return nil
			}
		}
		change := f.change(host.Local())
		change.Eager, change.Check, change.Reload, change.Arrived = row.eager, do("check"), do("reload"), do("arrived")
		if !row.eager {
			change.Back = do("back")
		}
		if _, err := change.Do(ctx); !errors.Is(err, no) || errors.Is(err, tallystick.ErrDamaged) != row.damaged {
			t.Errorf("%s: %v", what, err)
		}
		if got := strings.Join(did, " "); got != row.did || !row.damaged && f.state(t) != "old a, old b" {
			t.Errorf("%s: it did %q, want %q: %s", what, got, row.did, f.state(t))
		}
		cancel()
	}
}

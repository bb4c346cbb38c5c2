// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// Whoever can lay a file into the data directory can lay a key there.
func TestDataDirectoryIsOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	lock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.close(); err != nil {
		t.Fatal(err)
	}
	refused := func(hint string) {
		t.Helper()
		lock, err := lockData(dir)
		if err == nil {
			_ = lock.close()
		}
		if p := problem.Of(err); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(p.Hint, hint) {
			t.Errorf("got %v with the hint %q, want %q", err, p.Hint, hint)
		}
	}
	for _, mode := range []os.FileMode{0o770, 0o702, 0o1777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		refused("chmod 700 " + dir)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkData(dir); err != nil {
		t.Errorf("others may look: %v", err)
	}
	if err := checkData(filepath.Join(dir, "none")); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	if os.Geteuid() != 0 {
		return // only root can give files away
	}
	const stranger = 54321
	if err := os.WriteFile(filepath.Join(dir, "audit.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "audit.key"), stranger, stranger); err != nil {
		t.Fatal(err)
	}
	refused("find out who made it")
	if err := os.Chown(dir, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	refused("run this as that user")
}

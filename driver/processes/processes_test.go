// SPDX-License-Identifier: Apache-2.0

package processes_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/processes"
)

// A file that is there and has nothing yet is of a server that starts.
func TestMaster(t *testing.T) {
	t.Parallel()
	own := os.Getpid()
	for name, row := range map[string]struct {
		text string
		want error
	}{
		"its own": {strconv.Itoa(own) + "\n", nil}, "a line for each": {strconv.Itoa(own) + "\n1\n", nil},
		"not yet": {"", tallystick.ErrUnavailable}, "a word": {"nginx\n", tallystick.ErrInvalid}, "the first of all": {"1\n", tallystick.ErrInvalid}, "gone": {"4194304\n", tallystick.ErrUnavailable},
	} {
		path := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		pid, err := processes.Master(t.Context(), host.Local(), path)
		if !errors.Is(err, row.want) || row.want == nil && pid != own {
			t.Errorf("%s: %d, %v, want %v", name, pid, err, row.want)
		}
	}
	if _, err := processes.Master(t.Context(), host.Local(), filepath.Join(t.TempDir(), "pid")); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("no file: %v", err)
	}
}

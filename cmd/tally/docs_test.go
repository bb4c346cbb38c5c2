// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// TestDocs holds docs/cli.md to the help texts.
func TestDocs(t *testing.T) {
	const file = "../../docs/cli.md"
	var text bytes.Buffer
	if err := writeDocs(&text, newRoot()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), text.String()); d != "" {
		t.Errorf("docs/cli.md is old; go test ./cmd/tally -run TestDocs -update writes it anew:\n%s", d)
	}
}

// TestHelpNamesExitStatuses walks all commands.
func TestHelpNamesExitStatuses(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !cmd.Hidden && !cmd.HasSubCommands() && !strings.Contains(cmd.Long, "Exit status:") {
			t.Errorf("the help of %q does not name its exit statuses", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if len(line) > 90 && !strings.HasPrefix(line, "  ") {
				t.Errorf("the help of %q has a line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

func newRoot() *cobra.Command {
	p := &program{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: os.Getenv, now: time.Now}
	return p.root()
}

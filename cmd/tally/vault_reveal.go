// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) vaultReveal() *cobra.Command {
	var flags dataFlags
	var out string
	var version int64
	cmd := &cobra.Command{
		Use: "reveal ID", Short: "Give a value to its holder, who runs this",
		Long: `Give a value to its holder, who runs this. The holder of a command is local:USER,
the user of this machine who runs it; others get theirs over the API
(docs/vault.md). The value goes into a new file that nobody else can read, and
nowhere else. The audit log has it before it leaves.

` + vaultStatuses(),
		Example: "  tally vault reveal 3qz6k5x2mhj4w7a0s9d8f1g5h2 --out /run/mailer/smtp-password",
		Args:    exactly(1, "the id of a secret"),
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write the value into this `FILE`, which must not be there yet")
	cmd.Flags().Int64Var(&version, "version", 0, "this `VERSION`, such as the one before (default the newest)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return misuse(errors.New("--out is missing"), "a value is never shown: name a file for it")
		}
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.reveal(ctx, h, args[0], version, out) })
	}
	return cmd
}

// reveal is the command. The file is made before the value leaves, so that none leaves
// for nothing; it is taken away again when there is none.
func (p *program) reveal(ctx context.Context, h *house, id string, version int64, path string) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return misuse(fmt.Errorf("there is a file %s already", path), "name one that is not there")
	}
	if err != nil {
		return fmt.Errorf("couldn't make the file for the value: %w", err)
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			os.Remove(path) // err says what matters
		}
	}()
	value, one, err := h.vault.Reveal(ctx, h.actor, id, version)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(value.Reveal()); err != nil {
		return fmt.Errorf("couldn't write the value: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("couldn't write the value: %w", err)
	}
	p.say("version %d of %s is in %s", one.Number, id, path)
	return nil
}

// inside says whether a path is a directory or in it.
func inside(dir, path string) bool {
	rest, err := filepath.Rel(dir, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

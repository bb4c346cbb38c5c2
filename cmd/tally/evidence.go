// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/usage"
)

func (p *program) evidenceCommand() *cobra.Command {
	cmd := group("evidence", "Prove to others what a recall has done")
	cmd.Long = `Prove to others what a recall has done: one file with what was burnt, what was done
where and by whom, and every answer that was received, sealed in the audit log.
Whoever has the public key of the log can verify it on any machine, without a network.
docs/evidence.md says what is in it.`
	cmd.AddCommand(p.evidenceExport(), p.evidenceVerify(), p.evidenceKey())
	return cmd
}

func (p *program) evidenceExport() *cobra.Command {
	var flags dataFlags
	var path string
	cmd := &cobra.Command{
		Use: "export RECALL", Short: "Write the evidence of a recall to a file",
		Long: `Write the evidence of a recall to a file: of what has happened so far, at any time
and as often as you like. That it was made is on record in the audit log.

` + exitStatuses("0 done", "1 something failed, or there is no such recall or inventory", "2 bad usage"),
		Example: "  tally evidence export sync-2026\n  tally evidence export sync-2026 --out evidence.zip",
		Args:    exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				return p.exportEvidence(ctx, h, args[0], path)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&path, "out", "", "write to this `FILE`, which appears when all is written (default RECALL-evidence.zip)")
	return cmd
}

// exportEvidence writes the file of a recall.
func (p *program) exportEvidence(ctx context.Context, h *house, name, path string) error {
	r, err := h.recallNamed(ctx, name)
	if err != nil {
		return err
	}
	if path == "" {
		path = r.Name + "-evidence.zip"
	}
	out, err := p.create(path)
	if err != nil {
		return err
	}
	defer out.abandon()
	if err := p.evidenceOf(ctx, h, r, out); err != nil {
		return err
	}
	if err := out.done(); err != nil {
		return err
	}
	if path != "-" {
		p.say("evidence of %s written to %s", r.Name, path)
	}
	p.say("to verify it, on any machine: tally evidence verify %s --key %s", path, h.log.VerifierKey())
	return nil
}

// evidenceOf writes the evidence of a recall, with what the ledger says where there is one.
func (p *program) evidenceOf(ctx context.Context, h *house, r tallystick.Recall, out io.Writer) (err error) {
	e := evidence.Exporter{DB: h.db, Gate: h.gate, Log: h.log, Now: p.now}
	book, err := ledger.Open(ledgerDir(h.config.Data), ledger.Options{ReadOnly: true, Now: p.now})
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, book.Close()) }()
		e.Uses = &usage.Usage{DB: h.db, Ledger: book, Gate: h.gate, Now: p.now}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	_, err = e.Export(ctx, h.actor, r.ID, out)
	return err
}

func (p *program) evidenceVerify() *cobra.Command {
	var key string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify FILE --key KEY", Short: "Say whether a file is evidence as it was signed",
		Long: `Say whether a file is evidence as it was signed, in every byte, and what that proves
to whom. It needs the file and the public key of the audit log, and nothing else: no
inventory, no configuration, no network. Have the key from whoever vouches for
the file, by another way than the one by which the file came.

` + exitStatuses("0 no byte differs from what was signed", "1 it is not, or it cannot be read", "2 bad usage, such as a key that is none"),
		Example: "  tally evidence verify sync-2026-evidence.zip --key tallystick/audit/2f6f3b0a9c117f1d+8bd3c4f5+AS...",
		Args:    exactly(1, "a file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return misuse(errors.New("--key is missing"), `whoever made the file sees the key with "tally evidence key"`)
			}
			return p.verifyEvidence(args[0], strings.TrimSpace(key), asJSON)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the public `KEY` of the audit log, or the name of a file that holds it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write what was found as a JSON object")
	return cmd
}

// verifyEvidence is the command.
func (p *program) verifyEvidence(path, key string, asJSON bool) error {
	if text, err := os.ReadFile(key); err == nil && len(text) < 1000 {
		key = strings.TrimSpace(string(text))
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("couldn't read the evidence: %w", err)
	}
	defer file.Close() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("couldn't read the evidence: %w", err)
	}
	report, err := evidence.Verify(file, info.Size(), key)
	switch {
	case errors.Is(err, evidence.ErrBroken):
		return &statusError{err: err, status: problem.ExitFailed,
			hint: "trust nothing in it; ask whoever made it for the file again, and for the key by another way"}
	case errors.Is(err, tallystick.ErrInvalid):
		return misuse(err, `it is one line that begins with "tallystick/audit/"`)
	case err != nil:
		return err
	}
	if asJSON {
		return json.NewEncoder(p.out).Encode(report)
	}
	fmt.Fprintf(p.out, "Good: this is the evidence of the recall %s (%s), as it was signed.\n\n", clean(report.Recall), clean(report.What.String()))
	for _, sentence := range report.Sentences() {
		fmt.Fprintln(p.out, "- "+strings.TrimSpace(wrap(clean(sentence), "  ", textWidth)))
	}
	fmt.Fprintf(p.out, "\nThe recall is %s. Its places and connections: %s.\n", report.State, countedWords(report.Targets))
	return nil
}

// countedWords says how many are in which state: "12 proven, 1 skipped".
func countedWords(counts map[string]int64) string {
	var parts []string
	for _, state := range targetStates() {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// targetStates are all states of a target, the last first.
func targetStates() []string {
	states := []string{tallystick.TargetProven}
	phases := tallystick.Phases()
	for i := range phases {
		states = append(states, string(phases[len(phases)-1-i]))
	}
	return append(states, tallystick.TargetFailed, tallystick.TargetSkipped, tallystick.TargetUndone)
}

func (p *program) evidenceKey() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "key", Short: "Print the public key that evidence is verified with",
		Long: `Print the public key that evidence, and checkpoints of the audit log, are verified
with. Give it to others by another way than files: print it in a contract, read it out.

` + exitStatuses("0 done", "1 something failed, or there is no inventory", "2 bad usage"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(_ context.Context, h *house) error {
				_, err := fmt.Fprintln(p.out, h.log.VerifierKey())
				return err
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

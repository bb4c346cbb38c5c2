// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
)

func (p *program) findingCommand() *cobra.Command {
	cmd := group("finding", "Accept, reopen and assign findings")
	cmd.AddCommand(p.findingAccept(), p.findingReopen(), p.findingAssign())
	return cmd
}

func (p *program) findingAccept() *cobra.Command {
	var reason, until string
	cmd := p.findingAct("accept ID", "Let a finding stand until a day", "",
		func(ctx context.Context, h *house, id int64) error {
			end, err := dayFlag("until", until)
			if err != nil {
				return err
			}
			if end.IsZero() {
				return usage(errors.New("--until is missing"), "say until when, a year at most: --until 2027-03-31")
			}
			// The day that was given is the last one.
			return h.findings.Accept(ctx, h.actor, id, reason, end.AddDate(0, 0, 1))
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why it may stand")
	cmd.Flags().StringVar(&until, "until", "", "the last `DAY` on which it may, a year from now at most")
	cmd.Example = "  tally finding accept 4711 --reason 'replaced in the next release' --until 2027-03-31"
	return cmd
}

func (p *program) findingReopen() *cobra.Command {
	return p.findingAct("reopen ID", "Take an acceptance back", "",
		func(ctx context.Context, h *house, id int64) error { return h.findings.Reopen(ctx, h.actor, id) })
}

func (p *program) findingAssign() *cobra.Command {
	var to string
	cmd := p.findingAct("assign ID", "Say who is to see to a finding", "Without --to it is nobody.\n\n",
		func(ctx context.Context, h *house, id int64) error { return h.findings.Assign(ctx, h.actor, id, to) })
	cmd.Flags().StringVar(&to, "to", "", "the `PERSON`")
	return cmd
}

// findingAct returns a command that does something to one finding.
func (p *program) findingAct(use, short, more string, act func(context.Context, *house, int64) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ". \"tally list findings\" lists them.\n\n" + more + listStatuses(),
		Args: exactly(1, "the number of a finding"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := numberOf(args[0], "finding", "tally list findings")
			if err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return act(ctx, h, id) })
		},
	}
	flags.addTo(cmd)
	return cmd
}

// numberOf reads the number of something that a command lists.
func numberOf(text, of, list string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usage(fmt.Errorf("%q is not the number of a %s", text, of), fmt.Sprintf("run %q to see them", list))
	}
	return id, nil
}

func (p *program) annotateCommand() *cobra.Command {
	var flags dataFlags
	var said tallystick.Annotation
	cmd := &cobra.Command{
		Use: "annotate FINGERPRINT...", Short: "Say who owns a credential, where it belongs, and more",
		Long: `Say who owns credentials, where they belong, and more. What no flag names stays as
it was; an empty value takes it away. What is said by hand goes before the rules
of the configuration, and what was said before is kept in the history. The
beginning of a fingerprint does, if it is unique.

` + listStatuses(),
		Example: "  tally annotate 3fa4b2c1d0e9 --owner mail-team --environment production --tag edge",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(errors.New("a fingerprint is missing"), `run "tally list credentials" to see them`)
			}
			return nil
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&said.Owner, "owner", "", "who is responsible")
	cmd.Flags().StringVar(&said.Environment, "environment", "", "production, staging ...")
	cmd.Flags().StringSliceVar(&said.Tags, "tag", nil, "words to find it by, in place of those it has")
	cmd.Flags().StringVar(&said.Notes, "notes", "", "anything else")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change := changeOf(cmd, &said)
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return annotate(ctx, h, args, change) })
	}
	return cmd
}

// changeOf returns the parts of an annotation that the flags of a command name.
func changeOf(cmd *cobra.Command, said *tallystick.Annotation) inventory.Change {
	var change inventory.Change
	for flag, part := range map[string]func(){
		"owner":       func() { change.Owner = &said.Owner },
		"environment": func() { change.Environment = &said.Environment },
		"tag":         func() { change.Tags = &said.Tags },
		"notes":       func() { change.Notes = &said.Notes },
	} {
		if cmd.Flags().Changed(flag) {
			part()
		}
	}
	return change
}

func annotate(ctx context.Context, h *house, names []string, change inventory.Change) error {
	for _, name := range names {
		d, err := h.inventory.Credential(ctx, h.actor, name)
		if err != nil {
			return err
		}
		if _, err := h.inventory.Amend(ctx, h.actor, []tallystick.Fingerprint{d.Credential.ID}, change); err != nil {
			return err
		}
	}
	return nil
}

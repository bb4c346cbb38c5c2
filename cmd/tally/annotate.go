// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
)

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
				return misuse(errors.New("a fingerprint is missing"), `run "tally list credentials" to see them`)
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
		change, any := changeOf(cmd, &said)
		if !any {
			return misuse(errors.New("there is nothing to say"), "name at least one of --owner, --environment, --tag, --notes")
		}
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.annotate(ctx, h, args, change) })
	}
	return cmd
}

// changeOf returns the parts of an annotation that the flags of a command name,
// and whether there are any.
func changeOf(cmd *cobra.Command, said *tallystick.Annotation) (inventory.Change, bool) {
	var change inventory.Change
	named := false
	for flag, part := range map[string]func(){
		"owner":       func() { change.Owner = &said.Owner },
		"environment": func() { change.Environment = &said.Environment },
		"tag":         func() { change.Tags = &said.Tags },
		"notes":       func() { change.Notes = &said.Notes },
	} {
		if cmd.Flags().Changed(flag) {
			part()
			named = true
		}
	}
	return change, named
}

func (p *program) annotate(ctx context.Context, h *house, names []string, change inventory.Change) error {
	for _, named := range names {
		d, err := h.inventory.Credential(ctx, h.actor, named)
		if err != nil {
			return err
		}
		said, err := h.inventory.Amend(ctx, h.actor, []tallystick.Fingerprint{d.Credential.ID}, change)
		if err != nil {
			return err
		}
		p.say("%s %s: %s", d.Credential.ID.Short(), name(d.Credential), annotationWords(said[0]))
	}
	return nil
}

// annotationWords says what is on record about a credential.
func annotationWords(a tallystick.Annotation) string {
	owner := a.Owner
	if owner == "" {
		owner = "nobody"
	}
	parts := []string{"owner " + owner}
	if a.Environment != "" {
		parts = append(parts, "environment "+a.Environment)
	}
	if len(a.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(a.Tags, " "))
	}
	if a.Notes != "" {
		parts = append(parts, "notes "+clip(a.Notes, maxCell))
	}
	return strings.Join(parts, ", ")
}

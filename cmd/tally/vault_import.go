// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/vault"
)

func (p *program) vaultImport() *cobra.Command {
	var flags entrustFlags
	var only []string
	var check bool
	cmd := &cobra.Command{
		Use: "import FORMAT PATH", Short: "Take values in from where they are kept now",
		Long: `Take values in from where they are kept now, and say what is to be taken out of
there. The formats are:

  csv         a file whose first line names the columns: customer, system, account, kind,
              opens, holder, max_age, and value or value_base64
  env         a file of NAME=VALUE, as systemd and shells read it
  kubernetes  manifests of Secrets, in YAML or JSON
  systemd     a directory of credentials, a file each, such as /etc/credstore
  kv          what "bao kv get -format=json PATH" or "vault kv get" prints

What the source does not say is given by flags. An entry that the vault has already
is left as it is. When the old place is cleaned, --check looks whether it is: it
lists what is left, and changes nothing.

` + exitStatuses("0 done; with --check: the old place is clean", "1 something failed", "2 bad usage, or a file that cannot be read", "3 with --check: something is left"),
		Example: `  tally vault import env /etc/mail-sync.env --only SMTP_PASSWORD --customer acme --system smtp.acme.example --holder token:7
  tally vault import csv customers.csv --kind password --max-age 90d
  kubectl get secrets -A -o json > secrets.json && tally vault import kubernetes secrets.json --customer acme --system cluster-1
  tally vault import env /etc/mail-sync.env --customer acme --system smtp.acme.example --check`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return misuse(errors.New("a format and a path are needed"), "the format is one of "+strings.Join(vault.Formats(), ", "))
			}
			return nil
		},
	}
	flags.addNames(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "only entries with these `NAMES`: of a variable, a key, a file")
	cmd.Flags().BoolVar(&check, "check", false, "list what is left in the old place, and change nothing")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "write one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.readAge(); err != nil {
			return err
		}
		path, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		source := vault.Source{Format: args[0], Path: path, Only: only, Like: flags.one}
		if check {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.checkClean(ctx, h, source, flags.asJSON) })
		}
		return p.founded(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.importSecrets(ctx, h, source, flags.asJSON) })
	}
	return cmd
}

// importSecrets is the command.
func (p *program) importSecrets(ctx context.Context, h *house, s vault.Source, asJSON bool) error {
	old, err := h.vault.Import(ctx, h.actor, s)
	if err != nil {
		return err
	}
	fresh, holders := 0, map[string]bool{}
	for _, one := range old {
		if !one.Kept {
			fresh++
			holders[one.Holder] = true
		}
	}
	if err := p.showOld(old, asJSON); err != nil {
		return err
	}
	for _, holder := range slices.Sorted(maps.Keys(holders)) {
		p.doubtHolder(ctx, h, holder)
	}
	p.say("%s taken in, %d kept already", plural(fresh, "value"), len(old)-fresh)
	p.say("hint: the values are still where they were: take out what is listed, and run this again with --check")
	return nil
}

func (p *program) checkClean(ctx context.Context, h *house, s vault.Source, asJSON bool) error {
	left, err := h.vault.Left(ctx, h.actor, s)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		p.say("%s is clean: what the vault keeps for what you named is not there", s.Path)
		return nil
	}
	if err := p.showOld(left, asJSON); err != nil {
		return err
	}
	return &statusError{err: fmt.Errorf("%s still has %s of the vault", s.Path, plural(len(left), "secret")), status: 3, hint: "take them out there; who reads them from there gets them from the vault"}
}

func (p *program) showOld(old []vault.Old, asJSON bool) error {
	return showAll(p, asJSON, old, []string{"CUSTOMER", "SYSTEM", "ACCOUNT", "KIND", "STATE", "WHERE"}, func(o vault.Old) []string {
		state := "taken in"
		if o.Kept {
			state = "kept already"
		}
		return []string{o.Customer, o.System, o.Account, o.Kind, state, o.Where}
	})
}

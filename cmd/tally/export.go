// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) exportCommand() *cobra.Command {
	var flags dataFlags
	var format, path string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the credentials of the inventory to a file",
		Long: `Write the credentials of the inventory, or those that the flags pick, to a file:

  csv        RFC 4180, for spreadsheets; a cell that would be a formula begins with '
  json       one JSON object a line (NDJSON), with the members of the API
  cyclonedx  a cryptographic bill of materials (CBOM), CycloneDX 1.6 in JSON

Each export is on record in the audit log.

` + exitStatuses("0 done", "1 something failed, or there is no inventory", "2 bad usage"),
		Example: `  tally export --format csv --out credentials.csv
  tally export --format cyclonedx --environment production --out cbom.json`,
		Args: noArguments,
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&format, "format", "", "csv, json or cyclonedx")
	cmd.Flags().StringVar(&path, "out", "", "write to this `FILE`, which appears when all is written")
	addParameters(cmd, credentialParameters[:])
	completeFlag(cmd, "format", func() []string { return []string{"csv", "json", "cyclonedx"} })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format == "" {
			return misuse(errors.New("--format is missing"), "it is one of csv, json, cyclonedx")
		}
		as, err := export.ParseFormat(format)
		if err != nil {
			return problem.With(err, "for example --format csv")
		}
		filter, err := inventory.ParseCredentialFilter(queryOf(cmd, credentialParameters[:]), ruleNames())
		if err != nil {
			return err
		}
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			e := export.Exporter{DB: h.db, Gate: h.gate, Now: p.now}
			source, err := e.Open(ctx, h.actor, filter)
			if err != nil {
				return err
			}
			out, err := p.create(path)
			if err != nil {
				return err
			}
			defer out.abandon()
			if err := source.Write(ctx, out, as); err != nil {
				return err
			}
			if err := out.done(); err != nil || path == "" || path == "-" {
				return err
			}
			_, total, err := h.inventory.Credentials(ctx, h.actor, filter, store.PageRequest{Limit: 1})
			p.say("%s written to %s", plural(int(total), "credential")+orMore(total), path)
			return err
		})
	}
	return cmd
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/query"
)

func (p *program) auditCommand() *cobra.Command {
	cmd := group("audit", "Read and verify the log of what was done, allowed or denied")
	cmd.AddCommand(p.auditList(), p.auditVerify())
	return cmd
}

// auditFlags pick records.
type auditFlags struct {
	dataFlags
	actor, action, since, until string
	denied, json                bool
	limit                       int
}

func (p *program) auditList() *cobra.Command {
	var flags auditFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List who did what, the newest first",
		Long:    "List who did what, the newest first.\n\n" + listStatuses(),
		Example: "  tally audit list --denied\n  tally audit list --actor maria --since 2026-11-01 --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter()
			if err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				entries, err := h.records().List(ctx, h.actor, filter, 0, flags.limit)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, entries, []string{"RECORD", "TIME", "WHO", "ROLE", "VIA", "ACTION", "OUTCOME", "OBJECT"}, auditCells)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.actor, "actor", "", "only what `NAME` did")
	cmd.Flags().StringVar(&flags.action, "action", "", "only this `ACTION`: export, read-credential, sign-in ...")
	cmd.Flags().BoolVar(&flags.denied, "denied", false, "only what was not allowed")
	cmd.Flags().StringVar(&flags.since, "since", "", "from this `DAY` on")
	cmd.Flags().StringVar(&flags.until, "until", "", "before this `DAY`")
	cmd.Flags().IntVar(&flags.limit, "limit", 100, "list this many at most, up to 1000")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func (f auditFlags) filter() (audit.Filter, error) {
	filter := audit.Filter{Actor: f.actor, Action: f.action, Denied: f.denied}
	if f.limit < 1 || f.limit > 1000 {
		return filter, misuse(fmt.Errorf("--limit %d is not between 1 and 1000", f.limit), "")
	}
	var err error
	if filter.Since, err = dayFlag("since", f.since); err != nil {
		return filter, err
	}
	filter.Until, err = dayFlag("until", f.until)
	return filter, err
}

func (h *house) records() gate.Records { return gate.Records{Gate: h.gate, Log: h.log} }

// dayFlag reads a day in UTC, or an RFC 3339 time; "" is none.
func dayFlag(flag, text string) (time.Time, error) {
	t, err := query.ParseTime(text)
	if err != nil {
		err = misuse(fmt.Errorf("--%s %q is not a day", flag, text), "write it as 2027-01-31")
	}
	return t, err
}

func auditCells(e audit.Entry) []string {
	outcome := "allowed"
	if !e.Allowed {
		outcome = "denied"
	}
	return []string{
		fmt.Sprint(e.ID), e.Time.UTC().Format("2006-01-02 15:04:05"), e.Actor, e.Role, e.Via, e.Action, outcome, words(e.Object, e.Detail),
	}
}

func (p *program) auditVerify() *cobra.Command {
	var flags dataFlags
	var kept []string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no record was changed, added or taken away",
		Long: `Check that no record was changed, added or taken away: the whole log is hashed
anew and compared with its signed checkpoint, and with checkpoints that you have
kept elsewhere. It prints the newest checkpoint; keep it where nobody who can
write here can.

` + exitStatuses("0 every record is what was signed", "1 something failed, or the log is not what was signed", "2 bad usage, or a checkpoint cannot be read"),
		Example: "  tally audit verify > checkpoint.txt\n  tally audit verify --kept checkpoint.txt",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.verify(ctx, h, kept) })
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringArrayVar(&kept, "kept", nil, "a `FILE` with a checkpoint that was kept; may be given again")
	return cmd
}

// verify is the command.
func (p *program) verify(ctx context.Context, h *house, kept []string) error {
	var checkpoints []string
	for _, path := range kept {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("couldn't read the checkpoint: %w", err)
		}
		checkpoints = append(checkpoints, string(text))
	}
	report, err := h.records().Verify(ctx, h.actor, checkpoints...)
	if err != nil {
		return err
	}
	if !report.OK() {
		return problem.With(fmt.Errorf("%w: %s", audit.ErrTampered, report.Problem),
			"keep a copy of the data as evidence, and find out who could write to it")
	}
	fmt.Fprintf(p.err, "%s, each as it was signed\n", plural(int(report.Records), "record"))
	_, err = fmt.Fprint(p.out, report.Checkpoint)
	return err
}

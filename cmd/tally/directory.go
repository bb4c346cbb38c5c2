// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) directoryCommand() *cobra.Command {
	cmd := group("directory", "See who changed who gets in, and say which changes are expected")
	cmd.Long = `See who changed who gets in, and say which changes are expected: credentials that
were added to applications and accounts, trusts, permissions, keys that were read.
They are read from the audit logs of directories, tenants and hosts that "tally up"
follows, and from directories themselves. What a directory told can be taken back.`
	cmd.AddCommand(p.directoryChanges(), p.directoryExpect(), p.directoryExpected(), p.directoryUndo())
	return cmd
}

// changeParameters are those that directory.ParseFilter reads.
var changeParameters = [...]parameter{
	{"target", "of this `TARGET`, as the list shows it; one that ends with a colon is all that begin so: entra-app:"},
	{"kind", "of this `KIND`: " + strings.Join(directory.KindWords(), ", ")},
	{"actor", "by this `ACTOR`, as the list shows it; \"account:\" may be left out"},
	{"unexpected", ""},
	{"from", "at this `TIME` or later: a day, or 2026-11-22T10:00:00Z"},
	{"to", "before this `TIME`"},
}

func (p *program) directoryChanges() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "changes", Short: "List changes of who gets in, the newest first",
		Long: `List changes of who gets in, the newest first. STATE says "expected" when somebody
expected it, "failed" when it was only tried, and "used" when the target was
used within half an hour after it; "taken back" is added once the directory has told
that "tally directory undo" took it back.

` + listStatuses(),
		Example: `  tally directory changes --unexpected --from 2026-11-20
  tally directory changes --target entra-app: --kind credential-added
  tally directory changes --json --limit 0`,
		Args: noArguments,
	}
	flags.addTo(cmd, "")
	addParameters(cmd, changeParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := directory.ParseFilter(queryOf(cmd, changeParameters[:]))
		if err != nil {
			return err
		}
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[store.AccessChange], int64, error) {
				return h.directory.Changes(ctx, h.actor, filter, r)
			}, accessHeads[:], accessCells)
		})
	}
	return cmd
}

// The target is last, where it is not cut: it is what "tally directory expect" takes.
var accessHeads = [...]string{"ID", "TIME", "KIND", "STATE", "ACTOR", "WHAT", "TARGET"}

func accessCells(c store.AccessChange) []string {
	var states []string
	switch {
	case c.Failed:
		states = append(states, "failed")
	case c.Expected != "":
		states = append(states, "expected")
	case !c.UsedAt.IsZero():
		states = append(states, "used")
	}
	if c.TakenBackBy != 0 {
		states = append(states, "taken back")
	}
	what := append(append([]string{}, c.Credential...), c.Grants...)
	return []string{
		strconv.FormatInt(c.ID, 10), instant(c.Time), string(c.Kind), strings.Join(states, ", "), c.Actor, cmp.Or(strings.Join(what, ", "), c.Detail, c.Operation), c.Target,
	}
}

func (p *program) directoryExpect() *cobra.Command {
	var flags dataFlags
	var e store.AccessExpectation
	var kind, until string
	cmd := &cobra.Command{
		Use: "expect TARGET", Short: "Say that a change is expected, so that it alarms nobody",
		Long: `Say that a change is expected, so that it alarms nobody. The TARGET is written as
"tally directory changes" shows it; with a tenant it also covers records that name
none. From now until the time that is given, or to the end of the day in UTC, what
happens to it is listed as expected and gives no finding. What has happened already
is not excused: that is what "tally finding accept" is for. The audit log has who
said so.

` + listStatuses(),
		Example: `  tally directory expect entra-app:3f0a7c52-9c1e-4b7a-8a51-0c6d5d2f7b11/11b49e19-2326-4be6-93cb-7f37439bbd81 \
      --kind credential-added --until 2026-11-23T18:00:00Z --reason 'yearly renewal, ticket 4711'
  tally directory expect adfs:fs1.lab.example/configuration --actor account:ad/lab/adfs-service \
      --until 2027-11-01 --reason 'the service reads its own keys'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse(fmt.Errorf("one target is needed, not %d", len(args)), `run "tally directory changes" to see them`)
			}
			return nil
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&kind, "kind", "", "only changes of this `KIND`: "+strings.Join(directory.KindWords(), ", "))
	cmd.Flags().StringVar(&e.Actor, "actor", "", "only changes by this `ACTOR`, as the list shows it; \"account:\" may be left out")
	cmd.Flags().StringVar(&until, "until", "", "the `TIME` when it ends: 2026-11-22T18:00:00Z, or a day, to its end in UTC")
	cmd.Flags().StringVar(&e.Reason, "reason", "", "the `REASON`: what it is for")
	completeFlag(cmd, "kind", directory.KindWords)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if until == "" || e.Reason == "" {
			return misuse(errors.New("--until and --reason are needed"), "say what it is for, and when it is over: the sooner, the less can hide in it")
		}
		if e.Until, err = query.ParseEnd(until); err != nil {
			return misuse(fmt.Errorf("--until %q is not a time", until), "write it as 2026-11-22T18:00:00Z, or a day")
		}
		e.Target, e.Kind = args[0], tallystick.ChangeKind(kind)
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			kept, err := h.directory.Expect(ctx, h.actor, e)
			if err != nil {
				return err
			}
			p.say("%s is expected to change until %s", kept.Target, kept.Until.UTC().Format(time.RFC3339))
			return nil
		})
	}
	return cmd
}

func (p *program) directoryExpected() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "expected", Short: "List the changes that are expected",
		Long:    "List the changes that are expected and whose time is not over, the soonest to end first.\n\n" + listStatuses(),
		Example: "  tally directory expected",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				list, err := h.directory.Expected(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, asJSON, list, []string{"TARGET", "KIND", "ACTOR", "UNTIL", "BY", "REASON"}, func(e store.AccessExpectation) []string {
					return []string{e.Target, cmp.Or(string(e.Kind), "any"), e.Actor, instant(e.Until), e.By, e.Reason}
				})
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

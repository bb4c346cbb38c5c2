// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/usage"
)

func (p *program) ledgerEnd() *cobra.Command {
	var flags dataFlags
	var side, reason string
	var reopen bool
	cmd := &cobra.Command{
		Use: "end BOOK", Short: "Say that nobody writes a book any more",
		Long: `Say that nobody writes a book any more, because its program was taken out of
service, say. A use is called foreign when the books that could explain it are
closed past its time; a book that nobody closes holds that up for good. What is in
the book stays. "tally up" takes it up within 10 seconds; --reopen takes it back.

` + ledgerStatuses(),
		Example: `  tally ledger end old-broker --reason 'replaced by broker-eu-1 in May'
  tally ledger end old-broker --reopen`,
		Args: exactly(1, "the name of a book"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideLedger(cmd.Context(), flags, func(ctx context.Context, h *house, u *usage.Usage) error {
				return p.endBook(ctx, h, u.Ledger, args[0], tallystick.Side(side), reason, reopen)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&side, "side", string(tallystick.SideHolder), "the `SIDE` whose book it is: holder or relying")
	cmd.Flags().StringVar(&reason, "reason", "", "the `REASON`, for whoever asks later")
	cmd.Flags().BoolVar(&reopen, "reopen", false, "take it back")
	completeFlag(cmd, "side", func() []string { return []string{string(tallystick.SideHolder), string(tallystick.SideRelying)} })
	return cmd
}

func (p *program) endBook(ctx context.Context, h *house, book *ledger.Ledger, name string, side tallystick.Side, reason string, reopen bool) error {
	if reopen {
		err := p.sources(h).ReopenBook(ctx, h.actor, name, side)
		if errors.Is(err, tallystick.ErrNotFound) {
			return problem.With(err, `"tally ledger books" says which have ended`)
		}
		if err == nil {
			p.say("the %s's book %s is open again", side, name)
		}
		return err
	}
	known := false
	for _, b := range book.Books() {
		known = known || b.Source == name && b.Side == side
	}
	if !known {
		return problem.With(fmt.Errorf("there is no %s's book %s: %w", side, name, tallystick.ErrNotFound), `"tally ledger books" lists them; --side relying is for those of relying parties`)
	}
	if err := p.sources(h).EndBook(ctx, h.actor, name, side, reason); err != nil {
		return err
	}
	p.say("the %s's book %s has ended: nothing waits for it", side, name)
	return nil
}

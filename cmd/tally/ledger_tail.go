// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/usage"
)

// tailFlags pick what is followed.
type tailFlags struct {
	dataFlags
	verdict string
	json    bool
}

func (p *program) ledgerTail() *cobra.Command {
	var flags tailFlags
	cmd := &cobra.Command{
		Use: "tail", Short: "Follow uses that do not match, as they are found",
		Long: `Follow uses that do not match, as they are found, until Ctrl-C. "tally up" finds
them when the books that could explain them are closed. What comes is as in
"tally ledger uses".

` + exitStatuses("0 stopped as asked", "1 something failed, or there is no ledger", "2 bad usage"),
		Example: "  tally ledger tail --verdict foreign\n  tally ledger tail --json | alert",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := query.OneOf("verdict", flags.verdict, tailed()...); err != nil {
				return err
			}
			return p.insideLedger(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, u *usage.Usage) error {
				return p.tail(ctx, h, u, flags)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.verdict, "verdict", "", "only this `VERDICT`: foreign, unconfirmed, attempt")
	completeFlag(cmd, "verdict", tailed)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

// tailed are the verdicts that are written down.
func tailed() []string {
	return []string{string(tallystick.VerdictForeign), string(tallystick.VerdictUnconfirmed), string(tallystick.VerdictAttempt)}
}

const (
	tailEvery = time.Second / 2
	tailPage  = 500
)

// tail is the command.
func (p *program) tail(ctx context.Context, h *house, u *usage.Usage, flags tailFlags) error {
	_, at, err := u.New(ctx, h.actor, -1, 0)
	if err != nil {
		return err
	}
	p.say("waiting for what is found from now on; Ctrl-C ends it")
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		list, next, err := u.New(ctx, h.actor, at, tailPage)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		at = next
		for _, r := range list {
			if flags.verdict != "" && string(r.Verdict) != flags.verdict {
				continue
			}
			if err := p.writeUse(useLine{r}, flags.json); err != nil {
				return err
			}
		}
		if len(list) == tailPage {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// writeUse writes a line that others may be waiting for.
func (p *program) writeUse(l useLine, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(l)
	}
	cells := useCells(l)
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	_, err := fmt.Fprintln(p.out, words(cells...))
	return err
}

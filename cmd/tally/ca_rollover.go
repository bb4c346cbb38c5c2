// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
)

func (p *program) caRollover() *cobra.Command {
	cmd := group("rollover", "Replace a CA by one with a new key, in the order that breaks nobody")
	cmd.Long = `Replace a CA by one with a new key, in the order that breaks nobody:

  1. prepare   makes the new CA. Have everybody trust it beside the old one; of a
               root the two sign each other, for those who trust only one of them.
  2. activate  the new one signs from now on; names that led to the old lead to it.
               "tally ca recall --ca OLD" has its certificates renewed soon.
  3. distrust  when nothing is left that the old one signed. Until then it is refused.

After a root, do the same with each CA below it: their next generation is put below
the new root.

When its key is in other hands, begin with "tally ca compromise".`
	var key string
	var force bool
	prepare := p.caStep("prepare NAME", "Make the next generation of a CA", func(ctx context.Context, h *house, c *ca.CA, name string) error {
		next, err := c.Prepare(ctx, h.actor, name, custody.KeyType(key))
		if err != nil {
			return err
		}
		p.say("the CA %s is %s", next.Name, next.State)
		p.say(`hint: have others trust what "tally ca show %s" prints, then: tally ca rollover activate %s`, next.Name, name)
		return nil
	})
	prepare.Flags().StringVar(&key, "key", "", "the `SORT` of its key (default that of the old one)")
	completeFlag(prepare, "key", custody.KeyWords)
	activate := p.caStep("activate NAME", "Let the next generation sign", func(ctx context.Context, h *house, c *ca.CA, name string) error {
		next, err := c.Activate(ctx, h.actor, name)
		if err != nil {
			return err
		}
		p.say("%s signs in place of %s", next.Name, name)
		p.say("hint: have what %s signed renewed soon: tally ca recall --ca %s", name, name)
		all, err := c.Authorities(ctx)
		for _, below := range all {
			if below.Parent == name && below.Signs() {
				p.say("hint: %s stands below %s; put the next one below %s: tally ca rollover prepare %s", below.Name, name, next.Name, below.Name)
			}
		}
		return err
	})
	distrust := p.caStep("distrust NAME", "End a CA", func(ctx context.Context, h *house, c *ca.CA, name string) error {
		a, err := c.Distrust(ctx, h.actor, name, force)
		if err == nil {
			p.say("the CA %s is %s: take it out of every trust store", a.Name, a.State)
		}
		return err
	})
	distrust.Flags().BoolVar(&force, "force", false, "although certificates that it signed are in use")
	cmd.AddCommand(prepare, activate, distrust)
	return cmd
}

// caStep is a command that does something to one CA.
func (p *program) caStep(use, short string, act func(context.Context, *house, *ca.CA, string) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ".\n\n" + caStatuses(), Args: exactly(1, "the name of a CA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, h *house, c *ca.CA) error { return act(ctx, h, c, args[0]) })
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) caCompromise() *cobra.Command {
	var url, since string
	var yes bool
	cmd := p.caStep("compromise NAME", "Say that the key of a CA is in other hands", func(ctx context.Context, h *house, c *ca.CA, name string) error {
		if !yes {
			return misuse(fmt.Errorf("this ends %s for good", name), "add --yes: it signs nothing more, its key is blocked, and the clients of all that it signed are told to renew now")
		}
		var from time.Time
		if since != "" {
			var err error
			if from, err = dayFlag("since", since); err != nil {
				return err
			}
		}
		n, err := c.Compromise(ctx, h.actor, name, url, from)
		if err != nil {
			return err
		}
		p.say("the CA %s is compromised: %s to be replaced", name, plural(int(n), "certificate"))
		p.say("hint: tally ca rollover prepare %s", name)
		return p.published(ctx, h)
	})
	cmd.Flags().StringVar(&url, "url", "", "where people read why")
	cmd.Flags().StringVar(&since, "since", "", "since which `DAY`")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (p *program) caCrossSign() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "cross-sign NAME BY", Short: "Have one CA certify another, for those who trust only the first",
		Long: "Have the CA BY certify the key of the CA NAME, for those who trust only BY.\nACME offers the chain as an alternate.\n\n" + caStatuses(), Args: exactly(2, "the names of two CAs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, h *house, c *ca.CA) error {
				if err := c.CrossSign(ctx, h.actor, args[0], args[1]); err != nil {
					return err
				}
				p.say("%s is certified by %s", args[0], args[1])
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) caCRL() *cobra.Command {
	var out string
	cmd := p.caStep("crl NAME", "Write the list of a CA's revoked certificates", func(ctx context.Context, h *house, c *ca.CA, name string) error {
		list, err := p.listOf(ctx, h, c, name)
		if err != nil {
			return err
		}
		if out == "" || out == "-" {
			_, err = p.out.Write(list)
			return err
		}
		return writeNew(out, list, os.FileMode(0o644))
	})
	cmd.Flags().StringVar(&out, "out", "", "write it to this `FILE`, which is replaced in one step")
	return cmd
}

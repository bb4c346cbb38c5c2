// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// questionParameters are those that vault.ParseQuestion reads.
var questionParameters = [...]parameter{
	{"host", "from this `HOST`, while it had a wrapping key; \"tally vault hosts\" lists them"},
	{"key", "with this wrapping `KEY`; \"tally vault lineage\" lists them"},
	{"from", "at this `TIME` or later: a day, or 2026-11-22T10:00:00Z"},
	{"to", "before this `TIME`"},
}

// question reads the flags of a question.
func question(cmd *cobra.Command) (vault.Question, error) {
	q, err := vault.ParseQuestion(queryOf(cmd, questionParameters[:]))
	if err == nil && q.Host == "" && q.Key == "" {
		err = misuse(errors.New("--host or --key is needed"), `run "tally vault hosts" or "tally vault lineage" to see them`)
	}
	return q, err
}

func (p *program) vaultReadable() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "readable", Short: "List what could be read from a host, or with a wrapping key",
		Long: `List what could be read from a host between two times, or with a wrapping key: each
version of each secret, and from when to when. READ UNTIL is empty where it still
can be. STATE says "replaced" where a newer version was entrusted since; what is
left has to be replaced, and "tally vault rotate" with the same flags says so of all
of it.

` + listStatuses(),
		Example: `  tally vault readable --host node-3 --from 2026-11-20 --to 2026-11-23T08:00:00Z
  tally vault readable --key file:3fa4b2c1d0e94711a9ba00c1e2d3f4a5 --json --limit 0`,
		Args: noArguments,
	}
	flags.addTo(cmd, "")
	addParameters(cmd, questionParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := question(cmd)
		if err != nil {
			return err
		}
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[store.Exposure], int64, error) {
				return h.vault.Readable(ctx, h.actor, q, r)
			}, []string{"ID", "CUSTOMER", "SYSTEM", "ACCOUNT", "KIND", "VERSION", "READ FROM", "READ UNTIL", "STATE"}, exposureCells)
		})
	}
	return cmd
}

func exposureCells(x store.Exposure) []string {
	state := "replaced"
	switch {
	case x.Current && x.Due:
		state = "replace it"
	case x.Current:
		state = "in use"
	}
	return []string{x.ID, x.Customer, x.System, x.Account, x.Kind, strconv.FormatInt(x.Version, 10), instant(x.Since), instant(x.Until), state}
}

func (p *program) vaultRotate() *cobra.Command {
	var flags dataFlags
	var reason string
	cmd := &cobra.Command{
		Use: "rotate [ID...]", Short: "Say that secrets are to be replaced now",
		Long: `Say that secrets are to be replaced now: those that are named, or all that could be
read from a host or with a wrapping key and that nothing has replaced since. They
are listed by "tally vault list --due" until a new value of each is entrusted.
Nothing is changed at the systems that they open: "tally recall open entrusted:due"
sets new values where a door can, and proves that the old ones are refused.

` + vaultStatuses(),
		Example: `  tally vault rotate 3qz6k5x2mhj4w7a0s9d8f1g5h2 --reason 'a colleague has left'
  tally vault rotate --host node-3 --from 2026-11-20 --reason 'node-3 was entered'`,
	}
	flags.addTo(cmd)
	addParameters(cmd, questionParameters[:])
	cmd.Flags().StringVar(&reason, "reason", "", "the `REASON`, which the list shows")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return misuse(errors.New("--reason is missing"), "say why: it is on record, and the list shows it")
		}
		var q vault.Question
		var err error
		if len(args) == 0 {
			if q, err = question(cmd); err != nil {
				return err
			}
		}
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			var n int64
			var err error
			if len(args) > 0 {
				n, err = h.vault.Mark(ctx, h.actor, reason, args...)
			} else {
				n, err = h.vault.MarkReadable(ctx, h.actor, q, reason)
			}
			if err != nil {
				return err
			}
			p.say("%s to be replaced: %q lists what is left, and %q says what a recall of it would do", plural(int(n), "secret"), "tally vault list --due", "tally recall plan entrusted:due")
			return nil
		})
	}
	return cmd
}

func (p *program) vaultLineage() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "lineage", Short: "List the wrapping keys, how strong they are, and what is under each",
		Long: `List the wrapping keys that are and were in use, how strong each is, and how many
customers' data keys are under it. What is weak is said below the list; "tally
custody rewrap" moves everything to a better one. "tally vault show" has the lineage
of one secret.

` + listStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				keys, err := h.vault.KeyStrengths(ctx, h.actor)
				if err != nil {
					return err
				}
				heads := []string{"WRAPPING KEY", "SINCE", "STATE", "CUSTOMERS", "OTHERS", "ALGORITHM", "ORIGIN"}
				if err := showAll(p, asJSON, keys, heads, strengthCells); err != nil || asJSON {
					return err
				}
				for _, key := range keys {
					for _, weak := range key.Weak {
						fmt.Fprintf(p.out, "\n%s\n", clean("weak: "+key.ID+": "+weak))
					}
				}
				return nil
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

func strengthCells(k vault.KeyStrength) []string {
	state := "in use"
	if !k.Retired.IsZero() {
		state = "retired on " + dayOf(k.Retired)
	}
	return []string{k.ID, dayOf(k.Since), state, strconv.FormatInt(k.Customers, 10), strconv.FormatInt(k.Others, 10), k.Algorithm, k.Origin}
}

func (p *program) vaultHosts() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	var end string
	cmd := &cobra.Command{
		Use: "hosts", Short: "List which hosts can or could use which wrapping keys",
		Long: `List which hosts can or could use which wrapping keys. Every "tally up" and every
command that opens the custody for the vault says so of its host. A host is taken to
be able to until somebody says with --end that it no longer can: a key stays on a disk
when the process ends.

` + listStatuses(),
		Example: "  tally vault hosts\n  tally vault hosts --end node-3",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if end != "" {
					return h.vault.EndHost(ctx, h.actor, end)
				}
				list, err := h.vault.Hosts(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, asJSON, list, []string{"HOST", "WRAPPING KEY", "SINCE", "HEARD", "UNTIL"}, func(r store.Reader) []string {
					return []string{r.Host, r.WrappingKey, instant(r.Since), instant(r.Heard), instant(r.Until)}
				})
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&end, "end", "", "this `HOST` can use no wrapping key from now on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) vaultShow() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Say everything about a secret but its value",
		Long: `Say everything about a secret but its value: what it opens, its versions, under
which wrapping keys and on which hosts each could be read, and to whom it was given.

` + listStatuses(),
		Args: exactly(1, "the id of a secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				l, err := h.vault.Lineage(ctx, h.actor, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return showAll(p, true, []vault.Lineage{l}, nil, nil)
				}
				return p.writeLineage(l, entrustedState(l.Secret, h.now()))
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write it as a JSON object")
	return cmd
}

func (p *program) writeLineage(l vault.Lineage, state string) error {
	s := l.Secret
	fmt.Fprintf(p.out, "%s\n  %s, version %d, since %s by %s\n  state: %s", clean(vault.Name{Customer: s.Customer, System: s.System, Account: s.Account, Kind: s.Kind}.String()),
		s.ID, s.Version, instant(s.Since), clean(l.Versions[0].By), state)
	for _, line := range []struct{ what, text string }{{"why", s.DueWhy}, {"opens", s.Opens}, {"from", s.Origin}, {"holder", s.Holder}} {
		if line.text != "" {
			fmt.Fprintf(p.out, "\n  %s: %s", line.what, clean(line.text))
		}
	}
	fmt.Fprint(p.out, "\n\n")
	t := newTable(p.out, "VERSION", "ENTRUSTED", "BY", "DESTROYED", "WRAPPING KEY", "READ FROM", "READ UNTIL", "HOSTS")
	for _, one := range l.Versions {
		for _, w := range one.Wrappings {
			var hosts []string
			for _, host := range w.Hosts {
				hosts = append(hosts, host.Host)
			}
			t.row(strconv.FormatInt(one.Number, 10), instant(one.Created), one.By, instant(one.Destroyed), w.WrappingKey, instant(w.Since), instant(w.Until), strings.Join(hosts, ", "))
		}
	}
	if err := t.write(); err != nil || len(l.Handouts) == 0 {
		return err
	}
	fmt.Fprintln(p.out)
	t = newTable(p.out, "VERSION", "GIVEN TO", "AT")
	for _, one := range l.Handouts {
		t.row(strconv.FormatInt(one.Version, 10), one.Holder, instant(one.Time))
	}
	return t.write()
}

func (p *program) vaultDestroy() *cobra.Command {
	var flags dataFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "destroy ID", Short: "Make all versions of a secret unreadable for good",
		Long: `Make all versions of a secret unreadable for good, as when a customer leaves. What
is known about it stays. Copies of the data from before still hold it, under their
wrapping key. It asks before it does that, on a terminal; elsewhere it needs --yes.

` + vaultStatuses(),
		Args: exactly(1, "the id of a secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := p.confirm("destroy all versions of "+args[0]+" for good", yes); err != nil {
					return err
				}
				s, err := h.vault.Destroy(ctx, h.actor, args[0])
				if err == nil {
					p.say("%s was destroyed on %s", s.ID, instant(s.Destroyed))
				}
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *program) vaultCheck() *cobra.Command {
	var flags dataFlags
	var accept, forget bool
	cmd := &cobra.Command{
		Use: "check", Short: "Look whether the database is an old copy, and what is stale in it",
		Long: `Look whether the database is an old copy, as after a restore: the witness, a file
outside of it, says how far the vault had come. Secrets that were changed since are
stale: they are not handed out until a new value is entrusted, because the system
that they open knows another one by now.

--accept makes a new witness where the old one is lost. Whoever says it knows that
this database is not an old copy. --forget-missing says that what the database has
lost altogether was entrusted again, or is of no use to anybody any more.

` + exitStatuses("0 nothing is stale", "1 something failed, or the witness is missing", "2 bad usage", "3 something is stale or missing"),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.checkVault(ctx, h, accept, forget) })
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&accept, "accept", false, "make a new witness of this database, where the old one is lost")
	cmd.Flags().BoolVar(&forget, "forget-missing", false, "count what the database has lost altogether no more")
	return cmd
}

func (p *program) checkVault(ctx context.Context, h *house, accept, forget bool) error {
	if err := h.gate.Check(ctx, h.actor, gate.ReadVault, "check"); err != nil {
		return err
	}
	if accept {
		if err := h.vault.Accept(ctx, h.actor); err != nil {
			return err
		}
	}
	if err := h.vault.Fresh(ctx); err != nil {
		return err
	}
	if forget {
		if err := h.vault.ForgetMissing(ctx, h.actor); err != nil {
			return err
		}
	}
	sums, err := h.vault.Sums(ctx, h.actor)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s of %s, %d stale, %d missing\n", plural(int(sums.Secrets), "secret"), plural(int(sums.Customers), "customer"), sums.Stale, sums.Missing)
	if inside(h.config.Data, h.vault.Witness) {
		p.say("hint: the witness is in the data directory, and a backup of that brings it back: set vault.witness to another directory")
	}
	switch {
	case sums.Stale > 0:
		return &statusError{err: errors.New("this database is an old copy"), status: 3, hint: `run "tally vault list --stale", replace those where they are used, and entrust the new values`}
	case sums.Missing > 0:
		return &statusError{err: errors.New("this database has lost secrets that were entrusted after the backup"), status: 3, hint: `have them entrusted again, then run "tally vault check --forget-missing"`}
	}
	return nil
}

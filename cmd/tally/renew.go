// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) renewCommand() *cobra.Command {
	cmd := group("renew", "Have certificates renewed, and move them to other CAs")
	cmd.Long = `Have certificates made and renewed: by a CA of your own, or by those of other
people that stand in the configuration ("tally issuers"). "tally up" does the work;
it takes up what is changed here within 2 seconds. docs/renewal.md is the manual.`
	turn := func(verb, short, done string, act func(*renewal.Engine) func(context.Context, gate.Actor, string) error) *cobra.Command {
		return p.renewTurn(verb, short, done, act)
	}
	cmd.AddCommand(p.renewList(), p.renewAdd(),
		turn("now", "Renew a certificate now, whatever failed before", "is renewed now", func(e *renewal.Engine) func(context.Context, gate.Actor, string) error { return e.Ask }),
		turn("pause", "Keep a certificate from being renewed", "paused", func(e *renewal.Engine) func(context.Context, gate.Actor, string) error { return e.Pause }),
		turn("resume", "Let a paused renewal go on", "goes on", func(e *renewal.Engine) func(context.Context, gate.Actor, string) error { return e.Resume }),
		turn("remove", "Forget a renewal and destroy its keys here; files that were written stay", "removed", func(e *renewal.Engine) func(context.Context, gate.Actor, string) error { return e.Remove }),
		p.renewOrders(), p.renewCalendar(), p.renewMove())
	return cmd
}

func renewStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such renewal, issuer or inventory", "2 bad usage")
}

func (p *program) renewList() *cobra.Command {
	var flags listFlags
	var filter store.RenewalFilter
	cmd := &cobra.Command{
		Use: "list [NAME]", Short: "List what is renewed, and how that stands",
		Long:    "List what is renewed, and how that stands; with a NAME all that there is to say of\none, with its certificate.\n\n" + renewStatuses(),
		Example: "  tally renew list --state failing\n  tally renew list shop-front --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1, "the name of a renewal, or none")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.limit < 0 {
				return misuse(fmt.Errorf("--limit %d is less than nothing", flags.limit), "0 lists all")
			}
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				if len(args) == 1 {
					return p.showRenewal(ctx, h, engine, args[0], flags.json)
				}
				return p.listRenewals(ctx, h, engine, filter, flags)
			})
		},
	}
	flags.addTo(cmd, "")
	cmd.Flags().StringVar(&filter.Issuer, "issuer", "", "only those of this `ISSUER`")
	cmd.Flags().StringVar(&filter.State, "state", "", "only those in this `STATE`: paused, refused, failing, overdue, expired, waiting")
	cmd.Flags().StringVar(&filter.Like, "q", "", "only those with this `TEXT` in their names")
	return cmd
}

// listRenewals writes the list, page by page.
func (p *program) listRenewals(ctx context.Context, h *house, engine *renewal.Engine, filter store.RenewalFilter, flags listFlags) error {
	after := ""
	read := func(r store.PageRequest) (store.Page[renewal.Renewal], int64, error) {
		list, err := engine.List(ctx, h.actor, filter, after, r.Limit)
		page := store.Page[renewal.Renewal]{Items: list}
		if err == nil && len(list) == r.Limit {
			after = list[len(list)-1].Name
			page.Next = after
		}
		for i := range list {
			list[i].Certificate = "" // that of one is shown by its name
		}
		return page, 0, err
	}
	return show(p, flags, read, []string{"RENEWAL", "ISSUER", "NAMES", "ENDS", "DUE", "STATE", "ERROR"}, p.renewalCells)
}

func (p *program) renewalCells(r renewal.Renewal) []string {
	due := p.ahead(r.Due) + " (" + r.Why + ")"
	if r.State == "paused" {
		due = "-"
	}
	return []string{r.Name, r.Issuer, strings.Join(r.Names, ", "), dayOf(r.NotAfter), due, r.State, r.Error}
}

// ahead writes how far a time lies ahead.
func (p *program) ahead(t time.Time) string {
	d := t.Sub(p.now())
	switch {
	case d <= 0:
		return "now"
	case d < 48*time.Hour:
		return "in " + d.Round(time.Minute).String()
	}
	return dayOf(t)
}

func (p *program) showRenewal(ctx context.Context, h *house, engine *renewal.Engine, name string, asJSON bool) error {
	r, err := engine.Get(ctx, h.actor, name)
	if err != nil {
		return unknown(err, `run "tally renew list" to see them`)
	}
	if asJSON {
		return json.NewEncoder(p.out).Encode(r)
	}
	files, hook := r.Directory, ""
	if r.Hook != nil {
		hook = strings.Join(r.Hook.Command, " ")
	}
	for _, line := range [][2]string{
		{"Renewal", r.Name}, {"Issuer", r.Issuer}, {"Profile", r.Profile}, {"Names", strings.Join(r.Names, ", ")}, {"Key", r.Key}, {"State", r.State},
		{"Error", r.Error}, {"Due", p.ahead(r.Due) + " (" + r.Why + ")"}, {"Read why", r.Explanation}, {"Ends", dayOf(r.NotAfter)}, {"Directory", files}, {"Hook", hook},
	} {
		if line[1] != "" {
			fmt.Fprintf(p.out, "%-10s %s\n", line[0], clean(line[1]))
		}
	}
	_, err = fmt.Fprint(p.out, r.Certificate)
	return err
}

func (p *program) renewAdd() *cobra.Command {
	var flags struct {
		dataFlags
		wanted  renewal.Wanted
		at      int
		hook    string
		timeout time.Duration
		json    bool
	}
	cmd := &cobra.Command{
		Use: "add NAME --issuer ISSUER HOST...", Short: "Have a certificate made, and renewed",
		Long: `Have a certificate made for hosts, addresses, e-mail addresses or URIs, and renewed
before it ends. With --directory it is written there, as key.pem, cert.pem, chain.pem and
fullchain.pem, and --hook is run afterwards: a program by its whole path, with
arguments, and without a shell. Renewals can stand in the configuration as well.

` + renewStatuses(),
		Example: `  tally renew add shop-front --issuer ca/lab --directory /etc/ssl/shop-front \
      --hook '/usr/bin/systemctl reload nginx' shop.example.com www.shop.example.com`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return misuse(fmt.Errorf("%q takes a name, and what the certificate is for", cmd.CommandPath()), fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := flags.wanted
			w.Name, w.Names, w.Share = args[0], args[1:], float64(flags.at)/100
			if flags.hook != "" {
				w.Hook = &renewal.Hook{Command: strings.Fields(flags.hook), Timeout: flags.timeout}
			}
			if w.Directory != "" {
				var err error
				if w.Directory, err = filepath.Abs(w.Directory); err != nil {
					return fmt.Errorf("couldn't find %s: %w", w.Directory, err)
				}
			}
			if w.Issuer == "" {
				return misuse(errors.New("nobody is named who makes the certificate"), `name one with --issuer: "tally issuers" lists them`)
			}
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				added, err := engine.Add(ctx, h.actor, w)
				if err != nil {
					return err
				}
				if flags.json {
					return json.NewEncoder(p.out).Encode(added)
				}
				p.say("renewal %s is added", added.Name)
				p.sayIdle(h)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.wanted.Issuer, "issuer", "", "made by this `ISSUER`, such as ca/lab")
	f.StringVar(&flags.wanted.Profile, "profile", "", "made by this `PROFILE` (default server)")
	f.StringVar(&flags.wanted.Key, "key", "", "with keys of this `SORT`: "+strings.Join(custody.KeyWords(), ", ")+" (default ecdsa-p256)")
	f.BoolVar(&flags.wanted.KeepKey, "keep-key", false, "keep one key from certificate to certificate, unless it is recalled")
	f.DurationVar(&flags.wanted.Lifetime, "lifetime", 0, "valid for this `DURATION` (default what the issuer gives)")
	f.IntVar(&flags.at, "renew-at", 0, "renewed after this `PERCENT` of its lifetime (default two thirds)")
	f.StringVar(&flags.wanted.Directory, "directory", "", "write its files into this `DIR`")
	f.StringVar(&flags.hook, "hook", "", "run this `COMMAND` afterwards")
	f.DurationVar(&flags.timeout, "hook-timeout", 0, "stop the command after this `DURATION` (default 1m)")
	f.BoolVar(&flags.json, "json", false, "write it as a JSON object")
	completeFlag(cmd, "key", custody.KeyWords)
	return cmd
}

// sayIdle says who does what was asked for, when nobody does now.
func (p *program) sayIdle(h *house) {
	if h.unattended() != nil {
		p.say("hint: that happens as soon as \"tally up\" works on %s", h.config.Data)
	}
}

// renewTurn is a command that changes the state of a renewal.
func (p *program) renewTurn(verb, short, done string, act func(*renewal.Engine) func(context.Context, gate.Actor, string) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: short + ".\n\n" + renewStatuses(),
		Example: "  tally renew " + verb + " shop-front", Args: exactly(1, "the name of a renewal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideRenewals(cmd.Context(), flags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				if err := act(engine)(ctx, h.actor, args[0]); err != nil {
					return unknown(err, `run "tally renew list" to see them`)
				}
				fmt.Fprintf(p.out, "renewal %s: %s\n", clean(args[0]), done)
				if verb == "now" || verb == "resume" {
					p.sayIdle(h)
				}
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) renewOrders() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "orders [NAME]", Short: "List the attempts to get certificates, the newest first",
		Long: "List the attempts to get certificates, the newest first: of one renewal, or of all.\n\n" + renewStatuses(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1, "the name of a renewal, or none")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.limit < 0 {
				return misuse(fmt.Errorf("--limit %d is less than nothing", flags.limit), "0 lists all")
			}
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				return p.listOrders(ctx, h, engine, strings.Join(args, ""), flags)
			})
		},
	}
	flags.addTo(cmd, "")
	return cmd
}

func (p *program) listOrders(ctx context.Context, h *house, engine *renewal.Engine, name string, flags listFlags) error {
	var before int64
	read := func(r store.PageRequest) (store.Page[renewal.Order], int64, error) {
		list, err := engine.Orders(ctx, h.actor, name, before, r.Limit)
		page := store.Page[renewal.Order]{Items: list}
		if err == nil && len(list) == r.Limit {
			before = list[len(list)-1].ID
			page.Next = fmt.Sprint(before)
		}
		if errors.Is(err, tallystick.ErrNotFound) {
			err = unknown(err, `run "tally renew list" to see them`)
		}
		return page, 0, err
	}
	return show(p, flags, read, []string{"ORDER", "RENEWAL", "ISSUER", "WHY", "BEGAN", "STEP", "NEXT", "ERROR"}, func(o renewal.Order) []string {
		next := ""
		if o.Ended.IsZero() {
			next = p.ahead(o.Next)
		}
		return []string{fmt.Sprint(o.ID), o.Renewal, o.Issuer, o.Why, o.Began.UTC().Format(time.DateTime), o.Step, next, o.Error}
	})
}

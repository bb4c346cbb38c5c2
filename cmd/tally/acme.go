// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) acmeCommand() *cobra.Command {
	cmd := group("acme", "See what ACME clients have asked for")
	cmd.Long = `See what ACME clients have asked for, and say who may. "tally up" serves ACME when
issuing.acme is on in the configuration; docs/acme.md is the manual.`
	cmd.AddCommand(p.acmeAccounts(), p.acmeOrders(), p.acmeARI(), p.acmeBindings())
	return cmd
}

func acmeStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such thing or inventory", "2 bad usage")
}

// newACME returns what serves ACME; nil when it is off. listeners are the addresses that
// this server listens on itself.
func newACME(h *house, c *ca.CA, log *slog.Logger, listeners []netip.AddrPort) *acme.Server {
	settings := h.config.Issuing.ACME
	if !settings.On {
		return nil
	}
	return acme.New(acme.Config{
		ACME: settings, DB: h.db, CA: c, Secrets: lateKeys{h}, Now: h.now, Log: log, Listeners: listeners,
		Describe: func(profile string) string {
			for _, p := range c.Profiles() {
				if p.Name == profile {
					return p.About
				}
			}
			return profile
		},
	})
}

// desk is where people look at ACME. The custody is opened when a key is put into it.
func (p *program) desk(h *house) *acme.Desk { return acme.NewDesk(h.db, h.gate, lateKeys{h}, p.now) }

// acmeList is a list of the desk, read part by part.
func acmeList[T any](p *program, flags listFlags, l store.ACMEList, read func(store.ACMEList) ([]T, error), id func(T) string, heads []string, cells func(T) []string) error {
	return show(p, flags, func(r store.PageRequest) (store.Page[T], int64, error) {
		l.Before, l.Limit = r.After, r.Limit
		rows, err := read(l)
		page := store.Page[T]{Items: rows}
		if len(rows) == l.Limit && len(rows) > 0 {
			page.Next = id(rows[len(rows)-1])
		}
		return page, 0, err
	}, heads, cells)
}

func (p *program) acmeAccounts() *cobra.Command {
	var flags listFlags
	var status string
	cmd := &cobra.Command{
		Use: "accounts", Short: "List ACME accounts, the newest first", Long: "List ACME accounts, the newest first.\n\n" + acmeStatuses(),
		Example: "  tally acme accounts\n  tally acme accounts revoke 019ab3...", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				return acmeList(p, flags, store.ACMEList{Status: status},
					func(l store.ACMEList) ([]acme.AccountRow, error) { return p.desk(h).Accounts(ctx, h.actor, l) },
					func(a acme.AccountRow) string { return a.ID },
					[]string{"ID", "STATUS", "CONTACT", "BINDING", "FROM", "MADE", "USED"}, accountCells)
			})
		},
	}
	flags.addTo(cmd, "")
	cmd.Flags().StringVar(&status, "status", "", "in this `STATUS`: valid, deactivated, revoked")
	cmd.AddCommand(p.acmeTurn("revoke", "ID", "the id of an account", "Take an account out of use for good",
		"What it has got stays valid; \"tally ca revoke\" changes that. A server\nnotices within 10 seconds.", "account %s: revoked", `run "tally acme accounts" to see them`,
		func(d *acme.Desk, ctx context.Context, h *house, id string) error {
			return d.RevokeAccount(ctx, h.actor, id)
		}))
	return cmd
}

func accountCells(a acme.AccountRow) []string {
	used := "never"
	if !a.Used.IsZero() {
		used = dayOf(a.Used)
	}
	return []string{a.ID, a.Status, dash(strings.Join(a.Contact, " ")), dash(a.Binding), a.Address, dayOf(a.Created), used}
}

// dash stands where there is nothing.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (p *program) acmeOrders() *cobra.Command {
	var flags listFlags
	var l store.ACMEList
	cmd := &cobra.Command{
		Use: "orders", Short: "List ACME orders, the newest first",
		Long:    "List ACME orders, the newest first, with why they failed. Those that came to\nnothing are kept for a week, others for 400 days.\n\n" + acmeStatuses(),
		Example: "  tally acme orders --status invalid\n  tally acme orders --account 019ab3... --json", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				return acmeList(p, flags, l,
					func(l store.ACMEList) ([]acme.OrderRow, error) { return p.desk(h).Orders(ctx, h.actor, l) },
					func(o acme.OrderRow) string { return o.ID },
					[]string{"MADE", "STATUS", "CA", "PROFILE", "NAMES", "ACCOUNT", "CERTIFICATE", "NOTES"}, orderCells)
			})
		},
	}
	flags.addTo(cmd, "")
	cmd.Flags().StringVar(&l.Account, "account", "", "of the account with this `ID`")
	cmd.Flags().StringVar(&l.Status, "status", "", "in this `STATUS`: pending (wait for their client), processing, valid, invalid")
	return cmd
}

func orderCells(o acme.OrderRow) []string {
	notes := words(o.Why, o.Note)
	if o.Request != 0 {
		notes = words(notes, fmt.Sprintf("request %d waits for approval", o.Request))
	}
	return []string{o.Created.Format(time.DateTime), o.Status, o.Authority, o.Profile, strings.Join(o.Names, ", "), o.Account, dash(o.Serial), notes}
}

// An ariRow is what one certificate's client is told, and whether it has answered.
type ariRow struct {
	Serial      ca.Serial `json:"serial"`
	Names       []string  `json:"names"`
	Account     string    `json:"account"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	Explanation string    `json:"explanation,omitempty"`
	Asked       time.Time `json:"asked,omitzero"`    // when its client last asked
	Replaced    time.Time `json:"replaced,omitzero"` // when another one took its place
}

func (p *program) acmeARI() *cobra.Command {
	var flags listFlags
	f := ca.Filter{Via: ca.ViaACME}
	cmd := &cobra.Command{
		Use: "ari", Short: "List when ACME clients are told to renew, and which have",
		Long: `List when the clients of ACME certificates are told to renew (RFC 9773), when each
has last asked, and which have renewed. A window in the past is "now". A client that
never asks must be reached in another way.

` + acmeStatuses(),
		Example: "  tally acme ari --state recalled\n  tally acme ari --name web.example.com", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.listARI(ctx, h, flags, f) })
		},
	}
	flags.addTo(cmd, "")
	cmd.Flags().StringVar(&f.Name, "name", "", "for this `NAME`")
	cmd.Flags().StringVar(&f.State, "state", "good", "in this `STATE`: good, recalled, expired, revoked")
	return cmd
}

func (p *program) listARI(ctx context.Context, h *house, flags listFlags, f ca.Filter) error {
	authorities, err := h.openCA()
	if err != nil {
		return err
	}
	return show(p, flags, func(r store.PageRequest) (store.Page[ariRow], int64, error) {
		list, err := authorities.List(ctx, h.actor, f, ca.Serial(r.After), r.Limit)
		page := store.Page[ariRow]{}
		for _, c := range list {
			w := c.Window()
			page.Items = append(page.Items, ariRow{c.Serial, c.Names.All(), strings.TrimPrefix(c.Requester, "acme/"), w.Start, w.End, w.Explanation, c.Asked, c.Replaced})
		}
		if len(list) == r.Limit && len(list) > 0 {
			page.Next = string(list[len(list)-1].Serial)
		}
		return page, 0, err
	}, []string{"SERIAL", "NAMES", "WINDOW", "ASKED", "RENEWED"}, p.ariCells)
}

func (p *program) ariCells(r ariRow) []string {
	window := r.Start.Format(time.DateTime)
	if !r.Start.After(p.now()) {
		window = "now"
	}
	asked, renewed := "never", "no"
	if !r.Asked.IsZero() {
		asked = r.Asked.Format(time.DateTime)
	}
	if !r.Replaced.IsZero() {
		renewed = r.Replaced.Format(time.DateTime)
	}
	return []string{string(r.Serial), strings.Join(r.Names, ", "), window, asked, renewed}
}

func (p *program) acmeBindings() *cobra.Command {
	cmd := group("bindings", "Say who may have an ACME account, and for what")
	cmd.Long = `Say who may have an ACME account, and for what (external account binding, RFC 8555
section 7.3.4). A binding is an id and a key, which a client shows when it makes its
account. With external_account in the configuration there is no account without one.`
	cmd.AddCommand(p.addBinding(), p.listBindings(), p.acmeTurn("revoke", "ID", "the id of a binding", "Take a binding back",
		"Accounts that were bound by it can order nothing more; a server notices within 10\nseconds. What they have got stays valid.", "binding %s: revoked", `run "tally acme bindings list" to see them`,
		func(d *acme.Desk, ctx context.Context, h *house, id string) error {
			return d.RevokeBinding(ctx, h.actor, id)
		}))
	return cmd
}

func (p *program) addBinding() *cobra.Command {
	var flags dataFlags
	var b store.ACMEBinding
	var lasts time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "add", Short: "Make a binding",
		Long: `Make a binding. Its id and its key are written to standard output; the key cannot be
had again. It is good for one account, which may have certificates for the names that
it proves, unless the flags say otherwise.

` + acmeStatuses(),
		Example: "  tally acme bindings add --note 'web team' --names '*.shop.example.com'\n  tally acme bindings add --reusable --profiles server --lasts 720h", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lasts < 0 {
				return misuse(fmt.Errorf("--lasts is at least 0"), "leave it out for a binding that does not end")
			}
			if lasts > 0 {
				b.Expires = p.now().Add(lasts)
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				made, err := p.desk(h).AddBinding(ctx, h.actor, b)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(p.out).Encode(made)
				}
				_, err = fmt.Fprintf(p.out, "id:  %s\nkey: %s\n", made.ID, made.Key)
				return err
			})
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&b.Authority, "ca", "", "for this `CA` alone (default any)")
	f.StringSliceVar(&b.Profiles, "profiles", nil, "for these `PROFILES` alone (default all that are served)")
	f.StringSliceVar(&b.Names, "names", nil, "for these `NAMES` alone, and *.NAME for all under one (default any)")
	f.StringVar(&b.Note, "note", "", "a `TEXT` to know it by")
	f.BoolVar(&b.Reusable, "reusable", false, "for any number of accounts")
	f.DurationVar(&lasts, "lasts", 0, "until this `DURATION` from now (default for ever)")
	f.BoolVar(&asJSON, "json", false, "write it as a JSON object")
	return cmd
}

func (p *program) listBindings() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List bindings, the newest first", Long: "List bindings, the newest first.\n\n" + acmeStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				all, err := p.desk(h).Bindings(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, all, []string{"ID", "STATE", "CA", "PROFILES", "NAMES", "MADE", "BY", "NOTE"}, p.bindingCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) bindingCells(b store.ACMEBinding) []string {
	state := "new"
	switch {
	case !b.Revoked.IsZero():
		state = "revoked"
	case !b.Expires.IsZero() && !p.now().Before(b.Expires):
		state = "ended"
	case !b.Used.IsZero():
		state = "used"
	}
	if b.Reusable {
		state += ", reusable"
	}
	return []string{b.ID, state, dash(b.Authority), dash(strings.Join(b.Profiles, ", ")), dash(strings.Join(b.Names, ", ")), dayOf(b.Created), b.CreatedBy, b.Note}
}

// acmeTurn is a command that does something to one thing.
func (p *program) acmeTurn(verb, arg, what, short, more, done, hint string, act func(*acme.Desk, context.Context, *house, string) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: verb + " " + arg, Short: short, Long: short + ".\n" + more + "\n\n" + acmeStatuses(), Args: exactly(1, what),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := act(p.desk(h), ctx, h, args[0]); err != nil {
					return unknown(err, hint)
				}
				p.say(done, clean(args[0]))
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

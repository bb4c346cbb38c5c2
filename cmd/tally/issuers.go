// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// openRenewals puts the renewals together. Drivers of issuers are opened, and
// nobody is asked for anything yet.
func (h *house) openRenewals() (*renewal.Engine, error) {
	own, err := h.openCA()
	if err != nil {
		return nil, err
	}
	issuers, err := openIssuers(h.config)
	if err != nil {
		return nil, err
	}
	return renewal.New(renewal.Config{
		DB: h.db, Gate: h.gate, Keys: lateKeys{h}, Now: h.now, Node: nodeName(), CA: own, Issuers: issuers,
	})
}

// renew renews until ctx ends. A renewal of the configuration that cannot be is told,
// and keeps no other one back.
func renew(ctx context.Context, h *house, engine *renewal.Engine, failed func(error)) error {
	if err := engine.Declare(ctx, declared(h.config)); err != nil {
		failed(err)
	}
	return engine.Run(ctx, failed)
}

// openIssuers opens the drivers of the CAs of other people.
func openIssuers(c *config.Config) ([]renewal.Issuer, error) {
	var list []renewal.Issuer
	for i, one := range c.Issuers {
		where := c.Where(fmt.Sprintf("issuers[%d].driver", i))
		all := drivers.All()
		at := slices.IndexFunc(all, func(d driver.Driver) bool { return d.Name() == one.Driver })
		if at < 0 || !slices.Contains(all[at].Verbs(), "issue") {
			err := fmt.Errorf("%w: %s: issuer %s, there is no driver %q that issues", tallystick.ErrInvalid, where, one.Name, one.Driver)
			return nil, problem.With(err, "it is one of "+strings.Join(issuingDrivers(all), ", "))
		}
		options := map[string]string{}
		for name, value := range one.Options {
			options[name] = value.Reveal()
		}
		opened, err := all[at].Open(options)
		if err != nil {
			return nil, problem.With(fmt.Errorf("%s: issuer %s: %w", where, one.Name, err), `"tally drivers" lists what drivers take`)
		}
		list = append(list, renewal.Issuer{
			Name: one.Name, Driver: one.Driver, Issuer: opened.(driver.Issuer), Profiles: one.Profiles, Budget: store.Budget{PerHour: one.PerHour, PerWeek: one.PerWeek},
		})
	}
	return list, nil
}

func issuingDrivers(all []driver.Driver) []string {
	var names []string
	for _, d := range all {
		if slices.Contains(d.Verbs(), "issue") {
			names = append(names, d.Name())
		}
	}
	return names
}

// declared returns the renewals of the configuration.
func declared(c *config.Config) []renewal.Wanted {
	list := make([]renewal.Wanted, len(c.Renew))
	for i, r := range c.Renew {
		list[i] = renewal.Wanted{
			Name: r.Name, Issuer: r.Issuer, Profile: r.Profile, Names: r.Names, Key: r.Key, KeepKey: r.KeepKey, Lifetime: r.Lifetime,
			Share: float64(r.RenewAt) / 100, Directory: r.Directory,
		}
		if len(r.Hook) > 0 {
			list[i].Hook = &renewal.Hook{Command: r.Hook, Timeout: r.HookTimeout}
		}
	}
	return list
}

// insideRenewals runs fn with the renewals of data that is there already.
func (p *program) insideRenewals(ctx context.Context, flags dataFlags, fn func(context.Context, *house, *renewal.Engine) error) error {
	return p.inside(ctx, flags, func(ctx context.Context, h *house) error {
		engine, err := h.openRenewals()
		if err != nil {
			return err
		}
		return fn(ctx, h, engine)
	})
}

func (p *program) issuersCommand() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "issuers", Short: "List who makes certificates for us",
		Long: `List who makes certificates for us: CAs of our own ("ca/NAME"), and those of
other people that stand in the configuration. HOUR and WEEK are how many orders were
begun, and how many may be.

` + listStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				list, err := engine.IssuerStates(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, list, []string{"ISSUER", "DRIVER", "CAN", "RENEWALS", "FAILING", "HOUR", "WEEK"}, issuerCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func issuerCells(i renewal.IssuerState) []string {
	of := func(n int64, most int) string {
		if most == 0 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d of %d", n, most)
	}
	can := strings.Join(i.Verbs, ", ")
	if len(i.Verbs) == 0 {
		can = "not there any more"
	}
	return []string{i.Name, i.Driver, can, fmt.Sprint(i.Renewals), fmt.Sprint(i.Failing), of(i.LastHour, i.PerHour), of(i.LastWeek, i.PerWeek)}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sigma"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tries"
	"github.com/tallystick/tallystick/internal/vault"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// dataFlags say which data a command works on.
type dataFlags struct{ data, config string }

// addTo gives a command the flags.
func (f *dataFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", "", "keep everything in this `DIR` (default ~/.local/share/tallystick)")
	cmd.Flags().StringVar(&f.config, "config", "", "read this configuration `FILE`")
}

// load reads the configuration; --data goes before it.
func (p *program) load(flags dataFlags) (*config.Config, error) {
	c, err := config.Load(flags.config, p.getenv)
	if err != nil {
		return nil, err
	}
	if flags.data != "" {
		if c.Data, err = filepath.Abs(flags.data); err != nil {
			return nil, fmt.Errorf("couldn't find the data directory: %w", err)
		}
	}
	return c, nil
}

// A house is the data with every feature over it.
type house struct {
	drivers   []driver.Driver // what they share with each other they share in this process
	config    *config.Config
	db        *store.DB
	log       *audit.Log
	gate      *gate.Gate
	access    *access.Control
	inventory *inventory.Inventory
	findings  *finding.Engine
	discovery *discovery.Discovery
	directory *directory.Directory
	sigma     []*sigma.Rule // of the configuration, those that can be used
	unusable  sigma.Refusals
	custody   heldCustody
	vault     *vault.Vault
	lookLog   *slog.Logger // of looks that end; nil for commands that run none
	tries     *tries.Tries // nil for commands that have no ledger open
	ca        heldCA
	now       func() time.Time
	// actor is whoever runs this command.
	actor gate.Actor
}

// enter opens data that is there already, for a command that reads or changes
// it beside a running "tally up".
func (p *program) enter(ctx context.Context, flags dataFlags) (*house, error) {
	c, err := p.load(flags)
	if err != nil {
		return nil, err
	}
	url, err := c.StoreURL()
	if err != nil {
		return nil, err
	}
	if path := url.Reveal(); filepath.IsAbs(path) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, problem.With(fmt.Errorf("there is no inventory in %s: %w", c.Data, tallystick.ErrNotFound),
				`start "tally up", or name the directory of one with --data`)
		}
	}
	if err := checkData(c.Data); err != nil {
		return nil, err
	}
	return p.open(ctx, c)
}

// open opens the data, which is made when it is missing.
func (p *program) open(ctx context.Context, c *config.Config) (*house, error) {
	url, err := c.StoreURL()
	if err != nil {
		return nil, err
	}
	h := &house{config: c, now: p.now, actor: gate.Local(userName()), custody: heldCustody{program: p}}
	if h.db, err = store.Open(ctx, url.Reveal()); err != nil {
		return nil, err
	}
	if err := p.furnish(ctx, h); err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// furnish puts the features over the store.
func (p *program) furnish(ctx context.Context, h *house) error {
	var err error
	if h.log, err = audit.Open(ctx, h.db, filepath.Join(h.config.Data, "audit.key")); err != nil {
		return err
	}
	enabled, err := enabledRules(h.config.Rules)
	if err != nil {
		return err
	}
	if err := h.readSigma(); err != nil {
		return err
	}
	for _, r := range h.sigma {
		enabled = append(enabled, r.AsRule())
	}
	h.gate = gate.New(h.log, p.now)
	h.access = access.New(h.db, h.gate, p.now)
	h.inventory = inventory.New(h.db, h.gate, p.now)
	h.findings = finding.New(finding.Engine{
		DB: h.db, Gate: h.gate, Rules: enabled, Now: p.now, Recheck: rules.Recheck, Sample: rules.IsSample, Annotate: h.config.Annotate,
		Edition: editionOf(h.config),
	})
	h.directory = directory.New(directory.Directory{DB: h.db, Gate: h.gate, Rules: enabled, Now: p.now})
	h.drivers = drivers.All()
	h.vault = vault.New(vault.Config{
		DB: h.db, Gate: h.gate, Now: p.now, Custody: h.openCustody, Witness: h.config.WitnessDir(p.getenv), Host: vaultHost(h.config),
	})
	h.discovery, err = discovery.New(discovery.Config{
		DB: h.db, Gate: h.gate, Now: p.now, Node: nodeName(), Jobs: jobsOf(h.config), AtOnce: h.config.DiscoveryAtOnce, Drivers: h.drivers, Changed: h.findings.Wake, Ended: h.ended, Used: h.used,
	})
	return err
}

// readSigma reads the rules of the configuration that users wrote, as far as they
// can be used over uses.
func (h *house) readSigma() error {
	if len(h.config.Sigma) == 0 {
		return nil
	}
	rules, refused, err := readRules(h.config.Sigma, sigma.Options{MappedOnly: true})
	if err != nil {
		return problem.With(err, "see sigma in the configuration")
	}
	if _, err := sigma.NewSet(rules, sigma.SetOptions{}); err != nil {
		more, ok := errors.AsType[sigma.Refusals](err)
		if !ok {
			return err
		}
		refused = append(refused, more...)
		rules = without(rules, more)
	}
	names := map[string]bool{}
	for _, r := range rules {
		if name := r.RuleName(); !names[name] {
			names[name] = true
			h.sigma = append(h.sigma, r)
		}
	}
	h.unusable = refused
	return nil
}

// editionOf names what findings and annotations hang on beside the inventory.
func editionOf(c *config.Config) string {
	return fmt.Sprintf("%s %+v", versionLine(), c.Annotations)
}

// ended is called when a look has ended.
func (h *house) ended(r store.Run) {
	if h.lookLog != nil {
		logRun(h.lookLog, r)
	}
}

// used is called with each sign-in that a look itself makes.
func (h *house) used(use tallystick.Use) {
	if h.tries != nil {
		h.tries.Used(use)
	}
}

// close releases the data.
func (h *house) close() error { return h.db.Close() }

// enabledRules returns all rules but those that the configuration turns off.
func enabledRules(c config.Rules) ([]rule.Rule, error) {
	all := rules.All()
	for _, off := range c.Off {
		known := len(all)
		all = slices.DeleteFunc(all, func(r rule.Rule) bool { return r.Name == off.Rule })
		if len(all) == known {
			err := fmt.Errorf("%w: rules.off: there is no rule %q", tallystick.ErrInvalid, off.Rule)
			return nil, problem.With(err, `run "tally rules" to see them`)
		}
	}
	return all, nil
}

// jobsOf returns the jobs of the configuration; one that is off runs when asked.
func jobsOf(c *config.Config) []discovery.Job {
	jobs := make([]discovery.Job, 0, len(c.Discovery))
	for _, j := range c.Discovery {
		job := discovery.Job{Name: j.Name, Driver: j.Driver, Targets: j.Targets, Options: j.Values(), Every: j.Every}
		if j.Off {
			job.Every = 0
		}
		jobs = append(jobs, job)
	}
	return jobs
}

// userName returns whom the operating system says this is.
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// nodeName names this process among those that share a database.
func nodeName() string { return fmt.Sprintf("%s/%d", hostName(), os.Getpid()) }

// vaultHost is what this machine is called in the lineage of entrusted secrets.
func vaultHost(c *config.Config) string { return cmp.Or(c.Vault.Host, hostName()) }

// hostName names this machine.
func hostName() string {
	host, err := os.Hostname()
	if err != nil || strings.TrimSpace(host) == "" {
		host = "localhost"
	}
	return host
}

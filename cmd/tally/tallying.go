// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/asn"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/server"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/tries"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/watch"
)

// A tallying is what uses pass through: their sources, the ledger, and the watch
// between them. One process at a time has it open.
type tallying struct {
	ledger  *ledger.Ledger
	archive *archive.Archive
	watch   *watch.Watch
	sources *sources.Sources
	usage   *usage.Usage
	tries   *tries.Tries

	syslog      net.Listener // nil without
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// openTally opens it over the house, and takes up what came since it was closed.
func (p *program) openTally(ctx context.Context, h *house, log *slog.Logger) (*tallying, error) {
	t := &tallying{}
	if err := p.furnishTally(ctx, h, t, log); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (p *program) furnishTally(ctx context.Context, h *house, t *tallying, log *slog.Logger) error {
	var err error
	t.ledger, err = ledger.Open(ledgerDir(h.config.Data), ledger.Options{
		Retention: h.config.Tally.Keep, Now: p.now, Sealed: recordRoot(h.log, p.now),
	})
	if err != nil {
		return err
	}
	if t.archive, err = archive.Open(filepath.Join(h.config.Data, "raw"), p.now); err != nil {
		return err
	}
	var table *asn.Table
	if h.config.ASNTable != "" {
		if table, err = asn.Load(h.config.ASNTable); err != nil {
			return fmt.Errorf("couldn't read asn_table: %w", err)
		}
	}
	enabled, err := enabledRules(h.config.Rules)
	if err != nil {
		return err
	}
	for i, refused := range h.unusable {
		const most = 20
		if i == most {
			log.Warn("more rules of sigma can't be used", "count", len(h.unusable)-most, "hint", "tally sigma check --uses")
			break
		}
		log.Warn("a rule of sigma can't be used", "rule", refused.Rule, "place", refused.Place, "reason", refused.Reason)
	}
	h.directory.Earlier = t.firstUse
	if err := h.directory.Load(ctx); err != nil {
		return err
	}
	t.watch, err = watch.Open(ctx, watch.Config{
		DB: h.db, Ledger: t.ledger, Rules: enabled, Sigma: h.sigma, Directory: h.directory, Network: table.Network, Tolerance: h.config.Tally.Tolerance, Now: p.now, Log: log,
		Own: tries.Book, Here: tries.Here,
	})
	if err != nil {
		return err
	}
	t.usage = &usage.Usage{DB: h.db, Ledger: t.ledger, Gate: h.gate, Live: t.watch, Raw: t.archive, Now: p.now, Fresh: time.Second, Own: tries.Book}
	t.tries = tries.New(tries.Config{
		Usage: t.usage, Watch: t.watch, Now: p.now, Failed: func(err error) { log.Error("a try of a credential is not on record", "error", err) },
	})
	h.tries = t.tries
	t.sources = sources.New(sources.Config{
		DB: h.db, Gate: h.gate, Appender: t.watch, Archive: t.archive, Now: p.now, Drivers: h.drivers, Named: namedIn(h.config), Used: t.tries.Used,
	})
	return nil
}

// namedIn returns the drivers with options that the configuration names.
func namedIn(c *config.Config) []sources.Named {
	var list []sources.Named
	for _, d := range c.Doors {
		list = append(list, sources.Named{Driver: d.Driver, Options: d.Values()})
	}
	for _, j := range c.Discovery {
		list = append(list, sources.Named{Driver: j.Driver, Options: j.Values()})
	}
	return list
}

// firstUse returns the first use that relying parties accepted under some accounts
// or of some credentials between two times: for changes that are told after the
// uses that they made possible.
func (t *tallying) firstUse(ctx context.Context, accounts, credentials []string, from, to time.Time) (time.Time, string, error) {
	q := ledger.Query{Names: slices.Concat(accounts, credentials), From: from, To: to, Side: tallystick.SideRelying}
	if len(q.Names) == 0 {
		return time.Time{}, "", nil
	}
	first, err := t.ledger.First(ctx, q, func(u *tallystick.Use) bool { return u.Outcome == tallystick.OutcomeSuccess })
	if err != nil || first == nil {
		return time.Time{}, "", err
	}
	return first.Time, first.Address, nil
}

var (
	_ usage.Clocks    = (*watch.Watch)(nil)
	_ usage.Undecided = (*watch.Watch)(nil)
)

// listen opens the port for syslog, where the configuration has one.
func (t *tallying) listen(ctx context.Context, address string, certificate *server.Certificate) error {
	if address == "" {
		return nil
	}
	var err error
	if t.syslog, err = listen(ctx, address); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	t.certificate = certificate.Get
	return nil
}

// run keeps the parts going until ctx ends.
func (t *tallying) run(ctx context.Context, parts *sync.WaitGroup, log *slog.Logger) {
	parts.Go(func() { keep(ctx, log, "sources", t.sources.Run) })
	parts.Go(func() { keep(ctx, log, "ledger", t.ledger.Run) })
	parts.Go(func() { keep(ctx, log, "tally", t.watch.Run) })
	parts.Go(func() { keep(ctx, log, "record of tries", t.tries.Run) })
	if t.syslog != nil {
		parts.Go(func() {
			keep(ctx, log, "syslog", func(ctx context.Context, failed func(error)) error {
				return t.sources.ServeSyslog(ctx, t.syslog, t.certificate, failed)
			})
		})
	}
}

// close gives up what is open.
func (t *tallying) close() error {
	var err error
	if t.syslog != nil {
		if failure := t.syslog.Close(); !errors.Is(failure, net.ErrClosed) {
			err = failure
		}
	}
	if t.archive != nil {
		err = errors.Join(err, t.archive.Close())
	}
	if t.ledger != nil {
		err = errors.Join(err, t.ledger.Close())
	}
	return err
}

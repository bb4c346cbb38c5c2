// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/usage"
)

// A recalling is what works at recalls: the doors of the configuration, those of
// agents, and the engine.
type recalling struct {
	doors  *doors.Set
	agents *agent.Agents
	engine *recall.Engine
}

func (r *recalling) close() error { return r.doors.Close() }

// A recallWith is what a recalling is given; what is nil is not at hand.
type recallWith struct {
	uses  *usage.Usage
	flush func(context.Context) error // returns when what was revoked is published
	used  func(driver.Public, tallystick.Use)
	// begin says that something is about to be done at a door; see watch.Begin.
	begin func() (end func())
	// elsewhere says that there are books, and that another process has them.
	elsewhere bool
}

// openRecalling puts it together. Drivers of doors are opened, and nothing is connected
// to yet.
func (p *program) openRecalling(h *house, with recallWith) (*recalling, error) {
	authorities, err := h.openCA()
	if err != nil {
		return nil, err
	}
	issuers, err := openIssuers(h.config)
	if err != nil {
		return nil, err
	}
	renewals, err := h.openRenewals()
	if err != nil {
		return nil, err
	}
	keys := doors.CustodyKeys{Custody: lateKeys{h}, Names: h.db}
	r := &recalling{}
	if r.doors, err = doors.Open(doors.Config{Doors: h.config.Doors, Hosts: h.config.Hosts, Drivers: drivers.All(), Keys: keys, Now: h.now, Used: with.used, Vault: h.vault}); err != nil {
		return nil, err
	}
	r.agents = p.agentsOf(h)
	own := recall.OwnCA{CA: authorities, DB: h.db, Flush: with.flush, Now: h.now}
	if with.begin == nil {
		with.begin = func() (end func()) { return func() {} }
	}
	at := announced{r.doors, with.begin}
	c := recall.Config{
		DB: h.db, Gate: h.gate, Log: h.log, Doors: at, Agents: agentDoors{r.agents}, CA: own, Now: h.now, Node: nodeName(),
		Issuers: issuersFor(own, issuers), Account: renewals.Account, Defaults: recallDefaults(h), BooksElsewhere: with.elsewhere,
		Connect: doors.ReachOf(h.config.Recall.Connect), Vault: h.vault, Accounts: at,
	}
	c.Marks = lateMarks{h}
	if with.uses != nil {
		c.Uses, c.Marks = books{with.uses}, with.uses
	}
	if r.engine, err = recall.New(c); err != nil {
		return nil, errors.Join(err, r.doors.Close())
	}
	return r, nil
}

// recallDefaults are those of the configuration.
func recallDefaults(h *house) recall.Defaults {
	c := h.config.Recall
	d := recall.Defaults{
		Approvals: c.Approvals, AtDeadline: c.AtDeadline, Quiet: c.Quiet, Waves: tallystick.Waves{Canary: c.Canary, Growth: c.Growth, Errors: c.Errors},
	}
	if c.Approvals == 0 {
		d.Approvals = -1 // the configuration says so; by itself it is 1
	}
	return d
}

// issuersFor finds issuers by name: a CA of ours, or one of the configuration.
func issuersFor(own recall.OwnCA, list []renewal.Issuer) func(string) (driver.Issuer, error) {
	return func(name string) (driver.Issuer, error) {
		if authority, ours := strings.CutPrefix(name, order.OwnPrefix); ours {
			return own.Issuer(authority), nil
		}
		at := slices.IndexFunc(list, func(i renewal.Issuer) bool { return i.Name == name })
		if at < 0 {
			return nil, problem.With(fmt.Errorf("there is no issuer %q: %w", name, tallystick.ErrNotFound), `"tally issuers" lists them`)
		}
		return list[at].Issuer, nil
	}
}

// agentDoors are the doors of agents as a recall wants them.
type agentDoors struct{ agents *agent.Agents }

func (a agentDoors) Look(ctx context.Context) ([]string, error) { return a.agents.WantLook(ctx) }

func (a agentDoors) Doors(ctx context.Context) ([]recall.AgentDoor, error) {
	standing, err := a.agents.Doors(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]recall.AgentDoor, len(standing))
	for i, s := range standing {
		list[i] = recall.AgentDoor{Door: s.Door}
		view, looked, err := a.agents.View(ctx, s.Name)
		if list[i].View, list[i].Looked = view, looked; err != nil {
			list[i].Error = err.Error()
		}
	}
	return list, nil
}

// announced are the doors, where whatever may sign in is announced before it does.
type announced struct {
	*doors.Set
	begin func() (end func())
}

func (a announced) Look(ctx context.Context, door string) (driver.View, error) {
	defer a.begin()()
	return a.Set.Look(ctx, door)
}

func (a announced) Do(ctx context.Context, task doors.Task) (doors.Result, error) {
	defer a.begin()()
	return a.Set.Do(ctx, task)
}

func (a announced) Account(ctx context.Context, door, account string) (driver.Account, error) {
	defer a.begin()()
	return a.Set.Account(ctx, door, account)
}

// books are the ledger as a recall asks it.
type books struct{ usage *usage.Usage }

func (b books) Quiet(ctx context.Context, q recall.DrainQuestion) (recall.DrainAnswer, error) {
	a, err := b.usage.Quiet(ctx, usage.QuietQuestion{Names: q.Credential, RelyingParties: q.RelyingParties, Since: q.Since, Until: q.Until})
	return recall.DrainAnswer{
		Books: len(a.Books), Closed: a.ClosedTo, Open: a.Silent, Uses: a.HolderUses, Last: a.LastHolder, Refused: a.Refused,
		Others: a.Foreign, OthersLast: a.LastForeign,
	}, err
}

// lateMarks are those of the ledger beside the inventory, which is opened when somebody asks.
type lateMarks struct{ h *house }

func (m lateMarks) Marked(ctx context.Context, questions []usage.MarkedQuestion) ([]usage.Marked, error) {
	book, err := ledger.Open(ledgerDir(m.h.config.Data), ledger.Options{ReadOnly: true, Now: m.h.now})
	if errors.Is(err, fs.ErrNotExist) {
		return make([]usage.Marked, len(questions)), nil // nobody records uses here
	}
	if err != nil {
		return nil, err
	}
	answers, err := (&usage.Usage{Ledger: book, Now: m.h.now}).Marked(ctx, questions)
	return answers, errors.Join(err, book.Close())
}

// openServing is openRecalling for a server, which has everything at hand.
func (p *program) openServing(h *house, t *tallying, i *issuance) (*recalling, error) {
	return p.openRecalling(h, recallWith{uses: t.usage, flush: i.publisher.Flush, used: t.tries.Tried, begin: t.watch.Begin})
}

// run works at recalls until ctx ends.
func (r *recalling) run(ctx context.Context, parts *sync.WaitGroup, log *slog.Logger) {
	parts.Go(func() { keep(ctx, log, "recalls of credentials", r.engine.Run) })
}

// workAtRecalls works at recalls until it is stopped.
func (p *program) workAtRecalls(ctx context.Context, flags dataFlags) error {
	return p.inside(ctx, flags, func(ctx context.Context, h *house) (err error) {
		if _, err := h.openCustody(ctx); err != nil {
			return err
		}
		log := p.newLog(false)
		authorities, err := h.openCA()
		if err != nil {
			return err
		}
		r, err := p.openRecalling(h, recallWith{flush: p.newPublisher(h, authorities, true).Flush, elsewhere: true})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.close()) }()
		p.say("working at recalls as %s", nodeName())
		keep(ctx, log, "recalls of credentials", r.engine.Run)
		return nil
	})
}

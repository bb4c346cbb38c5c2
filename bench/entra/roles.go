// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

const secret = "a secret of a benchmark"

// emulate is the process of the emulator.
func emulate(records string, tenants int) error {
	n, err := strconv.Atoi(records)
	if err != nil {
		return err
	}
	world, err := emulator.New(emulator.Config{Faults: emulator.Faults{NoThrottling: true}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	home := world.AddTenant(emulator.TenantSpec{Name: "Vendor"})
	watcher := home.AddApplication(emulator.AppSpec{Name: "Watch", Secrets: []string{secret}, MultiTenant: true})
	p := place{Application: watcher.Application.AppID, Secret: "secret", CA: "ca.pem", Records: n * tenants}
	now := time.Now()
	for i := range tenants {
		t := world.AddTenant(emulator.TenantSpec{Name: fmt.Sprint("Customer ", i)})
		product := t.AddApplication(emulator.AppSpec{Name: "Mail sync", Secrets: []string{secret}})
		t.AddForeign(watcher.Application, emulator.Grant{API: emulator.Graph, Role: "AuditLog.Read.All"}, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
		t.Fill(product, emulator.Graph, n, now.Add(-12*time.Hour), now.Add(-time.Second))
		p.Tenants = append(p.Tenants, t.ID)
	}
	servers, err := world.Start(ctx)
	if err != nil {
		return err
	}
	p.Login, p.Graph = servers.Login, servers.Graph
	if err := errors.Join(os.WriteFile(p.CA, servers.CA, 0o600), os.WriteFile(p.Secret, []byte(secret), 0o600)); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(p); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// options are those of a watch of one tenant.
func (p *place) options(tenant string) map[string]string {
	dir, _ := os.Getwd() // it was made a moment ago
	return map[string]string{
		"tenant": tenant, "application": p.Application, "secret": filepath.Join(dir, p.Secret), "ca": filepath.Join(dir, p.CA), "login": p.Login, "graph": p.Graph,
		"logs": "sign-ins", "since": "24h", "every": "30s",
	}
}

// read is the process that reads.
func read(role string) error {
	var p place
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	began := time.Now()
	var r result
	var err error
	if role == "one" {
		r, err = readOne(&p)
	} else {
		r, err = readMany(&p)
	}
	if err != nil {
		return err
	}
	r.Took = time.Since(began)
	return json.NewEncoder(os.Stdout).Encode(r)
}

// A counter takes what a watcher reads, and reads the records as a source does.
type counter struct {
	stream   *uses.Stream
	uses     int
	position string
	trouble  error
}

// Take takes a batch.
func (c *counter) Take(b driver.WatchBatch) (int, error) {
	for _, record := range b.Records {
		if err := c.stream.Read(string(record), c); err != nil {
			return 0, err
		}
	}
	c.position = b.Position
	return len(b.Records), nil
}

// Trouble notes one.
func (c *counter) Trouble(t driver.WatchTrouble) { c.trouble = t.Err }

// Use counts a use.
func (c *counter) Use(*tallystick.Use) { c.uses++ }

// Close and Lost are for books of holders.
func (c *counter) Close(tallystick.ClosingMark) {}

// Lost is likewise.
func (c *counter) Lost(*tallystick.Use) {}

// readOne reads a tenant until all is read.
func readOne(p *place) (result, error) {
	opened, err := entra.Driver().Open(p.options(p.Tenants[0]))
	if err != nil {
		return result{}, err
	}
	stream, err := uses.NewStream("entra-signin", uses.Settings{Side: tallystick.SideRelying})
	if err != nil {
		return result{}, err
	}
	c := &counter{stream: stream}
	var jumped time.Duration
	now := func() time.Time { return time.Now().Add(jumped) }
	for c.uses < p.Records {
		again, err := opened.(driver.Watcher).Watch(context.Background(), driver.WatchRequest{Position: c.position, Now: now}, c)
		if err = errors.Join(err, c.trouble); err != nil {
			return result{}, err
		}
		jumped += again
	}
	return result{Records: c.uses, Waited: jumped}, nil
}

// An appender counts what sources hand over.
type appender struct {
	mu    sync.Mutex
	uses  int
	seen  map[string]bool
	done  chan struct{}
	until int
}

// Append counts a batch.
func (a *appender) Append(_ context.Context, source string, b ledger.Batch, _ []tallystick.Change) (ledger.Appended, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uses += len(b.Uses); len(b.Uses) > 0 {
		a.seen[source] = true
	}
	if len(a.seen) == a.until && a.uses >= a.until {
		a.until = -1
		close(a.done)
	}
	return ledger.Appended{Added: len(b.Uses)}, nil
}

// readMany reads many tenants once, by sources as they are in a server.
func readMany(p *place) (result, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.Getwd()
	if err != nil {
		return result{}, err
	}
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	if err != nil {
		return result{}, err
	}
	log, err := audit.Open(ctx, db, filepath.Join(dir, "audit.key"))
	if err != nil {
		return result{}, err
	}
	a := &appender{seen: map[string]bool{}, done: make(chan struct{}), until: len(p.Tenants)}
	s := sources.New(sources.Config{DB: db, Gate: gate.New(log, time.Now), Appender: a, Now: time.Now, Drivers: []driver.Driver{entra.Driver()}})
	var list []store.Source
	for _, t := range p.Tenants {
		list = append(list, store.Source{Name: t, Kind: store.SourceDriver, Side: tallystick.SideRelying, Driver: "entra", Options: p.options(t)})
	}
	if _, err := s.AddEach(ctx, gate.Local("bench"), list); err != nil {
		return result{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(err error) { fmt.Fprintln(os.Stderr, err) }) }()
	select {
	case <-a.done:
	case <-time.After(9 * time.Minute):
		return result{}, errors.New("it takes too long")
	}
	cancel()
	<-ended
	return result{Records: a.uses, Requests: len(p.Tenants)}, db.Close()
}

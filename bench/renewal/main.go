// SPDX-License-Identifier: Apache-2.0

// Command renewal measures what renewals cost: ten thousand certificates from the
// private CA, from the key to the certificate in its place, and a calendar of a year
// for a hundred thousand renewals.
//
//	go run ./bench/renewal [-renewals 10000] [-files] [-calendar 100000]
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

type settings struct {
	renewals, calendar int
	files              bool
	dir                string
}

func main() {
	var s settings
	flag.IntVar(&s.renewals, "renewals", 10_000, "how many certificates are had from the private CA")
	flag.BoolVar(&s.files, "files", false, "write the files of each into a directory")
	flag.IntVar(&s.calendar, "calendar", 100_000, "how many renewals the calendar foresees")
	flag.StringVar(&s.dir, "dir", "", "where (default: a temporary directory)")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "renewal:", err)
		os.Exit(1)
	}
}

var admin = gate.Actor{Name: "bench", Role: gate.Admin, Via: "local"}

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp(s.dir, "renewal-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	engine, err := open(ctx, db, dir)
	if err != nil {
		return err
	}
	if err := renew(ctx, engine, s, dir); err != nil {
		return err
	}
	return calendar(ctx, engine, s, dir)
}

// open puts the engine over a store, with the CA as a server has it: with its lints,
// its policy and its audit log.
func open(ctx context.Context, db *store.DB, dir string) (*renewal.Engine, error) {
	log, err := audit.Open(ctx, db, filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	g := gate.New(log, time.Now)
	w, err := custody.OpenFile(filepath.Join(dir, "elsewhere", "wrapping.key"), "", "", true)
	if err != nil {
		return nil, err
	}
	keys, err := custody.Open(ctx, custody.Config{DB: db, Wrapper: w, Now: time.Now})
	if err != nil {
		return nil, err
	}
	linter, err := lint.New()
	if err != nil {
		return nil, err
	}
	own := ca.New(ca.Config{
		DB: db, Gate: g, Keys: keys, Now: time.Now, Profiles: ca.BuiltInProfiles(), URL: "http://pki.example.com",
		Decide:   func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} },
		CheckKey: lint.CheckKey,
		Lint:     func(der []byte) error { _, err := linter.Lints(der); return err },
	})
	if _, err := own.Init(ctx, admin, ca.InitRequest{Name: "lab"}); err != nil {
		return nil, err
	}
	return renewal.New(renewal.Config{DB: db, Gate: g, Keys: keys, Now: time.Now, Node: "bench", CA: own})
}

// renew adds renewals and waits until all have their certificates.
func renew(ctx context.Context, engine *renewal.Engine, s settings, dir string) error {
	meter := start()
	var adders sync.WaitGroup
	errs := make([]error, 64)
	for a := range errs {
		adders.Go(func() {
			for n := a; n < s.renewals && errs[a] == nil; n += len(errs) {
				w := renewal.Wanted{Name: fmt.Sprint("host-", n), Issuer: "ca/lab", Names: []string{fmt.Sprintf("host-%d.example.com", n)}}
				if s.files {
					w.Directory = filepath.Join(dir, "files", w.Name)
				}
				_, errs[a] = engine.Add(ctx, admin, w)
			}
		})
	}
	adders.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	meter.tell("to add a renewal", s.renewals)
	meter = start()
	running, stop := context.WithCancel(ctx)
	defer stop()
	var failure error
	done := make(chan error, 1)
	go func() { done <- engine.Run(running, func(err error) { failure = err }) }()
	for failure == nil {
		time.Sleep(time.Second)
		stats, err := engine.Stats(ctx)
		if err != nil {
			return err
		}
		if stats.Failing+stats.Refused > 0 {
			return fmt.Errorf("%d fail", stats.Failing+stats.Refused)
		}
		if stats.Oldest.IsZero() && len(stats.Orders) == 0 {
			break
		}
	}
	meter.tell("to renew, from the key to the certificate in its place", s.renewals)
	stop()
	<-done
	return failure
}

// calendar looks a year ahead over rows that are put into the store behind its back.
func calendar(ctx context.Context, engine *renewal.Engine, s settings, dir string) error {
	raw, err := sql.Open("sqlite", filepath.Join(dir, "tally.db"))
	if err != nil {
		return err
	}
	defer raw.Close()
	const fill = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO renewals (id, name, issuer, profile, names, algorithm, lifetime, share, certificate, not_before, not_after, due, created, created_by)
		SELECT 1000000000 + i, 'foreseen-' || i, 'issuer-' || (i % 5), 'server', '["' || i || '"]', 'ecdsa-p256', 0, 667, zeroblob(1500), ? - (i % 2000) * 1000000000, ? - (i % 2000) * 1000000000 + 7776000000000,
			? + (i % 5000) * 1000000000, 0, 'bench' FROM n`
	now := time.Now().UnixMicro()
	if _, err := raw.ExecContext(ctx, fill, s.calendar, now, now, now); err != nil {
		return err
	}
	for _, lifetime := range []time.Duration{0, 47 * 24 * time.Hour} {
		meter := start()
		c, err := engine.Calendar(ctx, admin, time.Now(), time.Now().AddDate(1, 0, 0), lifetime)
		if err != nil {
			return err
		}
		fmt.Printf("a year ahead for %d renewals, cut to %s: %d renewals, %.2f s CPU, %.2f s\n", s.calendar+s.renewals, lifetime, c.Total, cpu()-meter.cpu, time.Since(meter.began).Seconds())
	}
	return nil
}

// A meter measures from a moment on.
type meter struct {
	cpu   float64
	began time.Time
}

func start() meter { return meter{cpu(), time.Now()} }

func (m meter) tell(what string, n int) {
	used, took := cpu()-m.cpu, time.Since(m.began).Seconds()
	fmt.Printf("%s: %.3f s CPU for 1000, %.0f a second\n", what, used*1000/float64(n), float64(n)/took)
}

// cpu returns the seconds of CPU that the process has used.
func cpu() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

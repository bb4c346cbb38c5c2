// SPDX-License-Identifier: Apache-2.0

// Command vault measures the vault of entrusted credentials: how fast values are taken
// in, how long the two questions of lineage take over a million versions, and how fast
// everything is put under another wrapping key.
//
//	go run ./bench/vault [-versions 1000000] [-customers 36000] [-questions 500] [-dir DIR]
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

type settings struct {
	versions, customers, questions int
	dir                            string
	again                          bool
}

func main() {
	var s settings
	flag.IntVar(&s.versions, "versions", 1_000_000, "how many versions of secrets there are")
	flag.IntVar(&s.customers, "customers", 36_000, "of how many customers")
	flag.IntVar(&s.questions, "questions", 500, "how many questions are asked")
	flag.StringVar(&s.dir, "dir", "", "where (default: a temporary directory)")
	flag.BoolVar(&s.again, "again", false, "ask what an earlier run with -dir has filled, and nothing else")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

var otto = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}

// eras is how many wrapping keys there were, one after the other, each for a year and on
// a host of its own.
const eras = 3

const year = 365 * 24 * time.Hour

// A bench is a vault that is filled and asked.
type bench struct {
	settings
	db    *store.DB
	keys  *custody.Custody
	vault *vault.Vault
	now   time.Time
	begin time.Time

	wrapping []string // the keys, by era
	data     []string // the data keys of customers, of this era
}

func run(ctx context.Context, s settings) error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "tally-bench-vault-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) // of a temporary directory
		s.dir = dir
	}
	b := &bench{settings: s, begin: time.Date(2023, 11, 23, 0, 0, 0, 0, time.UTC)}
	b.now = b.begin
	if err := b.open(ctx); err != nil {
		return err
	}
	defer b.db.Close() // it was only measured
	for era := range eras {
		if err := b.era(ctx, era); err != nil {
			return err
		}
	}
	if s.again {
		return b.ask(ctx)
	}
	if err := b.db.Tidy(ctx); err != nil {
		return err
	}
	if err := b.ask(ctx); err != nil {
		return err
	}
	return b.entrust(ctx)
}

func (b *bench) open(ctx context.Context) error {
	var err error
	if b.db, err = store.Open(ctx, filepath.Join(b.dir, "tally.db")); err != nil {
		return err
	}
	log, err := audit.Open(ctx, b.db, filepath.Join(b.dir, "audit.key"))
	if err != nil {
		return err
	}
	w, err := b.wrapper(0)
	if err != nil {
		return err
	}
	clock := func() time.Time { return b.now }
	if b.again { // the last of them, as it was left
		if w, err = b.wrapper(eras - 1); err != nil {
			return err
		}
	}
	if b.keys, err = custody.Open(ctx, custody.Config{DB: b.db, Wrapper: w, Now: clock}); err != nil {
		return err
	}
	b.vault = vault.New(vault.Config{
		DB: b.db, Gate: gate.New(log, clock), Now: clock, Witness: filepath.Join(b.dir, "witness"), Host: "node-0",
		Custody: func(context.Context) (*custody.Custody, error) { return b.keys, nil },
	})
	return nil
}

func (b *bench) wrapper(era int) (custody.Wrapper, error) {
	return custody.OpenFile(filepath.Join(b.dir, fmt.Sprintf("wrapping-%d.key", era)), "", "", true)
}

// era fills a third of the vault: everything goes under a new wrapping key, which a new host has.
func (b *bench) era(ctx context.Context, era int) error {
	b.now = b.begin.Add(time.Duration(era) * year)
	w, err := b.wrapper(era)
	if err != nil {
		return err
	}
	b.wrapping = append(b.wrapping, w.Identity().ID)
	if b.again {
		return nil
	}
	b.data = make([]string, b.customers)
	if era > 0 {
		keys := era * b.customers
		wall, cpu, err := measure(func() error { return b.keys.Rewrap(ctx, w, nil) })
		if err != nil {
			return err
		}
		fmt.Printf("rewrap %d customers' data keys, over %d versions: %.1f s wall, %.1f CPU s: %.0f keys and %.0f versions a second\n",
			keys, b.versions*era/eras, wall.Seconds(), cpu.Seconds(), float64(keys)/wall.Seconds(), float64(b.versions*era/eras)/wall.Seconds())
	}
	if err := b.db.ReportReader(ctx, fmt.Sprintf("node-%d", era), []string{w.Identity().ID}, b.now); err != nil {
		return err
	}
	return b.fill(ctx, era)
}

// makeKeys makes a data key for each customer of some secrets who has none of this era yet.
func (b *bench) makeKeys(ctx context.Context, first, end int) error {
	errs := make(chan error, 64)
	for worker := range 64 { // who come at the same time share a transaction
		go func() {
			for i := first + worker; i < end; i += 64 {
				customer := i % b.customers
				if b.data[customer] != "" {
					continue
				}
				key, err := b.keys.NewDataKey(ctx, custody.Owner{Kind: "customer-key", Name: fmt.Sprintf("vault/customer %d", customer)})
				if err != nil {
					errs <- err
					return
				}
				b.data[customer] = key.ID
			}
			errs <- nil
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// perSecret is how many versions a secret has in the end.
const perSecret = 10

// fill adds versions over a year, as the feature writes them; what is encrypted does not
// matter to lineage, and is random.
func (b *bench) fill(ctx context.Context, era int) error {
	secrets := b.versions / perSecret
	rounds := []int{4, 3, 3}[era] // versions of each secret
	start := b.now
	for round := range rounds {
		for first := 0; first < secrets; first += 1000 {
			b.now = start.Add(time.Duration(round)*year/time.Duration(rounds) + time.Duration(first)*time.Minute)
			if err := b.batch(ctx, first, min(first+1000, secrets)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) batch(ctx context.Context, first, end int) error {
	head, err := b.db.VaultHead(ctx, "bench")
	if err != nil {
		return err
	}
	if err := b.makeKeys(ctx, first, end); err != nil {
		return err
	}
	list := make([]store.Entrusting, 0, end-first)
	for i := first; i < end; i++ {
		customer := i % b.customers
		name := fmt.Sprintf("customer %d", customer)
		s, err := b.db.EntrustedFor(ctx, name, "smtp.example.com", fmt.Sprint("account ", i), vault.Password)
		if err != nil {
			s = store.EntrustedSecret{ID: fmt.Sprintf("bench%d", i), Customer: name, System: "smtp.example.com", Account: fmt.Sprint("account ", i), Kind: vault.Password}
		}
		sealed := make([]byte, 29+24)
		rand.Read(sealed) // it never fails
		list = append(list, store.Entrusting{Secret: s, Version: store.EntrustedVersion{Number: s.Version + 1, KeyID: b.data[customer], Created: b.now, By: "otto", Sealed: sealed}})
	}
	return b.db.Entrust(ctx, head, store.VaultHead{Vault: head.Vault, Number: head.Number + 1, Mark: rand.Text()}, list)
}

// ask asks both questions, with random times, and now and then for the next page.
func (b *bench) ask(ctx context.Context) error {
	random := mathrand.New(mathrand.NewPCG(1, 2)) // the same questions every time
	for _, kind := range []string{"host", "key"} {
		var took, spent []time.Duration
		var rows, capped int
		for range b.questions {
			q := vault.Question{From: b.begin.Add(time.Duration(random.Int64N(int64(eras * year))))}
			q.To = q.From.Add([]time.Duration{time.Hour, 24 * time.Hour, 30 * 24 * time.Hour, year}[random.IntN(4)])
			if random.IntN(4) == 0 {
				q.From, q.To = time.Time{}, time.Time{}
			}
			era := random.IntN(eras)
			if q.Host = fmt.Sprintf("node-%d", era); kind == "key" {
				q.Host, q.Key = "", b.wrapping[era]
			}
			request := store.PageRequest{Limit: 50}
			for range 1 + random.IntN(2) {
				var page store.Page[store.Exposure]
				var total int64
				wall, cpu, err := measure(func() (err error) {
					page, total, err = b.vault.Readable(ctx, otto, q, request)
					return err
				})
				if err != nil {
					return err
				}
				took, spent = append(took, wall), append(spent, cpu)
				rows += len(page.Items)
				if total == store.CountCap {
					capped++
				}
				if request.After = page.Next; page.Next == "" {
					break
				}
			}
		}
		fmt.Printf("what was readable by a %s: %d answers of %d rows, %d with %d versions or more: wall %s; CPU %s\n",
			kind, len(took), rows, capped, store.CountCap, spread(took), spread(spent))
	}
	return nil
}

// spread says how times are spread.
func spread(list []time.Duration) string {
	slices.Sort(list)
	at := func(share float64) float64 { return list[int(share*float64(len(list)-1))].Seconds() * 1000 }
	return fmt.Sprintf("median %.1f ms, p95 %.1f ms, worst %.1f ms", at(0.5), at(0.95), at(1))
}

// entrust takes new values in as people do, and gives them out again.
func (b *bench) entrust(ctx context.Context) error {
	const many = 10_000
	b.now = b.begin.Add(eras * year)
	// It was filled past the feature, so that the witness has to be made now.
	if err := b.vault.Accept(ctx, gate.Local("root")); err != nil {
		return err
	}
	list := make([]vault.Entrust, many)
	for i := range list {
		list[i] = vault.Entrust{
			Name:   vault.Name{Customer: fmt.Sprintf("new customer %d", i%100), System: "ldap.example.com", Account: fmt.Sprint("account ", i), Kind: vault.Password},
			Holder: "token:7", Value: driver.NewSecret(rand.Text()),
		}
	}
	wall, cpu, err := measure(func() error {
		_, err := b.vault.EntrustAll(ctx, otto, "the benchmark", list)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("entrust %d values of 100 customers: %.1f s wall, %.1f CPU s\n", many, wall.Seconds(), cpu.Seconds())
	page, _, err := b.vault.List(ctx, otto, store.EntrustedFilter{System: "ldap.example.com"}, store.PageRequest{Limit: 1000})
	if err != nil {
		return err
	}
	holder := gate.Actor{Name: "mailer", Role: gate.Client, Via: "token 7"}
	wall, cpu, err = measure(func() error {
		for _, one := range page.Items {
			if _, _, err := b.vault.Reveal(ctx, holder, one.ID, 0); err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Printf("give %d values to their holder, one after the other, each on record first: %.1f s wall, %.1f CPU s\n", len(page.Items), wall.Seconds(), cpu.Seconds())
	return err
}

// measure runs fn, and returns how long it took, and how much of the processor.
func measure(fn func() error) (wall, cpu time.Duration, err error) {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, begin := spent(), time.Now()
	err = fn()
	return time.Since(begin), spent() - before, err
}

// SPDX-License-Identifier: Apache-2.0

// Command watch measures the server's way of a use: into the ledger, before the
// rules, and tallied as the books close. Two sides write of the same uses, at a
// rate, and now and then a thief makes one; it is told how much work a record is,
// how much memory stands for it, and how long after the closing of its book a
// foreign use was a finding.
//
//	go run ./bench/watch [-rate 100000] [-for 10m] [-credentials 500] [-parties 72]
package main

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/watch"
	"github.com/tallystick/tallystick/rules"
)

type settings struct {
	rate, credentials, parties int
	length, tolerance, theft   time.Duration
	dir, profile               string
}

func main() {
	var s settings
	flag.IntVar(&s.rate, "rate", 100_000, "records a second, of both sides together; 0 is as many as can be")
	flag.DurationVar(&s.length, "for", time.Minute, "how long")
	flag.IntVar(&s.credentials, "credentials", 500, "how many credentials")
	flag.IntVar(&s.parties, "parties", 72, "how many relying parties each of them is used with")
	flag.DurationVar(&s.tolerance, "tolerance", tally.DefaultTolerance, "of the tally")
	flag.DurationVar(&s.theft, "theft", time.Second, "how often a thief makes a use")
	flag.StringVar(&s.dir, "dir", "", "where (default: a temporary directory)")
	flag.StringVar(&s.profile, "cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	dir, err := os.MkdirTemp(s.dir, "watch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(context.Background(), filepath.Join(dir, "tally.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, err := watch.Open(ctx, watch.Config{
		DB: db, Ledger: l, Rules: rules.All(), Tolerance: s.tolerance, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		_ = w.Run(ctx, func(err error) { fmt.Fprintln(os.Stderr, "round:", err) })
	})
	b := &bench{settings: s, w: w, crossed: map[int64]time.Time{}}
	fmt.Printf("making a record takes %.2f µs of CPU, which is in what follows\n", b.calibrate())
	if err := b.drive(ctx, db); err != nil {
		return err
	}
	cancel()
	ended.Wait()
	return nil
}

type bench struct {
	settings
	w       *watch.Watch
	random  *rand.Rand
	n       int64
	crossed map[int64]time.Time // by the time of a foreign use, in microseconds, when its book was closed past it
	waiting []time.Time
}

// pair makes the two halves of a use.
func (b *bench) pair(at time.Time) (holder, relying tallystick.Use) {
	b.n++
	credential := int(b.n) % b.credentials
	party := credential*b.parties + b.random.IntN(b.parties)
	key := "entra-key:" + guid(uint64(credential), 7)
	uti, correlation := guid(uint64(b.n), b.random.Uint64()), guid(b.random.Uint64(), uint64(b.n))
	base := tallystick.Use{
		Level: tallystick.LevelToken, Time: at, Until: at, Count: 1, RelyingParty: "entra:" + guid(uint64(party), 3) + "/00000002-0000-0ff1-ce00-000000000000",
		Outcome: tallystick.OutcomeSuccess, Address: "203.0.113.7", IDs: tallystick.UseIDs{UTI: uti, Correlation: correlation},
	}
	holder, relying = base, base
	holder.Source, holder.Side, holder.Seq, holder.Holder = "broker-eu-1", tallystick.SideHolder, uint64(b.n), "internal-mail-protection"
	holder.Credential = []string{key, "x5t:" + strings.Repeat("0", 40-len(strconv.Itoa(credential))) + strconv.Itoa(credential)}
	relying.Source, relying.Side, relying.Credential, relying.ID = "entra", tallystick.SideRelying, []string{key}, guid(b.random.Uint64(), b.random.Uint64())
	return holder, relying
}

func guid(a, b uint64) string {
	var raw [16]byte
	var text [36]byte
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	hex.Encode(text[:], raw[:4])
	hex.Encode(text[9:], raw[4:6])
	hex.Encode(text[14:], raw[6:8])
	hex.Encode(text[19:], raw[8:10])
	hex.Encode(text[24:], raw[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// calibrate returns what making a record costs, in microseconds.
func (b *bench) calibrate() float64 {
	b.random = rand.New(rand.NewPCG(1, 1))
	const n = 200_000
	before := cpu()
	for range n {
		b.pair(time.Now())
	}
	b.n = 0
	return float64((cpu() - before).Microseconds()) / (2 * n)
}

const step = 50 * time.Millisecond

// drive puts records in at the rate, and tells what it was like.
func (b *bench) drive(ctx context.Context, db *store.DB) error {
	began, cpuBegan := time.Now(), cpu()
	next, report, theft := began, began.Add(10*time.Second), began
	for now := began; now.Sub(began) < b.length; now = time.Now() {
		perStep := int(float64(b.rate) * step.Seconds() / 2)
		if b.rate == 0 {
			perStep = 5000
		}
		var holder, relying ledger.Batch
		for range perStep {
			h, r := b.pair(now)
			holder.Uses, relying.Uses = append(holder.Uses, h), append(relying.Uses, r)
		}
		if now.After(theft) {
			theft = now.Add(b.theft)
			_, r := b.pair(now)
			r.Address = "198.51.100.9"
			relying.Uses = append(relying.Uses, r)
			b.waiting = append(b.waiting, now)
		}
		mark := func(source string, side tallystick.Side) []ledger.Mark {
			return []ledger.Mark{{ClosingMark: tallystick.ClosingMark{Source: source, Side: side, Closed: now}}}
		}
		holder.Marks, relying.Marks = mark("broker-eu-1", tallystick.SideHolder), mark("entra", tallystick.SideRelying)
		for _, batch := range []ledger.Batch{holder, relying} {
			if _, err := b.w.Append(ctx, "bench", batch, nil); err != nil {
				return err
			}
		}
		for len(b.waiting) > 0 && b.waiting[0].Add(b.tolerance).Before(now) {
			b.crossed[b.waiting[0].UnixMicro()] = time.Now()
			b.waiting = b.waiting[1:]
		}
		if now.After(report) {
			report = report.Add(10 * time.Second)
			b.report(ctx, db, began, cpuBegan)
		}
		if next = next.Add(step); b.rate > 0 {
			time.Sleep(time.Until(next))
		}
	}
	time.Sleep(2 * time.Second)
	b.report(ctx, db, began, cpuBegan)
	return nil
}

func (b *bench) report(ctx context.Context, db *store.DB, began time.Time, cpuBegan time.Duration) {
	c := b.w.Counts()
	took, spent := time.Since(began), cpu()-cpuBegan
	fmt.Printf("%6.0f s  %9d records  %7.0f/s  %5.2f µs CPU each  %7d in memory  rss %4d MB  round %6s  foreign %d  latest %s\n",
		took.Seconds(), c.Taken, float64(c.Taken)/took.Seconds(), float64(spent.Microseconds())/float64(max(c.Taken, 1)), c.Open, rss(),
		c.Round.Round(time.Millisecond), c.Said[tallystick.VerdictForeign], b.latency(ctx, db))
}

// latency returns how long after the closing of their books foreign uses were told.
func (b *bench) latency(ctx context.Context, db *store.DB) string {
	list, err := db.AllVerdicts(ctx, tallystick.VerdictForeign)
	if err != nil {
		return err.Error()
	}
	var waits []time.Duration
	for _, v := range list {
		if at, ok := b.crossed[v.Time.UnixMicro()]; ok {
			waits = append(waits, v.Said.Sub(at))
		}
	}
	if len(waits) == 0 {
		return "none yet"
	}
	slices.Sort(waits)
	return fmt.Sprintf("median %s, p99 %s", waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)*99/100].Round(time.Millisecond))
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// rss returns the memory in use now, in MB.
func rss() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize() >> 20
}

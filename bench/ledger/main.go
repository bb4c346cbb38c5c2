// SPDX-License-Identifier: Apache-2.0

// Command ledger measures the ledger: how many records a CPU second takes in
// until they are sealed, how many bytes each has on the disk, and how long a
// question takes; with SQLite beside it in the same run.
//
//	go run ./bench/ledger [-records 1000000] [-shape half] [-sqlite 300000] [-rounds 3]
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

type settings struct {
	records, sqlite, batch, rounds, queries int
	span                                    time.Duration
	dir                                     string
}

func main() {
	var s settings
	flag.IntVar(&s.records, "records", 1_000_000, "how many records the ledger takes")
	flag.IntVar(&s.sqlite, "sqlite", 300_000, "how many records SQLite takes; 0 leaves it out")
	flag.IntVar(&s.batch, "batch", 10_000, "how many records are appended at once, with one fsync")
	flag.IntVar(&s.rounds, "rounds", 3, "how often; the median counts")
	flag.IntVar(&s.queries, "queries", 1000, "how many questions")
	flag.DurationVar(&s.span, "span", 36*24*time.Hour, "the time that 100 million records would span")
	flag.StringVar(&s.dir, "dir", "", "where (default: a temporary directory)")
	name := flag.String("shape", "half", "half, token or entra: see README.md")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if err := profiled(*profile, func() error { return run(context.Background(), s, *name) }); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func profiled(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return fn()
}

func run(ctx context.Context, s settings, name string) error {
	at := slices.IndexFunc(shapes, func(one shape) bool { return one.name == name })
	if at < 0 {
		return fmt.Errorf("no shape %q", name)
	}
	for range s.rounds {
		if err := once(ctx, s, shapes[at]); err != nil {
			return err
		}
	}
	return nil
}

var begin = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

func once(ctx context.Context, s settings, shape shape) error {
	dir, err := os.MkdirTemp(s.dir, "ledger")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	step := s.span / 100_000_000
	l, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	err = measure("ledger", shape, s.records, s.batch, step, filepath.Join(dir, "ledger"), func(uses []tallystick.Use) error {
		_, err := l.Append(ctx, ledger.Batch{Uses: uses})
		return err
	}, func() error { return l.Seal(ctx) })
	if err != nil {
		return err
	}
	if err := ask(ctx, l, s, shape, step); err != nil {
		return err
	}
	if err := again(ctx, l, s, shape, step); err != nil {
		return err
	}
	if s.sqlite == 0 {
		return nil
	}
	db, err := openSQLite(filepath.Join(dir, "sqlite"))
	if err != nil {
		return err
	}
	defer db.close()
	err = measure("sqlite", shape, s.sqlite, s.batch, step, filepath.Join(dir, "sqlite"), db.append, db.checkpoint)
	if err != nil {
		return err
	}
	return timed("sqlite", s, shape, step, s.sqlite, db.hour)
}

// measure appends records. Only the time of appending counts, not that of making
// them up.
func measure(who string, shape shape, records, batch int, step time.Duration, dir string, appendAll func([]tallystick.Use) error, finish func() error) error {
	g := newGenerator(shape, begin, step)
	uses := make([]tallystick.Use, batch)
	var wall time.Duration
	cpu := 0.0
	timed := func(fn func() error) error {
		t, c := time.Now(), cpuSeconds()
		err := fn()
		wall += time.Since(t)
		cpu += cpuSeconds() - c
		return err
	}
	for done := 0; done < records; done += batch {
		for i := range uses {
			g.next(&uses[i])
		}
		if err := timed(func() error { return appendAll(uses) }); err != nil {
			return err
		}
		if n := done + batch; n%10_000_000 == 0 {
			fmt.Printf("%s %-6s %9d records, peak %d MB\n", who, shape.name, n, peak())
		}
	}
	if err := timed(finish); err != nil {
		return err
	}
	size, err := bytesIn(dir)
	fmt.Printf("%s %-6s %d records in %.2f CPU s, %.2f s: %.0f per CPU s; %.1f bytes each; peak %d MB\n",
		who, shape.name, records, cpu, wall.Seconds(), float64(records)/cpu, float64(size)/float64(records), peak())
	return err
}

// ask asks the ledger for the uses of a credential in an hour, and for all of one.
func ask(ctx context.Context, l *ledger.Ledger, s settings, shape shape, step time.Duration) error {
	return timed("ledger", s, shape, step, s.records, func(name string, from, to time.Time) (n int, err error) {
		err = l.Scan(ctx, ledger.Query{Names: []string{name}, From: from, To: to}, func(*tallystick.Use) error {
			n++
			return nil
		})
		return n, err
	})
}

// again appends what is there already, the oldest first.
func again(ctx context.Context, l *ledger.Ledger, s settings, shape shape, step time.Duration) error {
	g := newGenerator(shape, begin, step)
	uses := make([]tallystick.Use, s.batch)
	var got ledger.Appended
	n, cpu := min(s.records, 1_000_000), 0.0
	for range n / s.batch {
		for i := range uses {
			g.next(&uses[i])
		}
		c := cpuSeconds()
		a, err := l.Append(ctx, ledger.Batch{Uses: uses})
		cpu += cpuSeconds() - c
		if err != nil {
			return err
		}
		got.Added, got.Duplicates = got.Added+a.Added, got.Duplicates+a.Duplicates
	}
	fmt.Printf("ledger %-6s the first %d once more: %d known, %d new; %.0f per CPU s; peak %d MB\n",
		shape.name, n, got.Duplicates, got.Added, float64(n)/cpu, peak())
	return nil
}

// timed asks for credentials as often as they are used, in hours anywhere.
func timed(who string, s settings, shape shape, step time.Duration, records int, hour func(name string, from, to time.Time) (int, error)) error {
	g := newGenerator(shape, begin, step)
	span := time.Duration(records) * step
	var times []time.Duration
	found := 0
	cpu := cpuSeconds()
	for range s.queries {
		name := g.credentials[int(g.zipf.Uint64())][0][0]
		from := begin.Add(time.Duration(g.rng.Int64N(int64(max(span-time.Hour, 1)))))
		t := time.Now()
		n, err := hour(name, from, from.Add(time.Hour))
		if err != nil {
			return err
		}
		times = append(times, time.Since(t))
		found += n
	}
	slices.Sort(times)
	fmt.Printf("%s %-6s %d questions for an hour among %d records: median %.2f ms, p95 %.2f ms, worst %.2f ms; %.2f ms CPU each; %d uses found\n",
		who, shape.name, len(times), records, ms(times[len(times)/2]), ms(times[len(times)*95/100]), ms(times[len(times)-1]),
		(cpuSeconds()-cpu)*1000/float64(len(times)), found)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func bytesIn(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

func usage() (u syscall.Rusage) {
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot be
	}
	return u
}

func cpuSeconds() float64 {
	u := usage()
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func peak() int64 { return usage().Maxrss / 1024 }

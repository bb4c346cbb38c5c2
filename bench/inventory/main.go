// SPDX-License-Identifier: Apache-2.0

// Command inventory measures the store: it records an estate of made-up
// certificates, then asks for lists and pages of it, and prints rates, times
// and the memory it took.
//
//	go run ./bench/inventory [-credentials 1000000] [-database DIR or postgres://...]
//
// The estate has five sightings for each credential: every host shows two
// certificates of its own, each in a file and at an endpoint, and six that
// other hosts have as well. The records hold 900 random bytes where the DER
// would be, because parsing is not what is measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

func main() {
	credentials := flag.Int("credentials", 1_000_000, "how many credentials; five times as many sightings")
	database := flag.String("database", "", "a directory for SQLite (default: a temporary one), or a postgres:// URL")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	keep := flag.Bool("keep", false, "do not record; ask what is there already")
	silent := flag.Bool("silent", false, "record only, and ask nothing")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "inventory:", err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if err := run(context.Background(), *credentials, *database, !*keep, !*silent); err != nil {
		fmt.Fprintln(os.Stderr, "inventory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, credentials int, database string, write, read bool) error {
	if !strings.HasPrefix(database, "postgres") {
		dir := database
		if dir == "" {
			var err error
			if dir, err = os.MkdirTemp("", "inventory"); err != nil {
				return err
			}
			defer os.RemoveAll(dir)
		}
		database = filepath.Join(dir, "tallystick.db")
	}
	db, err := store.Open(ctx, database)
	if err != nil {
		return err
	}
	defer db.Close()
	if write {
		if err := record(ctx, db, credentials); err != nil {
			return err
		}
	}
	if read {
		if err := ask(ctx, db); err != nil {
			return err
		}
	}
	fmt.Printf("memory    peak resident %d MB\n", usage().Maxrss/1024)
	return nil
}

// batchSize is that of internal/discovery.
const batchSize = 16_000

func record(ctx context.Context, db *store.DB, credentials int) error {
	now := time.Now()
	run, err := db.AddRun(ctx, store.Run{Source: "bench", Driver: "bench", Queued: now})
	if err != nil {
		return err
	}
	e := newEstate(credentials, now)
	begin, cpu := time.Now(), cpuSeconds()
	batches := make(chan []tallystick.Sighting)
	go func() { // as a driver does, which looks while the store writes
		defer close(batches)
		e.batches(batches)
	}()
	total := 0
	for sightings := range batches {
		if _, err := db.Record(ctx, store.Batch{Run: run.ID, Source: "bench", Sightings: sightings}); err != nil {
			return err
		}
		before := total / 500_000
		if total += len(sightings); total/500_000 != before {
			fmt.Printf("record    %8d sightings  %6.0f s  %6.0f CPU s\n", total, time.Since(begin).Seconds(), cpuSeconds()-cpu)
		}
	}
	wall, used := time.Since(begin).Seconds(), cpuSeconds()-cpu
	fmt.Printf("record    %d sightings of %d credentials in %.0f s, %.0f CPU s: %.0f sightings/s, %.0f per CPU s (generating them included)\n",
		total, credentials, wall, used, float64(total)/wall, float64(total)/used)
	begin = time.Now()
	err = db.Tidy(ctx)
	fmt.Printf("tidy      %.1f s\n", time.Since(begin).Seconds())
	return err
}

// An estate makes credentials up, the same ones for the same number.
type estate struct {
	n   int
	now time.Time
	rng *rand.Rand
	raw []byte
}

func newEstate(n int, now time.Time) *estate {
	e := &estate{n: n, now: now, rng: rand.New(rand.NewPCG(1, 2)), raw: make([]byte, 900)}
	for i := range e.raw {
		e.raw[i] = byte(e.rng.Uint32())
	}
	return e
}

// batches sends the whole estate.
func (e *estate) batches(to chan<- []tallystick.Sighting) {
	var batch []tallystick.Sighting
	for host := range e.n / 2 {
		if batch = append(batch, e.host(host)...); len(batch) >= batchSize {
			to <- batch
			batch = nil
		}
	}
	to <- batch
}

func (e *estate) host(host int) []tallystick.Sighting {
	own := []int{2 * host, 2*host + 1}
	var list []tallystick.Sighting
	file := tallystick.FilePlace(fmt.Sprintf("/net/host%07d/etc/tls", host))
	for i, c := range own {
		list = append(list,
			e.sighting(c, tallystick.FilePlace(fmt.Sprintf("/net/host%07d/etc/tls/%d.pem", host, i))),
			e.sighting(c, tallystick.TLSPlace(fmt.Sprintf("host%07d.example.net:%d", host, 443+i))))
	}
	for range 6 {
		list = append(list, e.sighting(e.rng.IntN(2*host+2), file))
	}
	return list
}

// algorithms is a mix such as estates have.
var algorithms = []string{"rsa-2048", "rsa-2048", "rsa-2048", "rsa-4096", "ecdsa-p256", "ecdsa-p256", "ecdsa-p384", "ed25519"}

func (e *estate) sighting(c int, place tallystick.Place) tallystick.Sighting {
	raw := append([]byte(fmt.Sprintf("%016d", c)), e.raw...)
	spki := raw[:308]
	return tallystick.Sighting{
		Place: place, Role: tallystick.RolePresents, Seen: e.now,
		Facts: tallystick.Facts{File: &tallystick.FileFacts{Format: "pem", Mode: "0644", Owner: "root", Group: "root"}},
		Credential: tallystick.Credential{
			ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate,
			Key:     tallystick.Key{ID: tallystick.KeyIDOf(spki), Algorithm: algorithms[c%len(algorithms)], Bits: 2048, SPKI: spki},
			Subject: fmt.Sprintf("CN=host%07d.example.net,OU=Unit %d,O=Example", c, c%500), Issuer: fmt.Sprintf("CN=Example Issuing CA %d,O=Example", c%40),
			Serial: fmt.Sprintf("%032x", c), Names: []string{fmt.Sprintf("host%07d.example.net", c)},
			NotBefore: e.now.AddDate(0, 0, -(c % 100)), NotAfter: e.now.AddDate(0, 0, c%400-10), Signature: "rsa-sha256", Raw: raw,
		},
	}
}

// rounds is how often each question is asked.
const rounds = 30

// ask times every list that pages, API and commands show.
func ask(ctx context.Context, db *store.DB) error {
	now := time.Now()
	credentials := func(f store.CredentialFilter, p store.PageRequest) func() error {
		return func() error {
			_, err := db.Credentials(ctx, f, p)
			if err == nil {
				_, err = db.CountCredentials(ctx, f)
			}
			return err
		}
	}
	questions := []struct {
		name string
		ask  func() error
	}{
		{"credentials", credentials(store.CredentialFilter{}, store.PageRequest{})},
		{"  by subject, descending", credentials(store.CredentialFilter{}, store.PageRequest{Sort: "subject", Desc: true})},
		{"  by places, descending", credentials(store.CredentialFilter{}, store.PageRequest{Sort: "places", Desc: true})},
		{"  of one algorithm", credentials(store.CredentialFilter{Algorithm: "ed25519"}, store.PageRequest{})},
		{"  of a family", credentials(store.CredentialFilter{Algorithm: "rsa-"}, store.PageRequest{})},
		{"  of one issuer", credentials(store.CredentialFilter{Issuer: "CN=Example Issuing CA 7,O=Example"}, store.PageRequest{})},
		{"  of nobody, by severity", credentials(store.CredentialFilter{Owner: "-"}, store.PageRequest{Sort: "severity", Desc: true})},
		{"  ending this week", credentials(store.CredentialFilter{EndsAfter: now, EndsBefore: now.AddDate(0, 0, 7)}, store.PageRequest{})},
		{"  search, one", credentials(store.CredentialFilter{Text: "host0012345"}, store.PageRequest{})},
		{"  search, all", credentials(store.CredentialFilter{Text: "example.net"}, store.PageRequest{})},
		{"  search, none", credentials(store.CredentialFilter{Text: "nowhere"}, store.PageRequest{})},
		{"  at endpoints", credentials(store.CredentialFilter{Scheme: "tls"}, store.PageRequest{})},
		{"  with a rule that hit nothing", credentials(store.CredentialFilter{Rule: "expired"}, store.PageRequest{})},
		{"  of a severity that none has", credentials(store.CredentialFilter{Severity: tallystick.SeverityHigh}, store.PageRequest{})},
		{"  of one issuer, by subject", credentials(store.CredentialFilter{Issuer: "CN=Example Issuing CA 7,O=Example"}, store.PageRequest{Sort: "subject"})},
		{"  one algorithm and one issuer", credentials(store.CredentialFilter{Algorithm: "ed25519", Issuer: "CN=Example Issuing CA 7,O=Example"}, store.PageRequest{})},
		{"places", func() error { _, err := db.Places(ctx, store.PlaceFilter{}, store.PageRequest{}); return err }},
		{"  beneath a host", func() error {
			_, err := db.Places(ctx, store.PlaceFilter{Prefix: "tls://host0012345"}, store.PageRequest{})
			return err
		}},
		{"findings", func() error {
			_, err := db.Findings(ctx, store.FindingFilter{Now: now}, store.PageRequest{})
			return err
		}},
		{"summary", func() error { _, err := db.Summary(ctx, now, 120); return err }},
	}
	for _, q := range questions {
		if err := measure(q.name, q.ask); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	return nil
}

func measure(name string, ask func() error) error {
	var times []time.Duration
	for range rounds {
		begin := time.Now()
		if err := ask(); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	fmt.Printf("%-32s median %8.2f ms   p95 %8.2f ms\n", name, ms(times[len(times)/2]), ms(times[len(times)*95/100]))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func usage() syscall.Rusage {
	runtime.GC()
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for SELF
	return u
}

func cpuSeconds() float64 {
	u := usage()
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

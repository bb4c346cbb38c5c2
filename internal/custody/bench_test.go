// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/internal/custody"
)

func BenchmarkSignerReady(b *testing.B) {
	db, _ := sqliteStore(b)
	c := openCustody(b, custody.Config{DB: db, Wrapper: fileKey(b)})
	id, _, err := c.NewKey(b.Context(), custody.P256, owner)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Signer(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSignerFetched is what the first use of a key costs.
func BenchmarkSignerFetched(b *testing.B) {
	db, _ := sqliteStore(b)
	c := openCustody(b, custody.Config{DB: db, Wrapper: fileKey(b)})
	id, _, err := c.NewKey(b.Context(), custody.P256, owner)
	if err != nil {
		b.Fatal(err)
	}
	defer reportCPU(b)()
	for b.Loop() {
		custody.Forget(c, id)
		if _, err := c.Signer(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	db, _ := sqliteStore(b)
	c := openCustody(b, custody.Config{DB: db, Wrapper: fileKey(b)})
	secret := make([]byte, 32)
	defer reportCPU(b)()
	b.RunParallel(func(pb *testing.PB) { // writers share what it costs to be durable
		for pb.Next() {
			if _, err := c.Put(b.Context(), owner, secret); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	db, _ := sqliteStore(b)
	c := openCustody(b, custody.Config{DB: db, Wrapper: fileKey(b)})
	ids := putMany(b, c, 100)
	i := 0
	defer reportCPU(b)()
	for b.Loop() {
		if _, err := c.Get(b.Context(), ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkRewrap10000(b *testing.B) {
	db, _ := sqliteStore(b)
	c := openCustody(b, custody.Config{DB: db, Wrapper: fileKey(b)})
	putMany(b, c, 10_000)
	b.ResetTimer()
	defer reportCPU(b)()
	for range b.N {
		if err := c.Rewrap(b.Context(), fileKey(b), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// reportCPU says what the process has spent since it was called, for each round: on
// a machine that does other things as well, the clock says little.
func reportCPU(b *testing.B) func() {
	spent := func() time.Duration {
		var use unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
			b.Fatal(err)
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	before := spent()
	return func() { b.ReportMetric(float64(spent()-before)/float64(b.N), "cpu-ns/op") }
}

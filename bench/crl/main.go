// SPDX-License-Identifier: Apache-2.0

// Command crl measures what it costs to tell the world that certificates are revoked: lists of up to
// a million entries beside the standard library's, a block of thousands of certificates until it
// is on the list and in OCSP, and how long one answer of OCSP takes.
//
//	go run ./bench/crl [-entries 1000,10000,100000,1000000] [-blocks 1000,10000,20000]
//
// Each size is measured in a process of its own, so that its peak of memory is its own. Everything is on a SQLite
// store that is made durable at each commit; twice as many certificates are issued as are revoked.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

func main() {
	entries := flag.String("entries", "1000,10000,100000,1000000", "how many entries lists have")
	blocks := flag.String("blocks", "1000,10000,20000", "how many certificates are blocked at once")
	one := flag.String("one", "", "used by the program itself")
	flag.Parse()
	err := run(*one, *entries, *blocks)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crl:", err)
		os.Exit(1)
	}
}

func run(one, entries, blocks string) error {
	if one == "" {
		return runAll(entries, blocks)
	}
	n, err := strconv.Atoi(entries)
	if err != nil {
		return err
	}
	if one == "std" {
		return standard(n)
	}
	return ours(context.Background(), n, blocks)
}

// runAll measures each size in a process of its own.
func runAll(entries, blocks string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for n := range strings.SplitSeq(entries, ",") {
		for _, who := range []string{"std", "ours"} {
			cmd := exec.Command(self, "-one", who, "-entries", n, "-blocks", blocks)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// An authority is a CA with its key.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Bench CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return authority{certificate, key}, err
}

// standard makes a list with crypto/x509.
func standard(n int) error {
	a, err := newAuthority()
	if err != nil {
		return err
	}
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for i := range n {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(serial(2 * i)), RevocationTime: time.Now(), ReasonCode: 4})
	}
	m := begin()
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	if err != nil {
		return err
	}
	m.end(fmt.Sprintf("%8d entries  crypto/x509: sign", n), len(der), 0)
	return nil
}

// serial is the serial number of the ith certificate that was issued.
func serial(i int) []byte {
	b := make([]byte, 16)
	b[0] = 1
	big.NewInt(int64(i)).FillBytes(b[8:])
	return b
}

func revoked(i int) store.Revocation {
	return store.Revocation{Authority: 7, Serial: serial(i), Shard: store.CompleteList, At: time.Now(), Reason: 4, NotAfter: time.Now().AddDate(0, 3, 0), By: "bench"}
}

// ours measures the publisher: a list from the rows, the next one, blocks, and OCSP.
func ours(ctx context.Context, n int, blocks string) error {
	dir, err := os.MkdirTemp("", "bench-crl")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tally.db")
	db, err := store.Open(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	a, err := newAuthority()
	if err != nil {
		return err
	}
	if err := issue(ctx, path, 2*n+200_000); err != nil {
		return err
	}
	if err := revoke(ctx, db, 0, n); err != nil {
		return err
	}
	h := &house{n: n, db: db, p: revocation.New(revocation.Config{
		DB: db, Now: time.Now, URL: "http://pki.example", OCSP: true, Issued: db.IsIssued,
		Authorities: func(context.Context) ([]revocation.Authority, error) {
			return []revocation.Authority{{ID: 7, Name: "bench", Certificate: a.certificate}}, nil
		},
		Signer: func(context.Context, string) (crypto.Signer, error) { return a.key, nil },
	}), a: a}
	return h.measure(ctx, blocks)
}

// revoke revokes the certificates with even numbers, up to the nth of these.
func revoke(ctx context.Context, db *store.DB, from, to int) error {
	const batch = 10_000
	for ; from < to; from += batch {
		var list []store.Revocation
		for i := from; i < min(from+batch, to); i++ {
			list = append(list, revoked(2*i))
		}
		if _, err := db.Revoke(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// A meter measures CPU time, and the peak of memory above what was in use before.
type meter struct {
	cpu      float64
	resident int
	wall     time.Time
}

func begin() meter {
	runtime.GC()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew (proc(5))
	return meter{cpuSeconds(), status("VmRSS"), time.Now()}
}

// end prints what it took. had is how much of what was in use before belongs to it.
func (m meter) end(what string, size, had int) {
	used := cpuSeconds() - m.cpu
	peak := status("VmHWM") - m.resident + had
	fmt.Printf("%-48s %7.3f CPU s %7.2f s  %5.1f MB, memory %6.1f MB = %4.1f times\n", what, used, time.Since(m.wall).Seconds(),
		float64(size)/1e6, float64(peak)/1e6, float64(peak)/float64(max(size, 1)))
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// status reads a size in octets from /proc/self/status.
func status(field string) int {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), field+":")
	kilobytes := 0
	_, _ = fmt.Sscan(rest, &kilobytes)
	return kilobytes << 10
}

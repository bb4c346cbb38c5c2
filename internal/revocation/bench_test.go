// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// BenchmarkSign makes the next list of one of n entries, with one more: merging, hashing and signing, beside
// the standard library. B/op is what the new list takes; the old one is there as well.
func BenchmarkSign(b *testing.B) {
	key := newKey(b, "ecdsa-p256")
	ca := newCA(b, "Lab CA", key)
	f := face{issuer: ca, number: 1, this: noon, next: noon.Add(time.Hour)}
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		e := newEntries(ca, 0)
		for i := range n {
			e.add(sorted(i))
		}
		old, err := e.seal(f, key)
		must(b, err)
		b.Run(fmt.Sprintf("ours/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				if _, err := merge(ca, old.entries(), old.Entries, []store.Revocation{dead(7)}).seal(f, key); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu()-before)/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(old.Size), "list-B")
		})
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour)}
		for i := range n {
			r := sorted(i)
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(r.Serial), RevocationTime: r.At, ReasonCode: r.Reason})
		}
		b.Run(fmt.Sprintf("crypto-x509/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				if _, err := x509.CreateRevocationList(rand.Reader, template, ca, key); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu()-before)/float64(b.N), "cpu-s/op")
		})
	}
}

// sorted is the ith of revocations in the order of serial numbers, with a reason.
func sorted(i int) store.Revocation {
	r := dead(2)
	r.Serial = append([]byte{1, 2, 3, 4, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}, serialOf(i)[:8]...)
	return r
}

// cpu returns the CPU seconds of the process.
func cpu() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkAnswer looks up, signs and encodes answers of OCSP that were not kept.
func BenchmarkAnswer(b *testing.B) {
	h := newHouse(b)
	h.revoke(0, 50_000)
	h.flush()
	a := Authority{ID: 7, Name: "lab", Certificate: h.ca}
	queries := make([][]byte, 100_000)
	for i := range queries {
		queries[i] = simpleQuery(h.ca, i)
	}
	before, i := cpu(), 0
	for b.Loop() {
		if i%len(queries) == 0 {
			h.p.ocsp.forget(7)
		}
		if _, status := h.p.answer(b.Context(), a, queries[i%len(queries)]); status != 0 {
			b.Fatal(status)
		}
		i += 7919
	}
	b.ReportMetric((cpu()-before)/float64(b.N)*1e6, "cpu-µs/op")
}

// SPDX-License-Identifier: Apache-2.0

// Command batchgcd measures the search for RSA keys that share a prime:
// weakkey.Shared, weakkey.Product, and the classic product and remainder tree
// written with math/big alone, on the same moduli in one run; or, with -survey,
// the rule shared-prime as keys arrive.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/rules/weakkey"
)

func main() {
	count := flag.Int("n", 10_000, "number of moduli")
	bits := flag.Int("bits", 2048, "length of each, in bits")
	pairs := flag.Int("pairs", 5, "pairs that share a prime")
	classic := flag.Bool("classic", true, "measure math/big's way too")
	fresh := flag.Int("new", 10, "new keys to test against the stored product")
	surveys := flag.Bool("survey", false, "measure the rule shared-prime instead")
	seed := flag.Uint64("seed", 1, "seed of the random numbers")
	flag.Parse()
	if *count < 2*(*pairs) || *bits < 64 {
		fmt.Fprintln(os.Stderr, "batchgcd: at least two moduli for each pair, of at least 64 bits")
		os.Exit(2)
	}
	random := rand.NewChaCha8([32]byte{byte(*seed), byte(*seed >> 8)})
	work := func() error { return run(random, *count, *bits, *pairs, *classic, *fresh) }
	if *surveys {
		work = func() error { return survey(random, *count, *bits, *fresh) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "batchgcd:", err)
		os.Exit(1)
	}
}

func run(random *rand.ChaCha8, count, bits, pairs int, classic bool, fresh int) error {
	ctx := context.Background()
	moduli := generate(random, count, bits, pairs)

	start := measure()
	shares, err := weakkey.Shared(ctx, weakkey.Moduli(moduli))
	if err != nil {
		return err
	}
	ours := start.report("weakkey.Shared")
	if found := broken(shares, bits); found != 2*pairs {
		return fmt.Errorf("weakkey.Shared found %d keys, not the %d planted", found, 2*pairs)
	}

	start = measure()
	var product weakkey.Product
	if err := product.Multiply(ctx, moduli); err != nil {
		return err
	}
	start.report("weakkey.Product of all")
	arrived := generate(random, fresh, bits, 0)
	start = measure()
	if _, err := product.Coprime(ctx, arrived); err != nil {
		return err
	}
	start.report(fmt.Sprintf("  %d new keys against it", fresh))

	if classic {
		start = measure()
		found := 0
		for _, divisor := range classicGCD(moduli) {
			if divisor.BitLen() > bits/4 {
				found++
			}
		}
		theirs := start.report("math/big, classic trees")
		if found != 2*pairs {
			return fmt.Errorf("the classic way found %d keys, not the %d planted", found, 2*pairs)
		}
		fmt.Printf("%-28s %8.2f\n", "classic / weakkey.Shared", theirs/ours)
	}
	return nil
}

// broken counts the moduli with a long factor in common. The moduli here are
// products of odd numbers, not of primes, because primes take a minute for each
// thousand; so many have small factors in common.
func broken(shares []weakkey.Share, bits int) int {
	return len(slices.DeleteFunc(shares, func(s weakkey.Share) bool { return s.Bits <= bits/4 }))
}

// generate returns random moduli, each the product of two odd numbers; the pairs
// stand far apart and have one of these in common.
func generate(random *rand.ChaCha8, count, bits, pairs int) []*big.Int {
	moduli := make([]*big.Int, count)
	for i := range moduli {
		moduli[i] = new(big.Int).Mul(oddNumber(random, bits/2), oddNumber(random, bits-bits/2))
	}
	for i := range pairs {
		secret := oddNumber(random, bits/2)
		for _, at := range []int{i, count - 1 - i} {
			moduli[at].Mul(secret, oddNumber(random, bits-bits/2))
		}
	}
	return moduli
}

func oddNumber(random *rand.ChaCha8, bits int) *big.Int {
	buffer := make([]byte, (bits+7)/8)
	random.Read(buffer) // never fails (math/rand/v2)
	n := new(big.Int).SetBytes(buffer)
	n.Rsh(n, uint(len(buffer)*8-bits))
	return n.SetBit(n, bits-1, 1).SetBit(n, bits-2, 1).SetBit(n, 0, 1)
}

// classicGCD returns the common divisor of each modulus with the product of all
// others (Heninger et al. 2012, section 3.3; Bernstein 2004).
func classicGCD(moduli []*big.Int) []*big.Int {
	levels := [][]*big.Int{moduli}
	for len(levels[len(levels)-1]) > 1 {
		below := levels[len(levels)-1]
		level := make([]*big.Int, (len(below)+1)/2)
		for i := range level {
			level[i] = below[2*i]
			if 2*i+1 < len(below) {
				level[i] = new(big.Int).Mul(below[2*i], below[2*i+1])
			}
		}
		levels = append(levels, level)
	}
	rests := levels[len(levels)-1]
	for l := len(levels) - 2; l >= 0; l-- {
		next := make([]*big.Int, len(levels[l]))
		for i, n := range levels[l] {
			next[i] = new(big.Int).Mul(n, n)
			next[i].Rem(rests[i/2], next[i])
		}
		rests, levels[l+1] = next, nil
	}
	for i, n := range moduli {
		rests[i].Quo(rests[i], n)
		rests[i].GCD(nil, nil, rests[i], n)
	}
	return rests
}

// A mark is where a measurement starts.
type mark struct{ cpu float64 }

func measure() mark {
	debug.FreeOSMemory()
	// Writing 5 resets the peak that the kernel keeps (proc(5), clear_refs).
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // without it the peak is that of the whole run
	return mark{cpuSeconds()}
}

// report prints what was used since the mark, and returns the CPU seconds.
func (m mark) report(name string) float64 {
	used := cpuSeconds() - m.cpu
	fmt.Printf("%-28s %8.2f CPU s, peak %5d MiB\n", name, used, peakMiB())
	return used
}

// cpuSeconds returns user and system time of all threads.
func cpuSeconds() float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // cannot happen with RUSAGE_SELF (getrusage(2))
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// peakMiB returns the largest resident memory since the last mark, 0 where the
// kernel does not say.
func peakMiB() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kib int
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			break
		}
	}
	return kib / 1024
}

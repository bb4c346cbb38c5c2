// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// found is a Share in a form that compares.
type found struct {
	Modulus string
	Bits    int
	With    []string
}

func readable(shares []Share) []found {
	var out []found
	for _, s := range shares {
		f := found{Modulus: s.Modulus.Text(62), Bits: s.Bits}
		for _, o := range s.With {
			f.With = append(f.With, o.Text(62))
		}
		slices.Sort(f.With)
		out = append(out, f)
	}
	return out
}

// pairwise is what Shared promises, computed pair by pair.
func pairwise(moduli []*big.Int) []Share {
	var distinct []*big.Int
	for _, n := range moduli {
		if n.BitLen() > 1 && !slices.ContainsFunc(distinct, func(m *big.Int) bool { return m.Cmp(n) == 0 }) {
			distinct = append(distinct, n)
		}
	}
	var shares []Share
	for _, n := range distinct {
		share, product := Share{Modulus: n}, big.NewInt(1)
		for _, m := range distinct {
			if m == n {
				continue
			}
			product.Mul(product, m)
			if g := new(big.Int).GCD(nil, nil, n, m); g.BitLen() > 1 && g.Cmp(n) < 0 {
				share.Bits = max(share.Bits, g.BitLen())
				share.With = append(share.With, m)
			}
		}
		if g := product.GCD(nil, nil, n, product); g.BitLen() > 1 && g.Cmp(n) < 0 {
			share.Bits = g.BitLen()
		}
		if share.Bits > 0 {
			shares = append(shares, share)
		}
	}
	return shares
}

// TestSharedIsPairwise holds Shared to the plain method on numbers that have
// everything in common that numbers can: repeated ones, divisors of each other,
// powers, evens, both primes shared, and any split into shards.
func TestSharedIsPairwise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		factor := rapid.SampledFrom([]int64{1, 2, 3, 5, 7, 11, 13, 65537, 4294967291, 4294967311, 2305843009213693951, 9223372036854775783})
		modulus := rapid.Custom(func(t *rapid.T) *big.Int {
			n := big.NewInt(1)
			for _, f := range rapid.SliceOfN(factor, 1, 5).Draw(t, "factors") {
				n.Mul(n, big.NewInt(f))
			}
			return n
		})
		moduli := rapid.SliceOfN(modulus, 0, MaxWith).Draw(t, "moduli")
		limit := rapid.SampledFrom([]int{1, 100, 300, shardBits}).Draw(t, "bits of a shard")
		got, err := shared(context.Background(), Moduli(moduli), limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(readable(pairwise(moduli)), readable(got)); diff != "" {
			t.Fatalf("by pairs (-), by tree (+):\n%s", diff)
		}
		suspects, err := Suspects(context.Background(), Moduli(moduli))
		if err != nil {
			t.Fatal(err)
		}
		alone, err := Shared(context.Background(), Moduli(suspects))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(readable(got), readable(alone)); diff != "" {
			t.Fatalf("of all (-), of the suspects alone (+):\n%s", diff)
		}
	})
}

// TestSharedLongTree plants pairs among so many moduli that the upper levels use
// the fast multiplication, in one shard and in several.
func TestSharedLongTree(t *testing.T) {
	const count = 1500
	moduli := make([]*big.Int, count)
	for i := range moduli {
		moduli[i] = new(big.Int).Mul(odd(1024), odd(1024))
	}
	planted := []int{0, 1, 700, 701, 1499}
	secret := prime(t, 1024)
	for _, i := range planted {
		moduli[i] = new(big.Int).Mul(secret, prime(t, 1024))
	}
	for _, limit := range []int{shardBits, 2048 * 400} {
		shares, err := shared(t.Context(), Moduli(moduli), limit)
		if err != nil {
			t.Fatal(err)
		}
		var indexes []int
		for _, s := range shares {
			if s.Bits > 512 { // the random ones have small factors in common
				indexes = append(indexes, slices.Index(moduli, s.Modulus))
				if s.Bits != 1024 || len(s.With) < len(planted)-1 {
					t.Errorf("%d bits in common with %d others, not 1024 with at least %d", s.Bits, len(s.With), len(planted)-1)
				}
			}
		}
		if diff := cmp.Diff(planted, indexes); diff != "" {
			t.Errorf("shards of %d bits: planted (-), found (+):\n%s", limit, diff)
		}
	}
}

// TestSharedBudget shows that a flood of moduli that concern each other is
// reported whole, even where partners are not named any more.
func TestSharedBudget(t *testing.T) {
	p, q, r := prime(t, 64), prime(t, 64), prime(t, 64)
	triangle := []*big.Int{new(big.Int).Mul(p, q), new(big.Int).Mul(q, r), new(big.Int).Mul(r, p)}
	var classes []*class
	for _, n := range triangle {
		classes = append(classes, &class{divisor: n, members: []*Share{{Modulus: n}}})
	}
	if err := relate(t.Context(), classes, 2); err != nil {
		t.Fatal(err)
	}
	for i, c := range classes {
		if !c.judge(c.members[0]) || c.members[0].Bits != 64 && i == 0 {
			t.Errorf("modulus %d was dropped, or not told apart: %+v", i, c.members[0])
		}
	}
}

func TestSharedPassesOver(t *testing.T) {
	long := new(big.Int).Lsh(big.NewInt(3), MaxBits)
	moduli := []*big.Int{big.NewInt(0), big.NewInt(-15), big.NewInt(1), long, big.NewInt(3), long}
	shares, err := Shared(t.Context(), Moduli(moduli))
	if err != nil || len(shares) != 0 {
		t.Errorf("%d shares, error %v, not none", len(shares), err)
	}
}

func TestSharedStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	moduli := Moduli([]*big.Int{big.NewInt(15), big.NewInt(21), big.NewInt(77)})
	if _, err := Shared(ctx, moduli); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, not that of the context", err)
	}
	broken := errors.New("the disk is gone")
	source := func(func(*big.Int) error) error { return broken }
	if _, err := Shared(t.Context(), source); !errors.Is(err, broken) {
		t.Errorf("error %v, not that of the source", err)
	}
}

func TestReciprocal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 6000).Draw(t, "d"))
		d.Add(d, big.NewInt(1))
		n := rapid.IntRange(1, 900).Draw(t, "n")
		one := new(big.Int).Lsh(big.NewInt(1), uint(wordBits*(len(d.Bits())+n)))
		off := new(big.Int).Sub(one.Quo(one, d), reciprocal(d, n))
		if off.CmpAbs(big.NewInt(8)) > 0 {
			t.Fatalf("off by %v units", off)
		}
		x := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 20000).Draw(t, "x"))
		if got, want := newDivisor(d).mod(x), new(big.Int).Mod(x, d); got.Cmp(want) != 0 {
			t.Fatalf("%v mod %v is %v, not %v", x, d, got, want)
		}
	})
}

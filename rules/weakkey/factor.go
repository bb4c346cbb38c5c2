// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"math"
	"math/big"
	"math/bits"
)

// FermatRounds is how many rounds ClosePrimes is usually given. Keys known to be
// broken this way fell in the first round (CVE-2022-26320); sound ones of 2048
// bits would take some 2^1000.
const FermatRounds = 100

// ClosePrimes says after how many rounds of Fermat's method the modulus n falls
// apart, at most the given number; 0 when it does not. A square falls in the
// first round. It costs about a microsecond a round, and a square root.
//
// Fermat writes n = a^2 - b^2 = (a-b)(a+b) and tries a from the root of n
// upwards, so two odd primes of the same length that differ in their lower half
// only are found at once.
func ClosePrimes(n *big.Int, rounds int) int {
	if n.BitLen() < 4 || n.BitLen() > MaxBits || n.Bit(0) == 0 || n.Sign() < 0 {
		return 0
	}
	a := new(big.Int).Sqrt(n)
	square := new(big.Int).Mul(a, a)
	if square.Cmp(n) < 0 {
		a.Add(a, big.NewInt(1))
		square.Mul(a, a)
	}
	rest := square.Sub(square, n)                   // a^2 - n
	step := a.Lsh(a, 1).Add(a, big.NewInt(1))       // (a+1)^2 - a^2
	most, two := new(big.Int).Set(n), big.NewInt(2) // 2a+1 at which a-b is 1
	for round := 1; round <= rounds && step.Cmp(most) <= 0; round++ {
		if isSquare(rest) {
			return round
		}
		rest.Add(rest, step)
		step.Add(step, two)
	}
	return 0
}

// isSquare says whether n is a square. Only 12 of the 64 residues modulo 64 are
// those of squares, and 16 of the 63, which spares 95 % of the roots.
func isSquare(n *big.Int) bool {
	if len(n.Bits()) == 0 {
		return true
	}
	const mod64, mod63 uint64 = 0x0202021202030213, 0x0402483012450293
	if mod64>>residue(n, 64)&1 == 0 || mod63>>residue(n, 63)&1 == 0 {
		return false
	}
	root := new(big.Int).Sqrt(n)
	return root.Mul(root, root).Cmp(n) == 0
}

// smallFactorBound is the bound that SP 800-89 section 5.3.3 sets to the factors
// of a modulus: none may be smaller.
const smallFactorBound = 752

// SmallFactor returns the smallest prime below 752 that divides n, or 0. A
// modulus with such a factor was damaged, or never was a modulus. It costs some
// ten microseconds: divisors are multiplied while they fit a machine word, and n
// is divided once for each such product.
func SmallFactor(n *big.Int) int {
	if n.Sign() <= 0 || n.BitLen() > MaxBits {
		return 0
	}
	if n.Bit(0) == 0 {
		return 2
	}
	for first := uint(3); first < smallFactorBound; {
		product, next := uint(1), first
		for next < smallFactorBound && product < math.MaxUint/smallFactorBound {
			product *= next
			next += 2
		}
		rest := residue(n, product)
		for ; first < next; first += 2 {
			if rest%first == 0 {
				return int(first)
			}
		}
	}
	return 0
}

// residue returns n mod m without an allocation.
func residue(n *big.Int, m uint) uint {
	words := n.Bits()
	var r uint
	for i := len(words) - 1; i >= 0; i-- {
		r = bits.Rem(r, uint(words[i]), m)
	}
	return r
}

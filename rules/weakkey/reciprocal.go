// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"math/big"
	"math/bits"

	"github.com/remyoudompheng/bigfft"
)

const wordBits = bits.UintSize

// reciprocal returns the inverse of d > 0 in units of 2^-(wordBits*(len(d)+n)),
// which has n or n+1 words. It is off by a few units at most.
//
// Newton's iteration doubles the number of right digits with two
// multiplications, so it costs about as much as three of n words, where
// math/big would divide in n^1.6.
func reciprocal(d *big.Int, n int) *big.Int {
	const direct, guard = 64, 3
	m := len(d.Bits())
	if m > n+guard { // further words would not reach the result
		d = shiftWords(d, n+guard-m)
		m = n + guard
	}
	if n <= direct {
		one := new(big.Int).Lsh(big.NewInt(1), uint(wordBits*(m+n)))
		return one.Quo(one, d)
	}
	// With r right to h words, d*r = 1-e, and 1/d = r/(1-e) is about r*(1+e);
	// what is left out is e^2, beyond the nth word.
	h := n/2 + 2
	r := reciprocal(d, h)
	e := new(big.Int).Lsh(big.NewInt(1), uint(wordBits*(m+h)))
	e.Sub(e, bigfft.Mul(r, d))
	spare := max(0, m-h-guard) // words of e that would not reach the result
	correction := bigfft.Mul(r, shiftWords(e, -spare))
	correction = shiftWords(correction, n-2*h-m+spare)
	return correction.Add(correction, shiftWords(r, n-h))
}

// shiftWords shifts x left by a number of words, or right by a negative one,
// rounding towards minus infinity.
func shiftWords(x *big.Int, words int) *big.Int {
	if words < 0 {
		return new(big.Int).Rsh(x, uint(-words*wordBits))
	}
	return new(big.Int).Lsh(x, uint(words*wordBits))
}

// A divisor reduces long numbers by multiplying with its inverse (Barrett).
type divisor struct {
	d, inverse *big.Int
	words      int // of d; the inverse has about as many
}

func newDivisor(d *big.Int) divisor {
	words := len(d.Bits())
	return divisor{d, reciprocal(d, words+1), words}
}

// mod returns x mod d for any x >= 0, as many words of d at a time.
func (v divisor) mod(x *big.Int) *big.Int {
	rest, words := new(big.Int), x.Bits()
	for len(words) > 0 {
		low := len(words) - v.words
		if len(words) <= 2*v.words && rest.Sign() == 0 {
			low = 0
		}
		low = max(low, 0)
		rest = shiftWords(rest, len(words)-low)
		rest = v.modTwice(rest.Add(rest, new(big.Int).SetBits(words[low:])))
		words = words[:low]
	}
	return rest
}

// modTwice returns x mod d for 0 <= x < d * 2^(wordBits*words), twice d's length.
func (v divisor) modTwice(x *big.Int) *big.Int {
	// Only the upper words of x matter to the quotient, which errs by a few.
	upper := shiftWords(x, 1-v.words)
	quotient := shiftWords(bigfft.Mul(upper, v.inverse), -(v.words + 2))
	rest := quotient.Sub(x, bigfft.Mul(quotient, v.d))
	for rest.Sign() < 0 {
		rest.Add(rest, v.d)
	}
	for rest.Cmp(v.d) >= 0 {
		rest.Sub(rest, v.d)
	}
	return rest
}

// fraction returns the fractional part of x/d in units of 2^-w, w being
// precision(d) words, with or without a whole part, for 0 <= x < d*k where k is
// small. It errs by a few times k units.
func (v divisor) fraction(x *big.Int) *big.Int {
	return shiftWords(bigfft.Mul(x, v.inverse), -v.words)
}

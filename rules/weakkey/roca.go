// SPDX-License-Identifier: Apache-2.0

package weakkey

import "math/big"

// rocaPrimes are the odd primes up to 167. With 2 their product is the smallest
// of the numbers M by which the library forms its primes, k*M + 65537^a mod M,
// and it divides the larger ones (Nemec et al., section 2.1). So a modulus is a
// power of 65537 modulo each of these.
//
// Bit i of residues says that i is a power of 65537. Primes of which 65537
// generates every residue but 0 say nothing and are left out. The order is that
// of the power to refute, so that a sound key is done after two or three.
var rocaPrimes = [...]struct {
	prime    uint
	residues [3]uint64
}{
	{97, [3]uint64{0x6000001800000002, 0x100000000}},
	{37, [3]uint64{0x4000402}},
	{79, [3]uint64{0x4010404000640502, 0xb}},
	{11, [3]uint64{0x402}},
	{61, [3]uint64{0x1434026619900b0a}},
	{73, [3]uint64{0x811a48004962078a, 0x147}},
	{127, [3]uint64{0xa04c81430a190536, 0x6ca09850c2813205}},
	{151, [3]uint64{0x1a2412003d18030a, 0xbc00482458dac35b, 0x50c018}},
	{13, [3]uint64{0x161a}},
	{17, [3]uint64{0x1a316}},
	{19, [3]uint64{0x30af2}},
	{53, [3]uint64{0x12dd703303aed2}},
	{71, [3]uint64{0x164729716b1d977e, 0x1}},
	{103, [3]uint64{0xbd964257768fe396, 0x16380e9115}},
	{107, [3]uint64{0x633397be6a897e1a, 0x27816ea9821}},
	{109, [3]uint64{0xb003685cbe7192ba, 0x1752639f4e85}},
	{157, [3]uint64{0x71bd5baca0b7e1a, 0xd76af63826461899, 0x161fb414}},
}

// ROCA says whether n has the structure of RSA moduli from the Infineon library
// RSALib (CVE-2017-15361), whose private half can be computed from it. A sound
// modulus is refuted within a microsecond; one in 2^154 would be accused.
func ROCA(n *big.Int) bool {
	if n.Sign() <= 0 || n.BitLen() > MaxBits {
		return false
	}
	for i := range rocaPrimes {
		r := residue(n, rocaPrimes[i].prime)
		if rocaPrimes[i].residues[r/64]>>(r%64)&1 == 0 {
			return false
		}
	}
	return rocaPower(n)
}

// rocaOrders are the prime powers whose product is the order of 65537 modulo
// the product of the first 39 primes.
var rocaOrders = [...]int64{16, 81, 25, 7, 11, 13, 17, 23, 29, 37, 41, 53, 83}

// rocaPower says whether n is a power of 65537 modulo the product of the first
// 39 primes. One sound modulus in 2^27 gets here, because a power of 65537
// modulo each prime need not be one modulo their product. Pohlig and Hellman's
// way of taking a discrete logarithm tells: in a cyclic group of a smooth order
// it is enough to look in the subgroup of each prime power.
func rocaPower(n *big.Int) bool {
	modulus, order := big.NewInt(2), big.NewInt(1)
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			modulus.Mul(modulus, big.NewInt(p))
		}
	}
	for _, q := range rocaOrders {
		order.Mul(order, big.NewInt(q))
	}
	one, generator := big.NewInt(1), big.NewInt(65537)
	if new(big.Int).Exp(n, order, modulus).Cmp(one) != 0 {
		return false
	}
	for _, q := range rocaOrders {
		cofactor := new(big.Int).Div(order, big.NewInt(q))
		step := new(big.Int).Exp(generator, cofactor, modulus)
		want := new(big.Int).Exp(n, cofactor, modulus)
		power, found := big.NewInt(1), false
		for range q {
			found = found || power.Cmp(want) == 0
			power.Mul(power, step).Mod(power, modulus)
		}
		if !found {
			return false
		}
	}
	return true
}

// SPDX-License-Identifier: Apache-2.0

// Package weakkey finds public keys whose private half can be computed, from
// the public numbers alone. It never computes the private half, nor returns a
// factor: that a key is lost is what its owner needs to know.
//
//   - Shared finds RSA moduli with a prime in common, among any number of them
//     (Heninger et al., "Mining Your Ps and Qs", USENIX Security 2012; Bernstein,
//     "Scaled remainder trees", 2004). Product tells whether new keys have one in
//     common with any old one, without looking at the old ones again.
//   - ROCA recognises keys of the Infineon library (Nemec et al., "The Return of
//     Coppersmith's Attack", CCS 2017; CVE-2017-15361).
//   - ClosePrimes recognises moduli whose primes are neighbours (Böck, "Fermat
//     Factorization in the Wild", IACR ePrint 2023/026; CVE-2022-26320).
//   - SmallFactor recognises moduli that are no product of two large primes.
//   - Nonce reads what two ECDSA signatures must not share (Breitner and
//     Heninger, "Biased Nonce Sense", FC 2019).
//
// The functions are pure. Every number may come from an attacker: the callers
// bound its length with MaxBits, and each function states its cost.
package weakkey

// MaxBits is the length of the longest RSA modulus that is looked at, in bits.
// A certificate may carry a number of any length, and most of what is done
// here costs the square of it.
const MaxBits = 16384

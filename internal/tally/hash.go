// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Identifiers are compared by 64-bit hashes. With ten million records on each
// side the chance that any two of different text meet is about one in 180,000.
// The hash is the same in every run, so that ties fall alike; a thief who finds
// an identifier that meets a holder's could as well have copied it.
//
// What text of a thief's choice must not make equal has hashes of 64 bits with a
// secret that each tally makes anew: the identity of records (Writer.identify) and
// kinds (class.hash). Nobody can try them without the secret, and a collision in one
// run says nothing of the next. That one of ten million forged records takes the
// place of one of ten million others is as likely as one in 180,000.

// mix multiplies to 128 bits and folds them, the step of wyhash (Wang Yi, 2019).
// The factors are folded in too: one that is 0 would erase the other.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return a ^ b ^ high ^ low
}

const (
	prime1 = 0xa0761d6478bd642f
	prime2 = 0xe7037ed1a0b428db
	prime3 = 0x8ebc6af09c88c6e3
)

// add hashes text on top of seed. It is never 0, which stands for "none".
func add(seed uint64, text []byte) uint64 {
	h := seed ^ prime1 ^ uint64(len(text))
	for len(text) > 16 {
		h = mix(binary.LittleEndian.Uint64(text)^prime2, binary.LittleEndian.Uint64(text[8:])^h)
		text = text[16:]
	}
	var rest [16]byte
	copy(rest[:], text)
	h = mix(binary.LittleEndian.Uint64(rest[:])^prime2, binary.LittleEndian.Uint64(rest[8:])^h)
	return max(mix(h^prime3, prime1), 1)
}

// bytesOf returns the bytes of s, to read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// addNumber hashes n on top of seed.
func addNumber(seed uint64, n int64) uint64 {
	return max(mix(seed^prime1, uint64(n)^prime3), 1)
}

// hashOf hashes an identifier; "" is 0.
func hashOf(s string) uint64 {
	if s == "" {
		return 0
	}
	return add(0, bytesOf(s))
}

// fold makes 32 bits of a hash; 0 stays 0, and nothing else becomes it.
func fold(h uint64) uint32 {
	if h == 0 {
		return 0
	}
	return max(uint32(h>>32)^uint32(h), 1)
}

// looseHash hashes text without regard to case, to 32 bits, for what decides
// between matches and makes none; "" is 0. Some other characters meet as well.
func looseHash(s string) uint32 {
	if s == "" {
		return 0
	}
	const lower = 0x2020202020202020
	h := prime1 ^ uint64(len(s))
	b := bytesOf(s)
	for ; len(b) > 8; b = b[8:] {
		h = mix(h^prime2, binary.LittleEndian.Uint64(b)|lower)
	}
	var rest [8]byte
	copy(rest[:], b)
	return fold(mix(h^prime3, binary.LittleEndian.Uint64(rest[:])|lower))
}

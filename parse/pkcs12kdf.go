// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"hash"
	"math/big"
	"unicode/utf16"
)

// bmpPassword writes a passphrase as PKCS#12 hashes it: UTF-16, big-endian,
// with a terminator (RFC 7292 appendix B.1).
func bmpPassword(passphrase string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(passphrase + "\x00")) {
		b = append(b, byte(unit>>8), byte(unit))
	}
	return b
}

// deriveKey is RFC 7292 appendix B.2; purpose is its ID byte: 1 for a key, 2
// for an IV, 3 for a MAC key.
func deriveKey(newHash func() hash.Hash, password, salt []byte, rounds int, purpose byte, size int) []byte {
	h := newHash()
	v := h.BlockSize()
	diversifier := make([]byte, v)
	for i := range diversifier {
		diversifier[i] = purpose
	}
	input := append(repeat(salt, v), repeat(password, v)...)
	var derived []byte
	for len(derived) < size {
		h.Reset()
		h.Write(diversifier)
		h.Write(input)
		sum := h.Sum(nil)
		for range rounds - 1 {
			h.Reset()
			h.Write(sum)
			sum = h.Sum(sum[:0])
		}
		derived = append(derived, sum...)
		addToBlocks(input, repeat(sum, v)[:v])
	}
	return derived[:size]
}

// repeat fills a whole number of blocks of v bytes with copies of b.
func repeat(b []byte, v int) []byte {
	if len(b) == 0 {
		return nil
	}
	out := make([]byte, (len(b)+v-1)/v*v)
	for i := range out {
		out[i] = b[i%len(b)]
	}
	return out
}

// addToBlocks adds addend and one to each block of input, modulo its size.
func addToBlocks(input, addend []byte) {
	v := len(addend)
	step := new(big.Int).SetBytes(addend)
	step.Add(step, big.NewInt(1))
	limit := new(big.Int).Lsh(big.NewInt(1), uint(v)*8)
	for ; len(input) > 0; input = input[v:] {
		sum := new(big.Int).SetBytes(input[:v])
		sum.Add(sum, step).Mod(sum, limit)
		sum.FillBytes(input[:v])
	}
}

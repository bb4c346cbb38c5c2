// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/tallystick/tallystick"
)

// hashUTI hashes a token id in its normal form (tallystick.NormalUTI); "" is 0.
// Nearly all of them are 22 letters of base64, which are decoded here: making the
// text of a GUID and hashing that takes several times as long.
func hashUTI(uti string) uint64 {
	if uti == "" {
		return 0
	}
	if high, low, ok := shortUTI(uti); ok {
		return hashGUID(high, low)
	}
	normal := tallystick.NormalUTI(uti)
	if high, low, ok := guidOf(normal); ok {
		return hashGUID(high, low)
	}
	return hashOf(normal)
}

// hashGUID hashes a GUID as it is written: high are its first 16 digits.
func hashGUID(high, low uint64) uint64 {
	return max(mix(mix(high^prime2, low^prime1)^prime3, prime1), 1)
}

// shortUTI decodes 16 bytes that are written in base64url without padding
// (RFC 4648 section 5), of which a GUID has the first half in the order of small
// machines.
func shortUTI(uti string) (high, low uint64, ok bool) {
	if len(uti) != 22 {
		return 0, 0, false
	}
	first, ok1 := sixes(uti[:10])
	second, ok2 := sixes(uti[10:20])
	third, ok3 := sixes(uti[20:])
	if !ok1 || !ok2 || !ok3 || third&15 != 0 { // 132 bits, of which the last four are none
		return 0, 0, false
	}
	raw := first<<4 | second>>56
	low = second<<8 | third>>4
	var bytes [8]byte
	binary.BigEndian.PutUint64(bytes[:], raw)
	high = uint64(binary.LittleEndian.Uint32(bytes[:]))<<32 | uint64(binary.LittleEndian.Uint16(bytes[4:]))<<16 | uint64(binary.LittleEndian.Uint16(bytes[6:]))
	return high, low, true
}

// sixes reads letters of base64url, six bits each.
func sixes(s string) (bits uint64, ok bool) {
	bad := uint8(0)
	for i := range len(s) {
		digit := base64url[s[i]] - 1
		bad |= digit
		bits = bits<<6 | uint64(digit&63)
	}
	return bits, bad < 64
}

// base64url has the values of the letters, and one more.
var base64url = [256]uint8{
	'A': 1, 'B': 2, 'C': 3, 'D': 4, 'E': 5, 'F': 6, 'G': 7, 'H': 8, 'I': 9, 'J': 10, 'K': 11, 'L': 12, 'M': 13,
	'N': 14, 'O': 15, 'P': 16, 'Q': 17, 'R': 18, 'S': 19, 'T': 20, 'U': 21, 'V': 22, 'W': 23, 'X': 24, 'Y': 25, 'Z': 26,
	'a': 27, 'b': 28, 'c': 29, 'd': 30, 'e': 31, 'f': 32, 'g': 33, 'h': 34, 'i': 35, 'j': 36, 'k': 37, 'l': 38, 'm': 39,
	'n': 40, 'o': 41, 'p': 42, 'q': 43, 'r': 44, 's': 45, 't': 46, 'u': 47, 'v': 48, 'w': 49, 'x': 50, 'y': 51, 'z': 52,
	'0': 53, '1': 54, '2': 55, '3': 56, '4': 57, '5': 58, '6': 59, '7': 60, '8': 61, '9': 62, '-': 63, '_': 64,
}

// guidOf reads a GUID in its normal form.
func guidOf(text string) (high, low uint64, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return 0, 0, false
	}
	var raw [16]byte
	at := 0
	for _, part := range [...]string{text[:8], text[9:13], text[14:18], text[19:23], text[24:]} {
		n, err := hex.Decode(raw[at:], bytesOf(part))
		if err != nil {
			return 0, 0, false
		}
		at += n
	}
	return binary.BigEndian.Uint64(raw[:]), binary.BigEndian.Uint64(raw[8:]), true
}

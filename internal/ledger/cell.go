// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/base64"
	"encoding/binary"
)

// A cell holds one identifier in 16 bytes. Most identifiers are GUIDs or random
// bytes of that size, written in one of a few ways; those are the bytes and a
// form, and come back letter by letter. Any other text is in the arena.
type cell [16]byte

// A form says how the 16 bytes of a cell are written. The numbers are in files.
type form uint8

const (
	formNone form = iota
	formText      // the cell is a place in the arena
	formGUID
	formGUIDUpper
	formBase64URL     // 22 letters, a GUID with its first three groups little-endian, as Entra ID writes a uti
	formBase64Std     // the same with "+" or "/"
	formBase64Padded  // 24 letters that end in "=="
	formBase64OfGUID  // 48 letters, base64 of the text of a GUID
	formHex           // 32 digits
	formHexUpper      // the same, upper case
	formBase64URLFull // 24 letters that end in "==", with "-" or "_"
	forms
)

var (
	base64URL = base64.RawURLEncoding.Strict()
	base64Std = base64.RawStdEncoding.Strict()
)

// spelled returns the bytes and the form of an identifier, or formText when it
// is written in no way that forms know. What form.text makes of the answer is s.
func spelled(s string) (c cell, f form) {
	switch len(s) {
	case 0:
		return c, formNone
	case 36:
		return guid(s)
	case 32:
		if upper, ok := hexInto(c[:], s); ok {
			return c, pick(upper, formHexUpper, formHex)
		}
	case 22:
		return fromBase64(s, formBase64URL, formBase64Std)
	case 24:
		if s[22:] == "==" {
			return fromBase64(s[:22], formBase64URLFull, formBase64Padded)
		}
	case 48:
		var text [36]byte
		if n, err := base64Std.Decode(text[:], []byte(s)); err == nil && n == len(text) {
			if c, f := guid(string(text[:])); f == formGUID {
				return c, formBase64OfGUID
			}
		}
	}
	return cell{}, formText
}

func pick(is bool, yes, no form) form {
	if is {
		return yes
	}
	return no
}

// fromBase64 reads 22 letters of either alphabet. Without a letter that only one
// of them has, the form is url where there is no padding and std where there is.
// Like the strict decoding of encoding/base64 it wants the last four bits to be
// zero; it takes a tenth of the time, and most records have such identifiers.
func fromBase64(s string, url, std form) (c cell, f form) {
	first, a := base64Bits(s[0:8])
	second, b := base64Bits(s[8:16])
	third, d := base64Bits(s[14:22]) // two of them once more
	third &= 1<<36 - 1
	switch a | b | d {
	case 0:
		f = pick(std == formBase64Padded, std, url)
	case letterStd:
		f = std
	case letterURL:
		f = url
	default:
		return c, formText
	}
	if third&15 != 0 {
		return c, formText
	}
	high := first<<16 | second>>32
	// The first three groups of a GUID are little-endian here, as in swapGUID.
	binary.LittleEndian.PutUint64(c[:], high>>32|high>>16&0xffff<<32|high<<48)
	binary.BigEndian.PutUint64(c[8:], second<<32|third>>4)
	return c, f
}

// base64Bits reads 8 letters, and says which kinds of letters are among them.
func base64Bits(s string) (bits uint64, seen byte) {
	_ = s[7]
	v0, v1, v2, v3 := base64Values[s[0]], base64Values[s[1]], base64Values[s[2]], base64Values[s[3]]
	v4, v5, v6, v7 := base64Values[s[4]], base64Values[s[5]], base64Values[s[6]], base64Values[s[7]]
	bits = uint64(v0&63)<<42 | uint64(v1&63)<<36 | uint64(v2&63)<<30 | uint64(v3&63)<<24 |
		uint64(v4&63)<<18 | uint64(v5&63)<<12 | uint64(v6&63)<<6 | uint64(v7&63)
	return bits, (v0 | v1 | v2 | v3 | v4 | v5 | v6 | v7) & (letterStd | letterURL)
}

// Letters that only one alphabet has; one that none has is marked as both.
const (
	letterStd = 0x40
	letterURL = 0x80
)

var base64Values = func() (table [256]byte) {
	for i := range table {
		table[i] = letterStd | letterURL
	}
	for i := range byte(26) {
		table['A'+i], table['a'+i] = i, 26+i
	}
	for i := range byte(10) {
		table['0'+i] = 52 + i
	}
	table['+'], table['-'], table['/'], table['_'] = 62|letterStd, 62|letterURL, 63|letterStd, 63|letterURL
	return table
}()

// swapGUID turns the first three groups of a GUID round: what Entra ID has
// little-endian, text has big-endian.
func swapGUID(c cell) cell {
	c[0], c[1], c[2], c[3] = c[3], c[2], c[1], c[0]
	c[4], c[5], c[6], c[7] = c[5], c[4], c[7], c[6]
	return c
}

func guid(s string) (c cell, f form) {
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return c, formText
	}
	var seen byte
	for i, at := range [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		high, low := hexDigits[s[at]], hexDigits[s[at+1]]
		seen |= high | low
		c[i] = high<<4 | low&15
	}
	if !oneCase(seen) {
		return cell{}, formText
	}
	return c, pick(seen&digitUpper != 0, formGUIDUpper, formGUID)
}

// hexInto reads hexadecimal digits of one case; digits alone count as lower.
func hexInto(out []byte, s string) (upper, ok bool) {
	var seen byte
	for i := range out {
		high, low := hexDigits[s[2*i]], hexDigits[s[2*i+1]]
		seen |= high | low
		out[i] = high<<4 | low&15
	}
	return seen&digitUpper != 0, oneCase(seen)
}

// oneCase says whether digits are all digits, of one case.
func oneCase(seen byte) bool {
	const both = digitLower | digitUpper
	return seen&digitBad == 0 && seen&both != both
}

const (
	digitLower = 0x10
	digitUpper = 0x20
	digitBad   = 0x80
)

var hexDigits = func() (table [256]byte) {
	for i := range table {
		table[i] = digitBad
	}
	for i := range byte(10) {
		table['0'+i] = i
	}
	for i := range byte(6) {
		table['a'+i] = 10 + i | digitLower
		table['A'+i] = 10 + i | digitUpper
	}
	return table
}()

const (
	lowerDigits = "0123456789abcdef"
	upperDigits = "0123456789ABCDEF"
)

// text writes the bytes of a cell as the form says; not for formText.
func (f form) text(c cell) string {
	switch f {
	case formGUID:
		return guidText(c, lowerDigits)
	case formGUIDUpper:
		return guidText(c, upperDigits)
	case formHex:
		return hexText(c, lowerDigits)
	case formHexUpper:
		return hexText(c, upperDigits)
	case formBase64OfGUID:
		return base64Std.EncodeToString([]byte(guidText(c, lowerDigits)))
	}
	c = swapGUID(c)
	switch f {
	case formBase64URL:
		return base64URL.EncodeToString(c[:])
	case formBase64Std:
		return base64Std.EncodeToString(c[:])
	case formBase64Padded:
		return base64Std.EncodeToString(c[:]) + "=="
	case formBase64URLFull:
		return base64URL.EncodeToString(c[:]) + "=="
	}
	return ""
}

func hexText(c cell, digits string) string {
	var text [32]byte
	for i, b := range c {
		text[2*i], text[2*i+1] = digits[b>>4], digits[b&15]
	}
	return string(text[:])
}

func guidText(c cell, digits string) string {
	var text [36]byte
	at := 0
	for i, b := range c {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = digits[b>>4], digits[b&15]
		at += 2
	}
	return string(text[:])
}

// An arena keeps texts that are not worth a dictionary, in chunks that never
// move, so that readers and the writer of a table do not disturb each other.
type arena struct {
	chunks [][]byte
}

const arenaChunk = 1 << 18

// put copies s into the arena and returns its place.
func (a *arena) put(s string) cell {
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+len(s) > cap(a.chunks[last]) {
		a.chunks = append(a.chunks, make([]byte, 0, max(arenaChunk, len(s))))
		last++
	}
	start := len(a.chunks[last])
	a.chunks[last] = append(a.chunks[last], s...)
	var c cell
	binary.LittleEndian.PutUint32(c[0:], uint32(last))
	binary.LittleEndian.PutUint32(c[4:], uint32(start))
	binary.LittleEndian.PutUint32(c[8:], uint32(len(s)))
	return c
}

// mark says how much of the arena there is: chunks, and bytes of the last one.
func (a *arena) mark() [2]int {
	if len(a.chunks) == 0 {
		return [2]int{}
	}
	return [2]int{len(a.chunks), len(a.chunks[len(a.chunks)-1])}
}

// cut goes back to a mark.
func (a *arena) cut(m [2]int) {
	a.chunks = a.chunks[:m[0]]
	if m[0] > 0 {
		a.chunks[m[0]-1] = a.chunks[m[0]-1][:m[1]]
	}
}

// get returns the bytes at a place that put returned. They are not to be changed.
func (a *arena) get(c cell) []byte {
	start := binary.LittleEndian.Uint32(c[4:])
	size := binary.LittleEndian.Uint32(c[8:])
	return a.chunks[binary.LittleEndian.Uint32(c[0:])][start : start+size]
}

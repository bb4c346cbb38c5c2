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

// fromBase64 reads 22 letters. Without a letter that only one alphabet has, the
// form is url where there is no padding and std where there is.
func fromBase64(s string, url, std form) (c cell, f form) {
	f = url
	plus, minus := false, false
	if std == formBase64Padded {
		f = std
	}
	for i := range len(s) {
		switch s[i] {
		case '+', '/':
			f, plus = std, true
		case '-', '_':
			f, minus = url, true
		}
	}
	if plus && minus || !decode22(&c, s, &base64Values) {
		return cell{}, formText
	}
	return swapGUID(c), f
}

// decode22 reads 22 letters of either alphabet. Like the strict decoding of
// encoding/base64 it wants the last four bits to be zero; it takes a third of
// the time, and most records have one to three identifiers.
func decode22(c *cell, s string, values *[256]byte) bool {
	var bad byte
	for i, at := 0, 0; i < 20; i, at = i+4, at+3 {
		v0, v1, v2, v3 := values[s[i]], values[s[i+1]], values[s[i+2]], values[s[i+3]]
		bad |= v0 | v1 | v2 | v3
		c[at], c[at+1], c[at+2] = v0<<2|v1>>4, v1<<4|v2>>2, v2<<6|v3
	}
	v0, v1 := values[s[20]], values[s[21]]
	c[15] = v0<<2 | v1>>4
	return (bad|v0|v1)&0x80 == 0 && v1&15 == 0
}

var base64Values = func() (table [256]byte) {
	for i := range table {
		table[i] = 0x80
	}
	for i := range byte(26) {
		table['A'+i], table['a'+i] = i, 26+i
	}
	for i := range byte(10) {
		table['0'+i] = 52 + i
	}
	table['+'], table['-'], table['/'], table['_'] = 62, 62, 63, 63
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
	var digits [32]byte
	copy(digits[:], s[:8])
	copy(digits[8:], s[9:13])
	copy(digits[12:], s[14:18])
	copy(digits[16:], s[19:23])
	copy(digits[20:], s[24:])
	upper, ok := hexInto(c[:], string(digits[:]))
	if !ok {
		return cell{}, formText
	}
	return c, pick(upper, formGUIDUpper, formGUID)
}

// hexInto reads hexadecimal digits of one case; digits alone count as lower.
func hexInto(out []byte, s string) (upper, ok bool) {
	var bad, seen byte
	for i := range out {
		high, low := hexDigits[s[2*i]], hexDigits[s[2*i+1]]
		bad |= high | low
		seen |= high | low
		out[i] = high<<4 | low&15
	}
	const both = digitLower | digitUpper
	return seen&digitUpper != 0, bad&digitBad == 0 && seen&both != both
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

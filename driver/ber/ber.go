// SPDX-License-Identifier: Apache-2.0

// Package ber reads the little of BER (ITU-T X.690) that LDAP messages are in: tags
// of one byte and definite lengths (RFC 4511 section 5.1). Unlike DER it takes lengths
// that are longer than they need to be, which directories of Microsoft always send.
package ber

// The tags that are the same in every message.
const (
	Integer     = 0x02
	OctetString = 0x04
	Enumerated  = 0x0a
	Sequence    = 0x30
)

// Element takes the first element, which must have a tag, off data. What it returns
// shares memory with data.
func Element(data []byte, tag byte) (content, rest []byte, ok bool) {
	if len(data) < 2 || data[0] != tag {
		return nil, nil, false
	}
	size, data := int(data[1]), data[2:]
	if size >= 0x80 {
		digits := size - 0x80
		if len(data) < digits {
			return nil, nil, false
		}
		if size, ok = Length(data[:digits]); !ok {
			return nil, nil, false
		}
		data = data[digits:]
	}
	if size > len(data) {
		return nil, nil, false
	}
	return data[:size], data[size:], true
}

// Length reads the digits of a long length, whose number the byte before them says.
// None, the indefinite form, is not allowed here.
func Length(digits []byte) (int, bool) {
	size := 0
	for _, b := range digits {
		size = size<<8 | int(b)
	}
	return size, len(digits) >= 1 && len(digits) <= 4
}

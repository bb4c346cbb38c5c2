// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// distinguishedName writes the inside of a Name (RFC 5280 section 4.1.2.4) in
// the order and with the escapes of RFC 4514: the last RDN first. An empty RDN
// set, which RFC 5280 does not allow and real certificates have, says nothing
// and is left out.
func distinguishedName(body []byte) string {
	var text string
	for set := range elements(body) {
		rdn := relativeName(set.body)
		switch {
		case rdn == "":
		case text == "":
			text = rdn
		default:
			text = rdn + "," + text
		}
	}
	return text
}

// relativeName writes one RDN: its attributes with "+" between them.
func relativeName(set []byte) string {
	var b strings.Builder
	for attribute := range elements(set) {
		parts := children(attribute.body, 2)
		if len(parts) == 0 || parts[0].tag != tagOID {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('+')
		}
		oid := oidText(parts[0].body)
		if oid == "" {
			oid = "unknown"
		}
		name, known := attributeWords[oid]
		if !known {
			name = oid
		}
		b.WriteString(name)
		b.WriteByte('=')
		if len(parts) < 2 {
			continue
		}
		value, isText := text(parts[1])
		if !known || !isText {
			b.WriteByte('#') // RFC 4514 section 2.4
			b.WriteString(hex.EncodeToString(parts[1].raw))
			continue
		}
		escape(&b, value)
	}
	return b.String()
}

// text returns the value of a character string, as UTF-8. A value that breaks
// the rules of its own type is read byte by byte as Latin-1, which loses
// nothing: a PrintableString that holds UTF-8 or T61 is common.
func text(e element) (string, bool) {
	switch e.tag {
	case 0x1e: // BMPString
		return wide(e.body, 2)
	case 0x1c: // UniversalString
		return wide(e.body, 4)
	case 0x0c, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1a, 0x1b:
		if utf8.Valid(e.body) {
			return string(e.body), true
		}
		return latin1(e.body), true
	}
	return "", false
}

func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// wide reads big-endian characters of two (UTF-16) or four bytes.
func wide(b []byte, size int) (string, bool) {
	if len(b)%size != 0 {
		return "", false
	}
	if size == 2 {
		units := make([]uint16, 0, len(b)/2)
		for ; len(b) > 0; b = b[2:] {
			units = append(units, uint16(b[0])<<8|uint16(b[1]))
		}
		return string(utf16.Decode(units)), true
	}
	runes := make([]rune, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		runes = append(runes, rune(b[0])<<24|rune(b[1])<<16|rune(b[2])<<8|rune(b[3]))
	}
	return string(runes), true
}

// escape writes an attribute value as RFC 4514 section 2.4 asks for, and every
// character that a terminal would act on as \XX too.
func escape(b *strings.Builder, s string) {
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case strings.ContainsRune(`"+,;<>\`, r),
			r == '#' && i == 0,
			r == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteRune(r)
		case unprintable(r):
			escapeRune(b, r)
		default:
			b.WriteRune(r)
		}
	}
}

// printable returns s with what a terminal would act on, and what is not
// UTF-8, written as \XX. Foreign text that is shown as it is passes through it.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && s[i] != 0xef: // a byte that is not UTF-8
			b.WriteByte('\\')
			b.WriteString(hex.EncodeToString([]byte{s[i]}))
		case unprintable(r):
			escapeRune(&b, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unprintable holds for control characters and for those that turn the
// direction of writing, with which a name can be made to look like another.
func unprintable(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

func escapeRune(b *strings.Builder, r rune) {
	for _, c := range []byte(string(r)) {
		b.WriteByte('\\')
		b.WriteString(hex.EncodeToString([]byte{c}))
	}
}

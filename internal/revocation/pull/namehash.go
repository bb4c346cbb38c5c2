// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
)

var errNotAName = fmt.Errorf("%w: not a name", tallystick.ErrInvalid)

// NameHash returns the eight digits by which OpenSSL finds what belongs to a name in a directory: the
// first octets of the SHA-1 of the name in its canonical form (X509_NAME_hash in x509(7ssl);
// "openssl crl -hash" writes the same).
func NameHash(name []byte) (string, error) {
	in := cryptobyte.String(name)
	var rdns cryptobyte.String
	if !in.ReadASN1(&rdns, asn1.SEQUENCE) || !in.Empty() {
		return "", errNotAName
	}
	var canonical cryptobyte.Builder // the parts without the SEQUENCE around them
	for !rdns.Empty() {
		var rdn cryptobyte.String
		if !rdns.ReadASN1(&rdn, asn1.SET) {
			return "", errNotAName
		}
		attributes, err := canonicalAttributes(rdn)
		if err != nil {
			return "", err
		}
		canonical.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
			for _, attribute := range attributes {
				b.AddBytes(attribute)
			}
		})
	}
	der, err := canonical.Bytes()
	if err != nil {
		return "", err
	}
	sum := sha1.Sum(der)
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:4])), nil
}

// canonicalAttributes returns the attributes of a part of a name in canonical form, sorted as DER
// sorts sets.
func canonicalAttributes(rdn cryptobyte.String) ([][]byte, error) {
	var all [][]byte
	for !rdn.Empty() {
		var attribute, id, value cryptobyte.String
		var tag asn1.Tag
		if !rdn.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1Element(&id, asn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
			return nil, errNotAName
		}
		text, isText, err := textOf(value, tag)
		if err != nil {
			return nil, err
		}
		if isText {
			tag, value = asn1.UTF8String, squeeze(text)
		}
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(id)
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		all = append(all, der)
	}
	slices.SortFunc(all, bytes.Compare)
	return all, nil
}

// Tags that package asn1 has no name for.
const (
	tagTeletex   = asn1.Tag(20)
	tagVisible   = asn1.Tag(26)
	tagUniversal = asn1.Tag(28)
	tagBMP       = asn1.Tag(30)
)

// textOf returns a string as UTF-8; of other values, false.
func textOf(value []byte, tag asn1.Tag) ([]byte, bool, error) {
	switch tag {
	case asn1.UTF8String, asn1.PrintableString, asn1.IA5String, tagVisible:
		return value, true, nil
	case tagTeletex: // read as Latin-1
		var text []rune
		for _, c := range value {
			text = append(text, rune(c))
		}
		return []byte(string(text)), true, nil
	case tagBMP:
		if len(value)%2 != 0 {
			return nil, false, errNotAName
		}
		var units []uint16
		for i := 0; i < len(value); i += 2 {
			units = append(units, binary.BigEndian.Uint16(value[i:]))
		}
		return []byte(string(utf16.Decode(units))), true, nil
	case tagUniversal:
		if len(value)%4 != 0 {
			return nil, false, errNotAName
		}
		var text []rune
		for i := 0; i < len(value); i += 4 {
			text = append(text, rune(binary.BigEndian.Uint32(value[i:])))
		}
		return []byte(string(text)), true, nil
	}
	return nil, false, nil
}

// squeeze makes ASCII letters small and each run of blanks one space, with none at the ends.
func squeeze(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			if len(out) > 0 && out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
		case c >= 'A' && c <= 'Z':
			out = append(out, c-'A'+'a')
		default:
			out = append(out, c)
		}
	}
	return bytes.TrimSuffix(out, []byte(" "))
}

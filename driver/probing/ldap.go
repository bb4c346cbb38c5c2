// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/driver/ber"
)

// The tags of RFC 4511 sections 4.2 and 4.5.
const (
	tagBind       = asn1.Tag(0x60)
	tagBound      = 0x61
	tagSearch     = asn1.Tag(0x63)
	tagEntry      = 0x64
	tagSearched   = 0x65
	tagSASL       = asn1.Tag(0xa3)
	tagPresent    = asn1.Tag(0x87)
	messageLimit  = 64 << 10
	bindMessage   = 2 // 1 was StartTLS
	searchMessage = 3
)

// Results of RFC 4511 section 4.1.9 that are a no to who asks.
const (
	ldapSuccess              = 0
	ldapMethodNotSupported   = 7 // slapd knows EXTERNAL only where it has taken the certificate
	ldapStrongerAuthRequired = 8
	ldapConfidentiality      = 13
	ldapInappropriateAuth    = 48
	ldapInvalidCredentials   = 49
	ldapInsufficientAccess   = 50
)

// ldap binds by SASL EXTERNAL (RFC 4513 section 5.2.3).
func ldap(t *talk) (verdict, error) {
	user := t.Details["user"]
	request := ldapMessage(bindMessage, tagBind, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3) // version
		b.AddASN1OctetString(nil)
		b.AddASN1(tagSASL, func(b *cryptobyte.Builder) {
			b.AddASN1OctetString([]byte("EXTERNAL"))
			b.AddASN1OctetString([]byte(user)) // also when it is empty: otherwise the server asks for it
		})
	})
	return t.ask(request, bindMessage, tagBound)
}

// ldapAgain reads the entry that describes the server (RFC 4512 section 5.1), without
// an attribute of it.
func ldapAgain(t *talk) (verdict, error) {
	request := ldapMessage(searchMessage, tagSearch, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(nil) // the root
		b.AddASN1Enum(0)          // alone
		b.AddASN1Enum(0)          // aliases stay
		b.AddASN1Int64(1)         // entries
		b.AddASN1Int64(int64(patience.Seconds()))
		b.AddASN1Boolean(true) // types only
		b.AddASN1(tagPresent, func(b *cryptobyte.Builder) { b.AddBytes([]byte("objectClass")) })
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte("1.1")) })
	})
	return t.ask(request, searchMessage, tagSearched)
}

func ldapMessage(id int64, tag asn1.Tag, content func(*cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(id)
		b.AddASN1(tag, content)
	})
	return b.BytesOrPanic() // what is written has bounds
}

// ask sends a request and reads up to its result.
func (t *talk) ask(request []byte, id, done byte) (verdict, error) {
	if _, err := t.conn.Write(request); t.sent(err) != nil {
		return verdict{}, t.sent(err)
	}
	for range maxLines {
		message, err := t.ldapMessage()
		if err != nil {
			return verdict{}, err
		}
		number, rest, ok := ber.Element(message, ber.Integer)
		if ok && len(rest) > 0 && rest[0] == tagEntry {
			continue
		}
		if ok && len(number) == 1 && number[0] == 0 { // a notice of disconnection (section 4.4.1)
			return refused(fmt.Sprintf("disconnected: %q", rest)), nil
		}
		result, _, okResult := ber.Element(rest, done)
		code, text, okCode := ber.Element(result, ber.Enumerated)
		if !ok || !okResult || !okCode || len(code) != 1 || len(number) != 1 || number[0] != id {
			return verdict{}, fmt.Errorf("answered %q", clean(string(message)))
		}
		return ldapVerdict(code[0], text), nil
	}
	return verdict{}, fmt.Errorf("no answer in %d messages", maxLines)
}

func ldapVerdict(code byte, rest []byte) verdict {
	_, rest, _ = ber.Element(rest, ber.OctetString) // a name
	text, _, _ := ber.Element(rest, ber.OctetString)
	answer := fmt.Sprintf("result %d %s", code, text)
	switch {
	case code == ldapSuccess:
		return accepted(answer)
	case slices.Contains([]byte{ldapMethodNotSupported, ldapStrongerAuthRequired, ldapConfidentiality, ldapInappropriateAuth,
		ldapInvalidCredentials, ldapInsufficientAccess}, code):
		return refused(answer)
	}
	return failed(answer)
}

// ldapMessage reads a message and returns what is in its SEQUENCE.
func (t *talk) ldapMessage() ([]byte, error) {
	header := make([]byte, 2, 6)
	if _, err := io.ReadFull(t.in, header); err != nil {
		return nil, err
	}
	size, ok := int(header[1]), header[0] == ber.Sequence
	if size >= 0x80 {
		digits := make([]byte, size-0x80)
		if _, err := io.ReadFull(t.in, digits); err != nil {
			return nil, err
		}
		var fits bool
		size, fits = ber.Length(digits)
		ok = ok && fits
	}
	if !ok || size > messageLimit {
		return nil, fmt.Errorf("answered %x", header)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(t.in, message)
	return message, err
}

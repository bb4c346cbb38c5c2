// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
)

// bareKey describes a key pair that was seen without a certificate.
func bareKey(spki []byte, comment string) tallystick.Credential {
	key, _ := Key(spki) // of one that is none, the identity is kept
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(spki), Kind: tallystick.KindKey,
		Key: key, Subject: printable(comment), Raw: spki,
	}
}

// The functions below write a SubjectPublicKeyInfo exactly as the certificates
// of such keys carry it, so that a key has one KeyID wherever it is found.

// rsaSPKI takes an RSAPublicKey; its parameters are NULL (RFC 3279 section 2.3.1).
func rsaSPKI(key []byte) []byte { return buildSPKI(oidRSA, derNull(), key) }

// rsaPublicKey takes the octets of two INTEGERs (RFC 8017 appendix A.1.1).
func rsaPublicKey(n, e []byte) []byte {
	var key cryptobyte.Builder
	key.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addInteger(b, n)
		addInteger(b, e)
	})
	return key.BytesOrPanic()
}

func derNull() []byte { return []byte{5, 0} }

// dsaSPKI takes the octets of four INTEGERs (RFC 3279 section 2.3.2).
func dsaSPKI(p, q, g, y []byte) []byte {
	var params, key cryptobyte.Builder
	params.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addInteger(b, p)
		addInteger(b, q)
		addInteger(b, g)
	})
	addInteger(&key, y)
	return buildSPKI(oidDSA, params.BytesOrPanic(), key.BytesOrPanic())
}

// buildSPKI takes the DER of the algorithm's parameters, if any, and the
// content of the BIT STRING.
func buildSPKI(oid string, params, key []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(oidDER(oid))
			b.AddBytes(params)
		})
		b.AddASN1BitString(key)
	})
	return b.BytesOrPanic() // it fails on lengths beyond four gigabytes only
}

// addInteger writes an INTEGER from octets that may have too many or, in the
// way of private key formats, too few leading zeros. They count as unsigned.
func addInteger(b *cryptobyte.Builder, octets []byte) {
	for len(octets) > 1 && octets[0] == 0 {
		octets = octets[1:]
	}
	b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
		if len(octets) == 0 || octets[0]&0x80 != 0 {
			b.AddUint8(0)
		}
		b.AddBytes(octets)
	})
}

// oidDER writes a dotted object identifier of this package's tables.
func oidDER(dotted string) []byte {
	var body []byte
	var first uint64
	for i, text := range strings.Split(dotted, ".") {
		arc, _ := strconv.ParseUint(text, 10, 63)
		switch i {
		case 0:
			first = 40 * arc
		case 1:
			body = appendBase128(body, first+arc)
		default:
			body = appendBase128(body, arc)
		}
	}
	return append([]byte{tagOID, byte(len(body))}, body...)
}

func appendBase128(b []byte, arc uint64) []byte {
	var digits [binary.MaxVarintLen64]byte
	i := len(digits) - 1
	digits[i] = byte(arc & 0x7f)
	for arc >>= 7; arc > 0; arc >>= 7 {
		i--
		digits[i] = byte(arc&0x7f) | 0x80
	}
	return append(b, digits[i:]...)
}

// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Nonce returns the number r of the ECDSA signature under a DER certificate,
// big-endian, and the signed part of the certificate; ok is false when it cannot
// be read. r is the x coordinate of the secret nonce times the base point, so
// two signatures of one key that share r share the nonce, and when they sign
// different messages the key follows from them (FIPS 186-5 section 6.4).
func Nonce(certificate []byte) (r, signed []byte, ok bool) {
	input := cryptobyte.String(certificate)
	var body, tbs, numbers, signature cryptobyte.String
	var bits []byte
	if !input.ReadASN1(&body, asn1.SEQUENCE) ||
		!body.ReadASN1Element(&tbs, asn1.SEQUENCE) ||
		!body.SkipASN1(asn1.SEQUENCE) ||
		!body.ReadASN1BitStringAsBytes(&bits) {
		return nil, nil, false
	}
	signature = bits
	if !signature.ReadASN1(&numbers, asn1.SEQUENCE) || !numbers.ReadASN1Integer(&r) {
		return nil, nil, false
	}
	return r, tbs, true
}

// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"math/big"
)

// maxDSA bounds the size, in bits, of a modulus that is calculated with.
const maxDSA = 4096

// The functions below take an unencrypted private key and return its public
// half as a SubjectPublicKeyInfo; nil means that it cannot be derived. They do
// not check that the key is a good one: a bad one is in use all the same.

// publicOfAny recognises PKCS#8, PKCS#1, SEC1 and the DSA form of OpenSSL,
// because the label above a key is often that of another form.
func publicOfAny(der []byte) []byte {
	body, _, ok := expect(der, tagSequence)
	if !ok {
		return nil
	}
	parts := children(body, 10)
	switch {
	case len(parts) >= 3 && parts[1].tag == tagSequence && parts[2].tag == tagOctetString:
		return publicOfPKCS8(parts)
	case len(parts) >= 2 && parts[1].tag == tagOctetString:
		return publicOfSEC1(parts, nil)
	case len(parts) == 6 && isVersion(parts[0]) && allIntegers(parts):
		return dsaSPKI(parts[1].body, parts[2].body, parts[3].body, parts[4].body)
	case len(parts) >= 9 && isVersion(parts[0]) && allIntegers(parts[:9]):
		return rsaSPKI(rsaPublicKey(parts[1].body, parts[2].body))
	}
	return nil
}

// isVersion knows the versions of private keys, 0 and 1.
func isVersion(e element) bool {
	n := smallInt(e.body)
	return e.tag == tagInteger && (n == 0 || n == 1)
}

// publicOfPKCS8 takes the fields of a OneAsymmetricKey (RFC 5958 section 2).
func publicOfPKCS8(parts []element) []byte {
	oid, params := algorithmID(parts[1].body)
	key := octets(parts[2])
	switch oid {
	case oidRSA, oidPSS, oidOAEP:
		body, _, _ := expect(key, tagSequence)
		numbers := children(body, 3)
		if len(numbers) < 3 || !isVersion(numbers[0]) || !allIntegers(numbers) {
			return nil // without the version before them, the numbers would not be the public ones
		}
		public := rsaPublicKey(numbers[1].body, numbers[2].body)
		if oid == oidRSA {
			return rsaSPKI(public)
		}
		return buildSPKI(oid, params.raw, public)
	case oidEC:
		body, _, _ := expect(key, tagSequence)
		return publicOfSEC1(children(body, 4), params.raw)
	case oidDSA:
		return publicOfDSA(params, key)
	case oidEd25519, oidX25519:
		return publicOfEdwards(oid, key)
	}
	for _, part := range parts[3:] { // RFC 5958: the public half may stand beside it
		if part.tag == tagImplicit+1 && len(part.body) > 1 {
			return buildSPKI(oid, params.raw, part.body[1:])
		}
	}
	return nil
}

// publicOfSEC1 takes the fields of an ECPrivateKey (RFC 5915 section 3). The
// point is calculated for the curves of NIST, and believed for the others.
func publicOfSEC1(parts []element, params []byte) []byte {
	if len(parts) < 2 || parts[1].tag != tagOctetString {
		return nil
	}
	var point []byte
	for _, part := range parts[2:] {
		inner, _, ok := next(part.body)
		switch {
		case ok && part.tag == tagContext && params == nil && (inner.tag == tagOID || inner.tag == tagSequence):
			params = inner.raw
		case ok && part.tag == tagContext+1 && inner.tag == tagBitString && len(inner.body) > 1:
			point = inner.body[1:]
		}
	}
	if len(params) == 0 {
		return nil
	}
	if public := pointOf(params, parts[1].body); public != nil {
		point = public
	}
	if point == nil {
		return nil
	}
	return buildSPKI(oidEC, params, point)
}

// pointOf calculates the public point; nil for curves that are not here.
func pointOf(params, scalar []byte) []byte {
	var curve ecdh.Curve
	named, _, _ := expect(params, tagOID)
	word := curves[oidText(named)]
	switch word.name {
	case "ecdsa-p256":
		curve = ecdh.P256()
	case "ecdsa-p384":
		curve = ecdh.P384()
	case "ecdsa-p521":
		curve = ecdh.P521()
	default:
		return nil
	}
	size := (word.bits + 7) / 8
	number := new(big.Int).SetBytes(scalar)
	if number.BitLen() > 8*size {
		return nil
	}
	key, err := curve.NewPrivateKey(number.FillBytes(make([]byte, size)))
	if err != nil {
		return nil
	}
	return key.PublicKey().Bytes()
}

// publicOfDSA calculates y of a PKCS#8 DSA key, which does not carry it.
func publicOfDSA(params element, key []byte) []byte {
	numbers := children(params.body, 3)
	exponent, _, ok := expect(key, tagInteger)
	if !ok || len(numbers) != 3 {
		return nil
	}
	p, g, x := signedInt(numbers[0].body), signedInt(numbers[2].body), signedInt(exponent)
	if p.Sign() <= 0 || p.BitLen() > maxDSA || g.Sign() <= 0 || g.BitLen() > maxDSA || x.Sign() <= 0 || x.BitLen() > 512 {
		return nil
	}
	y := new(big.Int).Exp(g, x, p)
	return dsaSPKI(numbers[0].body, numbers[1].body, numbers[2].body, y.Bytes())
}

// publicOfEdwards takes a CurvePrivateKey (RFC 8410 section 7).
func publicOfEdwards(oid string, key []byte) []byte {
	seed, _, ok := expect(key, tagOctetString)
	if !ok || len(seed) != 32 {
		return nil
	}
	if oid == oidEd25519 {
		return buildSPKI(oid, nil, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	}
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return nil
	}
	return buildSPKI(oid, nil, private.PublicKey().Bytes())
}

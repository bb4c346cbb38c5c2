// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"errors"
	"math/big"
	"math/bits"
	"strconv"

	"github.com/tallystick/tallystick"
)

// Errors that callers cannot do much about but name.
var (
	errNoCertificate = errors.New("not a certificate: it does not have the members of one")
	errTruncated     = errors.New("a certificate that ends before its length says")
	errSurplus       = errors.New("more than a certificate: something follows its last member")
	errPrivate       = errors.New("a private key is in it")
	errNoKey         = errors.New("not a SubjectPublicKeyInfo")
)

// Key describes a DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) without
// judging it: a modulus of any size and an exponent of any value are named, and
// an algorithm that is not known here is "unknown". It returns an error when
// spki is not a SubjectPublicKeyInfo; the Key then still carries spki and its ID.
func Key(spki []byte) (tallystick.Key, error) {
	key := tallystick.Key{ID: tallystick.KeyIDOf(spki), Algorithm: "unknown", SPKI: spki}
	parts, ok := splitSPKI(spki)
	if !ok {
		return key, errNoKey
	}
	key.Algorithm, key.Bits = parts.algorithm()
	return key, nil
}

// RSAKey returns modulus and exponent of an RSA SubjectPublicKeyInfo (RFC 8017
// appendix A.1.1), whatever their size and sign, without limits of its own.
func RSAKey(spki []byte) (n, e *big.Int, ok bool) {
	parts, ok := splitSPKI(spki)
	if !ok || (parts.oid != oidRSA && parts.oid != oidPSS) {
		return nil, nil, false
	}
	nBytes, eBytes, ok := rsaParts(parts.key)
	if !ok {
		return nil, nil, false
	}
	return signedInt(nBytes), signedInt(eBytes), true
}

// spkiParts are the fields of a SubjectPublicKeyInfo.
type spkiParts struct {
	oid    string
	params element // absent: tag 0
	key    []byte  // the BIT STRING without its count of unused bits
}

func splitSPKI(spki []byte) (spkiParts, bool) {
	body, behind, ok := expect(spki, tagSequence)
	if !ok || len(behind) > 0 {
		return spkiParts{}, false
	}
	algorithm, rest, ok := expect(body, tagSequence)
	if !ok {
		return spkiParts{}, false
	}
	oid, params := algorithmID(algorithm)
	key, behind, ok := expect(rest, tagBitString)
	if !ok || len(behind) > 0 || len(key) == 0 || oid == "" {
		return spkiParts{}, false
	}
	return spkiParts{oid: oid, params: params, key: key[1:]}, true
}

// algorithmID reads the inside of an AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
func algorithmID(body []byte) (oid string, params element) {
	parts := children(body, 2)
	if len(parts) == 0 || parts[0].tag != tagOID {
		return "", element{}
	}
	if len(parts) > 1 {
		params = parts[1]
	}
	return oidText(parts[0].body), params
}

// algorithm returns the word of tallystick.Key.Algorithm and the size in bits.
func (p spkiParts) algorithm() (string, int) {
	switch p.oid {
	case oidRSA, oidPSS, oidOAEP:
		n, _, ok := rsaParts(p.key)
		if !ok {
			return "unknown", 0
		}
		return sized("rsa", n)
	case oidDSA, oidDH, oidDHX:
		numbers := children(p.params.body, 1)
		family := "dsa"
		if p.oid != oidDSA {
			family = "dh"
		}
		if len(numbers) == 0 || numbers[0].tag != tagInteger {
			return family, 0 // parameters inherited from the issuer (RFC 3279 section 2.3.2)
		}
		return sized(family, numbers[0].body)
	case oidEC:
		return curveWord(p.params)
	}
	if word, ok := keyWords[p.oid]; ok {
		return word.name, word.bits
	}
	return "unknown", 0
}

func sized(family string, integer []byte) (string, int) {
	size := bitLength(integer)
	return family + "-" + strconv.Itoa(size), size
}

// curveWord names the curve of an id-ecPublicKey (RFC 5480 section 2.1.1).
func curveWord(params element) (string, int) {
	if params.tag == tagSequence {
		return explicitCurve(params)
	}
	if params.tag != tagOID {
		return "unknown", 0
	}
	if word, ok := curves[oidText(params.body)]; ok {
		return word.name, word.bits
	}
	return "ecdsa-unknown", 0
}

// explicitCurve sizes a curve that is written out (X9.62 ECParameters), which
// RFC 5480 forbids and CVE-2020-0601 abused: it never gets the name of a curve.
func explicitCurve(params element) (string, int) {
	fields := children(params.body, 6)
	if len(fields) < 5 || fields[4].tag != tagInteger {
		return "ecdsa-explicit", 0
	}
	return "ecdsa-explicit", bitLength(fields[4].body)
}

// rsaParts reads an RSAPublicKey: the octets of modulus and exponent.
func rsaParts(der []byte) (n, e []byte, ok bool) {
	body, _, ok := expect(der, tagSequence)
	if !ok {
		return nil, nil, false
	}
	n, rest, ok := expect(body, tagInteger)
	if !ok {
		return nil, nil, false
	}
	e, _, ok = expect(rest, tagInteger)
	return n, e, ok
}

// bitLength is the size of a positive INTEGER.
func bitLength(b []byte) int {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0
	}
	return 8*len(b) - bits.LeadingZeros8(b[0])
}

// signedInt reads the two's complement of an INTEGER of any length.
func signedInt(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	return n
}

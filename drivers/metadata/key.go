// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// maxKeyBytes bounds a number or a point of a key: 16384 bits.
const maxKeyBytes = 2 << 10

// The object identifiers of public keys (RFC 3279, RFC 5480, RFC 8410, RFC 9881).
var (
	oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC  = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	// curves by their names in JSON (RFC 7518 section 6.2.1.1, RFC 8812).
	curves = map[string]asn1.ObjectIdentifier{
		"P-256":     {1, 2, 840, 10045, 3, 1, 7},
		"P-384":     {1, 3, 132, 0, 34},
		"P-521":     {1, 3, 132, 0, 35},
		"secp256k1": {1, 3, 132, 0, 10},
	}
	// plain holds the keys that are just bytes: those of RFC 8037, and ML-DSA.
	plain = map[string]asn1.ObjectIdentifier{
		"X25519":    {1, 3, 101, 110},
		"X448":      {1, 3, 101, 111},
		"Ed25519":   {1, 3, 101, 112},
		"Ed448":     {1, 3, 101, 113},
		"ML-DSA-44": {2, 16, 840, 1, 101, 3, 4, 3, 17},
		"ML-DSA-65": {2, 16, 840, 1, 101, 3, 4, 3, 18},
		"ML-DSA-87": {2, 16, 840, 1, 101, 3, 4, 3, 19},
	}
)

// keyCredential describes a SubjectPublicKeyInfo as a bare key.
func keyCredential(spki []byte) (tallystick.Credential, bool) {
	key, err := parse.Key(spki)
	if err != nil {
		return tallystick.Credential{}, false
	}
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(spki), Kind: tallystick.KindKey, Key: key, Raw: spki,
	}, true
}

// rsaSPKI makes the SubjectPublicKeyInfo of modulus and exponent, big-endian.
func rsaSPKI(n, e []byte) ([]byte, bool) {
	if len(n) == 0 || len(e) == 0 || len(n) > maxKeyBytes || len(e) > maxKeyBytes {
		return nil, false
	}
	key, err := asn1.Marshal(struct{ N, E *big.Int }{new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)})
	if err != nil {
		return nil, false
	}
	return spki(pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, key)
}

// ecSPKI makes the SubjectPublicKeyInfo of an encoded point of a curve.
func ecSPKI(curve asn1.ObjectIdentifier, point []byte) ([]byte, bool) {
	parameters, err := asn1.Marshal(curve)
	if err != nil || len(point) == 0 || len(point) > maxKeyBytes {
		return nil, false
	}
	return spki(pkix.AlgorithmIdentifier{Algorithm: oidEC, Parameters: asn1.RawValue{FullBytes: parameters}}, point)
}

// plainSPKI makes the SubjectPublicKeyInfo of a key that is just bytes.
func plainSPKI(name string, key []byte) ([]byte, bool) {
	oid, ok := plain[name]
	if !ok || len(key) == 0 || len(key) > 2*maxKeyBytes {
		return nil, false
	}
	return spki(pkix.AlgorithmIdentifier{Algorithm: oid}, key)
}

func spki(algorithm pkix.AlgorithmIdentifier, key []byte) ([]byte, bool) {
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{algorithm, asn1.BitString{Bytes: key, BitLength: 8 * len(key)}})
	return der, err == nil
}

// decode64 reads base64 in either alphabet, with or without padding, and with
// white space in it, as documents have it.
func decode64(text string) ([]byte, bool) {
	text = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "", "+", "-", "/", "_").Replace(text)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	return raw, err == nil && len(raw) > 0
}

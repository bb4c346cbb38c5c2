// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// Bounds of RSA keys. Above 4096 bits everybody who verifies pays for what nobody
// gains; a requester must not choose how long a check of a signature takes.
const (
	minRSA      = 2048
	maxRSA      = 4096
	minExponent = 65537
)

// A KeyError is why a key must not be certified. It is ErrInvalid.
type KeyError struct{ Text, Citation string }

// Error says what is wrong and who says so.
func (e *KeyError) Error() string {
	if e.Citation == "" {
		return e.Text
	}
	return e.Text + " (" + e.Citation + ")"
}

// Unwrap makes it ErrInvalid.
func (e *KeyError) Unwrap() error { return tallystick.ErrInvalid }

// CheckKey refuses public keys that must not be certified: weak ones, malformed
// ones, those whose private half can be computed from them or was published, and
// sorts that are not supported. The error is a *KeyError. It costs some ten microseconds for
// an elliptic curve and a millisecond for RSA, whatever the key.
func CheckKey(public crypto.PublicKey) (err error) {
	defer func() {
		if recover() != nil {
			err = &KeyError{Text: "the key is malformed"}
		}
	}()
	switch key := public.(type) {
	case *rsa.PublicKey:
		err = checkRSA(key)
	case *ecdsa.PublicKey:
		err = checkCurve(key)
	case ed25519.PublicKey:
		err = checkEd25519(key)
	default:
		err = &KeyError{Text: fmt.Sprintf("keys of this sort (%T) are not certified: use ecdsa-p256, ecdsa-p384, ed25519 or rsa-2048", public)}
	}
	if err != nil {
		return err
	}
	return checkByRules(public)
}

func checkRSA(key *rsa.PublicKey) error {
	const sizes = "NIST SP 800-131A rev. 2 section 3; CA/Browser Forum TLS Baseline Requirements section 6.1.5"
	const quality = "NIST SP 800-89 section 5.3.3; CA/Browser Forum TLS Baseline Requirements section 6.1.6"
	if key == nil || key.N == nil || key.N.Sign() <= 0 {
		return &KeyError{"the RSA modulus is not a positive number", quality}
	}
	bits := key.N.BitLen()
	switch {
	case bits < minRSA:
		return &KeyError{fmt.Sprintf("RSA of %d bits is too short: use at least %d", bits, minRSA), sizes}
	case bits > maxRSA:
		return &KeyError{fmt.Sprintf("RSA of %d bits is too long: use at most %d, or an elliptic curve", bits, maxRSA), ""}
	case bits%8 != 0:
		return &KeyError{fmt.Sprintf("RSA of %d bits is not of whole bytes", bits), sizes}
	case key.N.Bit(0) == 0:
		return &KeyError{"the RSA modulus is even", quality}
	case key.E < minExponent || key.E%2 == 0:
		return &KeyError{fmt.Sprintf("the RSA exponent is %d: it is odd and at least %d", key.E, minExponent), "FIPS 186-5 appendix A.1.1"}
	}
	return nil
}

func checkCurve(key *ecdsa.PublicKey) error {
	const source = "NIST SP 800-186 section 3.2.1; RFC 5480 section 2.2"
	curves := []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}
	if key == nil || key.Curve == nil || !slices.Contains(curves, key.Curve) {
		return &KeyError{"the curve is none of P-256, P-384 and P-521", source}
	}
	if _, err := key.ECDH(); err != nil {
		return &KeyError{"the point is not on the curve", source}
	}
	return nil
}

// The field and the constant of edwards25519 (RFC 8032 section 5.1).
const (
	field25519 = "57896044618658097711785492504343953926634992332820282019728792003956564819949"
	d25519     = "37095705934669439343138083508754565189542113879843219016388785533085940283555"
)

// smallOrder are the y coordinates of points of which a small multiple is zero, little
// endian: they stand for no private key, and some signatures verify with them for any
// message.
var smallOrder = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}

func checkEd25519(key ed25519.PublicKey) error {
	const source = "RFC 8032 section 5.1.3"
	if len(key) != ed25519.PublicKeySize {
		return &KeyError{fmt.Sprintf("an Ed25519 key has %d bytes, and this one %d", ed25519.PublicKeySize, len(key)), source}
	}
	little := slices.Clone(key)
	little[31] &= 0x7f // the sign of x
	if slices.Contains(smallOrder[:], hex.EncodeToString(little)) {
		return &KeyError{"the Ed25519 key is a point of small order", "RFC 8032 section 8.3; RFC 7748 section 6"}
	}
	slices.Reverse(little)
	p, _ := new(big.Int).SetString(field25519, 10)
	d, _ := new(big.Int).SetString(d25519, 10)
	y := new(big.Int).SetBytes(little)
	if y.Cmp(p) >= 0 {
		return &KeyError{"the Ed25519 key is not written in the only way that it may be", source}
	}
	// x^2 = (y^2 - 1) / (d y^2 + 1): there is an x when numerator times denominator is a square.
	square := new(big.Int).Mul(y, y)
	numerator := new(big.Int).Sub(square, big.NewInt(1))
	denominator := square.Mul(square.Mod(square, p), d)
	denominator.Add(denominator, big.NewInt(1))
	product := numerator.Mul(numerator, denominator)
	if big.Jacobi(product.Mod(product, p), p) != 1 {
		return &KeyError{"the Ed25519 key is not a point of the curve", source}
	}
	return nil
}

// keyRules are the rules of the inventory that speak of a key alone: one that could not
// stay without a finding is not certified.
var keyRules = sync.OnceValue(func() []rule.Rule {
	names := []string{"close-primes", "compromised-key", "roca", "weak-key"}
	return slices.DeleteFunc(rules.All(), func(r rule.Rule) bool { return !slices.Contains(names, r.Name) })
})

// checkByRules asks the rules.
func checkByRules(public crypto.PublicKey) error {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return &KeyError{Text: "the key cannot be encoded"}
	}
	key, err := parse.Key(spki)
	if err != nil {
		return &KeyError{Text: "the key cannot be read: " + err.Error()}
	}
	subject := rule.Subject{Credential: &tallystick.Credential{Kind: tallystick.KindKey, Key: key}}
	for _, r := range keyRules() {
		for _, hit := range r.Check(subject) {
			return &KeyError{hit.Evidence, r.Citation}
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
)

func TestGoodKeys(t *testing.T) {
	for _, key := range []crypto.PublicKey{
		&newRSA(t, 2048).PublicKey, &newRSA(t, 3072).PublicKey, &newECDSA(t, elliptic.P256()).PublicKey,
		&newECDSA(t, elliptic.P384()).PublicKey, &newECDSA(t, elliptic.P521()).PublicKey,
	} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%T: %v", key, err)
		}
	}
	for range 50 {
		if err := CheckKey(newEd25519(t).Public()); err != nil {
			t.Error(err)
		}
	}
}

// changed returns a sound RSA key with a change.
func changed(key *rsa.PublicKey, change func(*rsa.PublicKey)) *rsa.PublicKey {
	c := &rsa.PublicKey{N: new(big.Int).Set(key.N), E: key.E}
	change(c)
	return c
}

// neighbours returns a modulus of two neighbouring primes.
func neighbours(t *testing.T) *big.Int {
	p := must[*big.Int](t)(rand.Prime(rand.Reader, 1024))
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	return q.Mul(q, p)
}

// roca returns a number of the form of Infineon's moduli (Nemec et al., section 2.1):
// the product of two numbers k*M + 65537^a mod M, where M is the product of the first 39 primes.
func roca(t *testing.T) *big.Int {
	m := big.NewInt(1)
	for i, n := int64(2), 0; n < 39; i++ {
		if big.NewInt(i).ProbablyPrime(20) {
			m.Mul(m, big.NewInt(i))
			n++
		}
	}
	for k := int64(1); ; k++ {
		half := func(high, a int64) *big.Int {
			v := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(high), 1020), m)
			v.Add(v, big.NewInt(k)).Mul(v, m)
			return v.Add(v, new(big.Int).Exp(big.NewInt(65537), big.NewInt(a+k), m))
		}
		if n := new(big.Int).Mul(half(15, 5), half(13, 77)); n.BitLen() == 2048 && n.Bit(0) == 1 {
			return n
		}
		if k > 10000 {
			t.Fatal("no modulus was found")
		}
	}
}

// divisible returns a modulus of 2048 bits of which 743 is the smallest factor.
func divisible(t *testing.T) *big.Int {
	n := must[*big.Int](t)(rand.Prime(rand.Reader, 2038))
	return n.Mul(n, big.NewInt(743))
}

// point returns a key with any coordinates, as no constructor of crypto/ecdsa does.
func point(x, y *big.Int) *ecdsa.PublicKey {
	key := &ecdsa.PublicKey{Curve: elliptic.P256()}
	v := reflect.ValueOf(key).Elem()
	v.FieldByName("X").Set(reflect.ValueOf(x))
	v.FieldByName("Y").Set(reflect.ValueOf(y))
	return key
}

func TestBadKeys(t *testing.T) {
	sound := &newRSA(t, 2048).PublicKey
	off := point(big.NewInt(1), big.NewInt(2))
	small := must[[]byte](t)(hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"))
	for _, row := range []struct {
		want string
		key  crypto.PublicKey
	}{
		{"RSA of 1024 bits is too short", &newRSA(t, 1024).PublicKey},
		{"RSA of 4104 bits is too long", changed(sound, func(k *rsa.PublicKey) { k.N.Lsh(k.N, 2056).SetBit(k.N, 0, 1) })},
		{"RSA of 2049 bits is not of whole bytes", changed(sound, func(k *rsa.PublicKey) { k.N.Lsh(k.N, 1) })},
		{"the RSA modulus is even", changed(sound, func(k *rsa.PublicKey) { k.N.SetBit(k.N, 0, 0) })},
		{"the RSA modulus is not a positive number", changed(sound, func(k *rsa.PublicKey) { k.N.Neg(k.N) })},
		{"the RSA modulus is not a positive number", &rsa.PublicKey{E: 65537}},
		{"the RSA exponent is 3", changed(sound, func(k *rsa.PublicKey) { k.E = 3 })},
		{"the RSA exponent is 65538", changed(sound, func(k *rsa.PublicKey) { k.E++ })},
		{"the RSA exponent is 1", changed(sound, func(k *rsa.PublicKey) { k.E = 1 })},
		{"the RSA modulus is divisible by 743", changed(sound, func(k *rsa.PublicKey) { k.N = divisible(t) })},
		{"the 2048-bit modulus has the structure of Infineon", changed(sound, func(k *rsa.PublicKey) { k.N = roca(t) })},
		{"the modulus falls apart in round", changed(sound, func(k *rsa.PublicKey) { k.N = neighbours(t) })},
		{"the curve is none of", &newECDSA(t, elliptic.P224()).PublicKey},
		{"the curve is none of", &ecdsa.PublicKey{}},
		{"the point is not on the curve", off},
		{"the point is not on the curve", point(new(big.Int), new(big.Int))},
		{"the key is malformed", &ecdsa.PublicKey{Curve: elliptic.P256()}},
		{"an Ed25519 key has 32 bytes", ed25519.PublicKey("short")},
		{"the Ed25519 key is a point of small order", ed25519.PublicKey(make([]byte, 32))},
		{"the Ed25519 key is a point of small order", ed25519.PublicKey(small)},
		{"the Ed25519 key is not written in the only way", ed25519.PublicKey(append([]byte{0xee}, append(slices.Repeat([]byte{0xff}, 30), 0x7f)...))},
		{"the Ed25519 key is not a point", ed25519.PublicKey(append([]byte{2}, make([]byte, 31)...))},
		{"keys of this sort", "text"},
		{"keys of this sort", nil},
	} {
		err := CheckKey(row.key)
		if err == nil || !strings.HasPrefix(err.Error(), row.want) || !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", row.want, err)
		}
	}
}

// The points of small order are those of which eight times is zero, computed here
// from the definition of the curve (RFC 8032 section 5.1.4).
func TestSmallOrder(t *testing.T) {
	p, _ := new(big.Int).SetString(field25519, 10)
	d, _ := new(big.Int).SetString(d25519, 10)
	mod := func(x *big.Int) *big.Int { return x.Mod(x, p) }
	mul := func(a, b *big.Int) *big.Int { return mod(new(big.Int).Mul(a, b)) }
	one := big.NewInt(1)
	double := func(x, y *big.Int) (*big.Int, *big.Int) { // affine: the law is complete
		xy, xx, yy := mul(x, y), mul(x, x), mul(y, y)
		k := mul(d, mul(xx, yy))
		nx := mul(mod(new(big.Int).Lsh(xy, 1)), new(big.Int).ModInverse(mod(new(big.Int).Add(one, k)), p))
		ny := mul(mod(new(big.Int).Add(yy, xx)), new(big.Int).ModInverse(mod(new(big.Int).Sub(one, k)), p))
		return nx, ny
	}
	for _, text := range smallOrder {
		b := must[[]byte](t)(hex.DecodeString(text))
		slices.Reverse(b)
		y := new(big.Int).SetBytes(b)
		yy := mul(y, y)
		square := mul(mod(new(big.Int).Sub(yy, one)), new(big.Int).ModInverse(mod(new(big.Int).Add(mul(d, yy), one)), p))
		x := new(big.Int).ModSqrt(square, p)
		if x == nil {
			t.Errorf("%s is not on the curve", text)
			continue
		}
		for range 3 {
			x, y = double(x, y)
		}
		if x.Sign() != 0 || y.Cmp(one) != 0 {
			t.Errorf("%s is not of small order", text)
		}
	}
}

// vagrant is a public key whose private half comes with the source of Vagrant.
const vagrant = "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoP" +
	"kcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk" +
	"1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ=="

func TestPublishedKeys(t *testing.T) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(vagrant))
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(ssh.CryptoPublicKey).CryptoPublicKey()
	// Its exponent is 35, so that CheckKey refuses it for that already.
	if err := checkByRules(key); err == nil || !strings.Contains(err.Error(), "vagrant") {
		t.Error(err)
	}
	if err := CheckKey(key); err == nil {
		t.Error("it is certified")
	}
}

// FuzzCheckKey checks keys that a stranger made, as they come from a request.
func FuzzCheckKey(f *testing.F) {
	for _, key := range []crypto.PublicKey{&newRSA(f, 2048).PublicKey, &newECDSA(f, elliptic.P384()).PublicKey, newEd25519(f).Public()} {
		f.Add(must[[]byte](f)(x509.MarshalPKIXPublicKey(key)))
	}
	f.Fuzz(func(t *testing.T, spki []byte) {
		key, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			key = ed25519.PublicKey(spki)
		}
		begin := time.Now()
		if err := CheckKey(key); err != nil {
			if _, ok := errors.AsType[*KeyError](err); !ok {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

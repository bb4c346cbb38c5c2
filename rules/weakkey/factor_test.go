// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// prime returns a random prime whose upper two bits are set, so that the product
// of two has the full length.
func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// odd returns a random odd number of so many bits.
func odd(bits uint) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits))
	if err != nil {
		panic(err)
	}
	return n.SetBit(n, int(bits)-1, 1).SetBit(n, 0, 1)
}

// infineonPrime returns a prime as RSALib makes them: k*M + 65537^a mod M, for
// keys of 2048 bits with M the product of the first 126 primes (Nemec et al.,
// section 2.1 and table 1).
func infineonPrime(t testing.TB) *big.Int {
	t.Helper()
	m, count := big.NewInt(1), 0
	for p := int64(2); count < 126; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
			count++
		}
	}
	for {
		a := new(big.Int).Exp(big.NewInt(65537), odd(250), m)
		p := odd(uint(1024 - m.BitLen()))
		if p.Mul(p, m).Add(p, a).ProbablyPrime(10) {
			return p
		}
	}
}

func TestROCA(t *testing.T) {
	if n := new(big.Int).Mul(infineonPrime(t), infineonPrime(t)); !ROCA(n) {
		t.Errorf("%v has the structure, and was not recognised", n)
	}
	if n := new(big.Int).Mul(infineonPrime(t), prime(t, 1024)); ROCA(n) {
		t.Errorf("%v has one prime of the structure only, and was accused", n)
	}
	for range 1000 {
		if n := new(big.Int).Mul(odd(1024), odd(1024)); ROCA(n) {
			t.Errorf("%v is random, and was accused", n)
		}
	}
	for _, n := range []int64{-5, 0} {
		if ROCA(big.NewInt(n)) {
			t.Errorf("%d was accused", n)
		}
	}
}

// TestROCATwoSteps shows why the second step is there: this number is a power
// of 65537 modulo each prime, but with a different exponent for each.
func TestROCATwoSteps(t *testing.T) {
	n, m := big.NewInt(1), big.NewInt(2)
	for p := int64(3); p <= 167; p += 2 {
		prime := big.NewInt(p)
		if !prime.ProbablyPrime(0) {
			continue
		}
		want := new(big.Int).Exp(big.NewInt(65537), big.NewInt(p/2), prime)
		for new(big.Int).Mod(n, prime).Cmp(want) != 0 {
			n.Add(n, m)
		}
		m.Mul(m, prime)
	}
	for _, row := range rocaPrimes {
		if r := residue(n, row.prime); row.residues[r/64]>>(r%64)&1 == 0 {
			t.Errorf("not a power of 65537 modulo %d", row.prime)
		}
	}
	if ROCA(n) {
		t.Error("a number that is no power of 65537 was taken for one")
	}
	if !ROCA(new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)) {
		t.Error("a power of 65537 was not recognised")
	}
}

// TestROCATables computes the tables again.
func TestROCATables(t *testing.T) {
	rows := map[uint][3]uint64{}
	for _, row := range rocaPrimes {
		rows[row.prime] = row.residues
	}
	for p := uint(3); p <= 167; p += 2 {
		if !big.NewInt(int64(p)).ProbablyPrime(0) {
			continue
		}
		var want [3]uint64
		count := uint(0)
		for x := uint(1); want[x/64]>>(x%64)&1 == 0; x = x * 65537 % p {
			want[x/64] |= 1 << (x % 64)
			count++
		}
		if got, listed := rows[p]; listed != (count < p-1) || listed && got != want {
			t.Errorf("residues of %d are %x, not %x", p, got, want)
		}
	}
	order := int64(1)
	for _, q := range rocaOrders {
		order *= q
	}
	for p := int64(3); p <= 167; p += 2 {
		if m := big.NewInt(p); m.ProbablyPrime(0) && new(big.Int).Exp(big.NewInt(65537), big.NewInt(order), m).Int64() != 1 {
			t.Errorf("%d is not a multiple of the order modulo %d", order, p)
		}
	}
}

func TestClosePrimes(t *testing.T) {
	p := prime(t, 1024)
	neighbour := func(distance uint) *big.Int {
		q := new(big.Int).Lsh(big.NewInt(1), distance)
		for q.Add(q, p).SetBit(q, 0, 1); !q.ProbablyPrime(5); q.Add(q, big.NewInt(2)) {
		}
		return q.Mul(q, p)
	}
	for _, row := range []struct {
		name string
		n    *big.Int
		want bool
	}{
		{"a square", new(big.Int).Mul(p, p), true},
		{"the next prime", neighbour(1), true},
		{"primes that differ in 500 of 1024 bits", neighbour(500), true},
		{"primes that differ in 530 of 1024 bits", neighbour(530), false},
		{"random primes", new(big.Int).Mul(p, prime(t, 1024)), false},
		{"a prime", p, false},
		{"an even number", new(big.Int).Lsh(p, 1), false},
		{"a negative number", new(big.Int).Neg(neighbour(1)), false},
		{"zero", new(big.Int), false},
	} {
		if got := ClosePrimes(row.n, FermatRounds); (got > 0) != row.want {
			t.Errorf("%s: fell in round %d", row.name, got)
		}
	}
}

// TestClosePrimesSmall compares with trial of every pair of factors.
func TestClosePrimesSmall(t *testing.T) {
	for n := int64(9); n < 3000; n += 2 {
		composite := !big.NewInt(n).ProbablyPrime(0)
		if got := ClosePrimes(big.NewInt(n), int(n)) > 0; got != composite {
			t.Fatalf("%d composite: %v, but fell apart: %v", n, composite, got)
		}
	}
}

func TestSmallFactor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "n"))
		want := 0
		for d := int64(2); d < 752 && n.Sign() > 0 && want == 0; d++ {
			if new(big.Int).Mod(n, big.NewInt(d)).Sign() == 0 {
				want = int(d)
			}
		}
		if got := SmallFactor(n); got != want {
			t.Fatalf("smallest factor of %v is %d, not %d", n, got, want)
		}
	})
	if got := SmallFactor(new(big.Int).Mul(prime(t, 1024), prime(t, 1024))); got != 0 {
		t.Errorf("found %d in a sound modulus", got)
	}
}

func TestNonce(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(certificate.Signature, &want); err != nil {
		t.Fatal(err)
	}
	r, signed, ok := Nonce(der)
	if !ok || !bytes.Equal(r, want.R.Bytes()) || !bytes.Equal(signed, certificate.RawTBSCertificate) {
		t.Errorf("nonce %x (%v), not %x", r, ok, want.R)
	}
}

func FuzzNonce(f *testing.F) {
	seed, err := os.ReadFile("testdata/ecdsa.der")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("\x30\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, signed, ok := Nonce(data); ok && (len(r) > len(data) || !bytes.Contains(data, signed)) {
			t.Errorf("%d bytes of nonce from %d of certificate", len(r), len(data))
		}
	})
}

func BenchmarkROCA(b *testing.B) {
	n := new(big.Int).Mul(odd(1024), odd(1024))
	for b.Loop() {
		ROCA(n)
	}
}

func BenchmarkClosePrimes(b *testing.B) {
	n := new(big.Int).Mul(odd(1024), odd(1024))
	for b.Loop() {
		ClosePrimes(n, FermatRounds)
	}
}

func BenchmarkSmallFactor(b *testing.B) {
	n := new(big.Int).Mul(prime(b, 1024), prime(b, 1024))
	for b.Loop() {
		SmallFactor(n)
	}
}

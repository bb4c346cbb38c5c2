// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/rule"
)

// primeHits are the hits of a survey in its own order.
func primeHits(t rapid.TB, estate rule.Estate, part int) []rule.Hit {
	var hits []rule.Hit
	err := surveyPrimesBy(context.Background(), estate, part, func(hit rule.Hit) error {
		hits = append(hits, hit)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// TestKeptPrimes lets keys come and go, and what was kept be lost, damaged or
// put back as it once was, all or some of it: at every step the survey finds
// what one finds that remembers nothing. The factors are 64 bits long, so that
// one in common counts, but for the first ones.
func TestKeptPrimes(t *testing.T) {
	factors := []*big.Int{big.NewInt(2), big.NewInt(65537)}
	for len(factors) < 12 {
		factors = append(factors, randomPrime(t, 64))
	}
	rapid.Check(t, func(rt *rapid.T) {
		factor := rapid.SampledFrom(factors)
		estate := fakeEstate{kept: map[string][]byte{}}
		part := rapid.IntRange(1, 6).Draw(rt, "part")
		var past []map[string][]byte
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			for range rapid.IntRange(0, 4).Draw(rt, "arrivals") {
				n := big.NewInt(1)
				for _, f := range rapid.SliceOfN(factor, 1, 3).Draw(rt, "factors") {
					n.Mul(n, f)
				}
				at := rapid.IntRange(0, len(estate.keys)).Draw(rt, "where")
				estate.keys = slices.Insert(estate.keys, at, primeUse(t, n, int64(len(past))))
			}
			for range rapid.IntRange(0, min(2, len(estate.keys))).Draw(rt, "departures") {
				at := rapid.IntRange(0, len(estate.keys)-1).Draw(rt, "who")
				estate.keys = slices.Delete(estate.keys, at, at+1)
			}
			past = append(past, maps.Clone(estate.kept))
			meddle(rt, estate.kept, past)
			want := primeHits(rt, fakeEstate{keys: estate.keys}, part)
			if diff := cmp.Diff(want, primeHits(rt, estate, part)); diff != "" {
				rt.Fatalf("all compared (-), with what was kept (+):\n%s", diff)
			}
		}
	})
}

// primeUse is a key that one credential carries; numbers that differ make keys
// that differ, of the same modulus too.
func primeUse(t testing.TB, n *big.Int, number int64) rule.KeyUse {
	c := keyCredential(t, rsaSPKI(t, n, 2*number+3))
	return rule.KeyUse{Key: c.Key, Credentials: []rule.KeyBearer{{ID: c.ID, Kind: c.Kind}}}
}

// meddle does to what was kept what may happen to it.
func meddle(t *rapid.T, kept map[string][]byte, past []map[string][]byte) {
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		switch rapid.SampledFrom([]string{"", "", "", "lost", "damaged", "old"}).Draw(t, name) {
		case "lost":
			delete(kept, name)
		case "damaged":
			value := slices.Clone(kept[name])
			at := rapid.IntRange(0, len(value)-1).Draw(t, "byte")
			if value[at] ^= 1; rapid.Bool().Draw(t, "cut") {
				value = value[:max(at, 1)] // the store keeps no empty ones
			}
			kept[name] = value
		case "old":
			if old := rapid.SampledFrom(past).Draw(t, "time")[name]; old != nil {
				kept[name] = old
			}
		}
	}
}

// A walker counts the walks over the keys.
type walker struct {
	fakeEstate
	walks int
}

func (w *walker) Keys(ctx context.Context, family string, fn func(rule.KeyUse) error) error {
	w.walks++
	return w.fakeEstate.Keys(ctx, family, fn)
}

// TestKeptPrimesSaveWork shows when what was kept is enough: one walk over the
// keys is the test of new ones, and more are the full comparison.
func TestKeptPrimesSaveWork(t *testing.T) {
	estate := &walker{fakeEstate: fakeEstate{kept: map[string][]byte{}}}
	var primes []*big.Int
	for i := range 40 {
		primes = append(primes, randomPrime(t, 128))
		if i%2 == 1 {
			estate.keys = append(estate.keys, primeUse(t, new(big.Int).Mul(primes[i-1], primes[i]), 1))
		}
	}
	estate.keys = append(estate.keys, primeUse(t, new(big.Int).Mul(primes[2], primes[3]), 2))
	fresh := func() *big.Int { return soundModulus(t, 256) }
	add := func(list ...*big.Int) func() {
		return func() {
			for _, n := range list {
				estate.keys = append(estate.keys, primeUse(t, n, 1))
			}
		}
	}
	leave := func(n int) func() { return func() { estate.keys = estate.keys[n:] } } // the oldest
	twins := randomPrime(t, 128)
	for _, step := range []struct {
		what    string
		change  func()
		all     bool // compared with each other
		hits    int
		indexed int
		parts   int
	}{
		{"the first time", func() {}, true, 0, 20, 2},
		{"the same again", func() {}, false, 0, 20, 2},
		{"new ones, too many for the last part", add(fresh(), fresh(), fresh()), false, 0, 23, 3},
		{"more, which the last part has room for", add(fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh()), false, 0, 31, 3},
		{"new ones that share with each other", add(new(big.Int).Mul(twins, primes[0]), new(big.Int).Mul(twins, randomPrime(t, 128))), true, 3, 33, 3},
		{"the same again", func() {}, false, 3, 33, 3},
		{"one of the three leaves", leave(1), false, 2, 33, 3},
		{"another sound one", add(fresh()), false, 2, 34, 4},
		{"most leave", leave(21), true, 2, 13, 2},
		{"the lost part is not missed", func() { delete(estate.kept, primePart(0)) }, false, 2, 13, 2},
		{"until something new comes", add(fresh()), true, 2, 14, 2},
		{"too many", add(fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh(), fresh()), true, 2, 26, 3},
	} {
		step.change()
		estate.walks = 0
		hits := primeHits(t, estate, 11)
		walks := estate.walks
		if len(hits) > 0 {
			walks-- // to see whose they are
		}
		if len(hits) != step.hits || (walks > 1) != step.all {
			t.Errorf("%s: %d hits in %d walks; want %d, all compared: %v", step.what, len(hits), walks, step.hits, step.all)
		}
		var m primeMemory
		if err := m.unmarshal(estate.kept[primeIndex]); err != nil || len(m.moduli) != step.indexed || len(m.parts) != step.parts || len(estate.kept) > step.parts+1 {
			t.Errorf("%s: an index of %d moduli in %d parts, %d values, %v; want %d in %d parts", step.what, len(m.moduli), len(m.parts), len(estate.kept), err, step.indexed, step.parts)
		}
	}
}

// TestKeptPrimesOfAnotherTime has an index with a sound product of other moduli.
func TestKeptPrimesOfAnotherTime(t *testing.T) {
	p := randomPrime(t, 128)
	use := func() rule.KeyUse { return primeUse(t, new(big.Int).Mul(p, randomPrime(t, 128)), 1) }
	estate := fakeEstate{kept: map[string][]byte{}, keys: []rule.KeyUse{use()}}
	other := fakeEstate{kept: map[string][]byte{}, keys: []rule.KeyUse{primeUse(t, soundModulus(t, 256), 1)}}
	primeHits(t, estate, 3)
	primeHits(t, other, 3)
	estate.kept[primePart(0)] = other.kept[primePart(0)]
	estate.keys = append(estate.keys, use())
	if hits := primeHits(t, estate, 3); len(hits) != 2 {
		t.Errorf("%d hits, want 2", len(hits))
	}
}

// A restless estate loses its last key before one of the walks, for that walk.
type restless struct {
	walker
	at int
}

func (r *restless) Keys(ctx context.Context, family string, fn func(rule.KeyUse) error) error {
	if r.walks++; r.walks != r.at {
		return r.fakeEstate.Keys(ctx, family, fn)
	}
	return fakeEstate{keys: r.keys[:len(r.keys)-1]}.Keys(ctx, family, fn)
}

// TestKeptPrimesOfARestlessEstate has a key away while the others are compared,
// or come only then. Whatever that survey says, the next one says the truth.
func TestKeptPrimesOfARestlessEstate(t *testing.T) {
	p := randomPrime(t, 128)
	for at := range 5 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			estate := &restless{walker: walker{fakeEstate: fakeEstate{kept: map[string][]byte{}}}, at: at}
			for range 4 {
				estate.keys = append(estate.keys, primeUse(t, soundModulus(t, 256), 1))
			}
			for range 2 {
				estate.keys = append(estate.keys, primeUse(t, new(big.Int).Mul(p, randomPrime(t, 128)), 1))
			}
			primeHits(t, estate, 3)
			if hits := primeHits(t, estate, 3); len(hits) != 2 {
				t.Errorf("%d hits, want 2", len(hits))
			}
		})
	}
}

// FuzzPrimeIndex shows that no stored index does harm, be its checksum right.
func FuzzPrimeIndex(f *testing.F) {
	m := primeMemory{parts: make([]productHash, 2), moduli: map[digest]*knownModulus{{1}: {suspect: true}, {2}: {}}}
	f.Add(m.marshal()[primeHeader:])
	f.Add((&primeMemory{}).marshal()[primeHeader:])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		index := slices.Concat([]byte{primeVersion}, sum[:], body)
		var m primeMemory
		if err := m.unmarshal(index); err != nil {
			return
		}
		if again := m.marshal(); len(again) > len(index) {
			t.Errorf("%d bytes, out of %d", len(again), len(index))
		}
	})
}

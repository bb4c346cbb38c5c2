// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// survey measures the rule shared-prime on an estate: the first time, with some
// new keys, with nothing new, and with a new key that shares a prime.
func survey(random *rand.ChaCha8, count, bits, fresh int) error {
	list := rules.All()
	at := slices.IndexFunc(list, func(r rule.Rule) bool { return r.Name == "shared-prime" })
	estate := &memory{kept: map[string][]byte{}}
	secret := primeProduct(random, bits/2)
	shared := func() *big.Int { return new(big.Int).Mul(secret, primeProduct(random, bits/2)) }
	for range count - 2 {
		if err := estate.add(primeProduct(random, bits)); err != nil {
			return err
		}
	}
	for range 2 {
		if err := estate.add(shared()); err != nil {
			return err
		}
	}
	step := func(name string, want int) error {
		hits := 0
		start := measure()
		err := list[at].Survey(context.Background(), estate, func(rule.Hit) error { hits++; return nil })
		start.report(name)
		if err == nil && hits != want {
			err = fmt.Errorf("%s: %d hits, not %d", name, hits, want)
		}
		return err
	}
	if err := step("shared-prime, first time", 2); err != nil {
		return err
	}
	for range fresh {
		if err := estate.add(primeProduct(random, bits)); err != nil {
			return err
		}
	}
	if err := step(fmt.Sprintf("  with %d new keys", fresh), 2); err != nil {
		return err
	}
	if err := step("  with no new key", 2); err != nil {
		return err
	}
	if err := estate.add(shared()); err != nil {
		return err
	}
	if err := step("  with one that shares", 3); err != nil {
		return err
	}
	kept := 0
	for _, value := range estate.kept {
		kept += len(value)
	}
	fmt.Printf("%-28s %8.2f MiB\n", "  kept", float64(kept)/(1<<20))
	return nil
}

// primeProduct is a number of little less than so many bits without small
// factors. Real primes take a minute for each thousand; primes of 64 bits are
// found soon, and two of them are the same as seldom as primes of keys would.
func primeProduct(random *rand.ChaCha8, bits int) *big.Int {
	n := big.NewInt(1)
	for range bits / 64 {
		p := oddNumber(random, 64)
		for !p.ProbablyPrime(0) { // proves it below 2^64 (math/big)
			p = oddNumber(random, 64)
		}
		n.Mul(n, p)
	}
	return n
}

// A memory is an estate of RSA keys that keeps what a survey wants kept.
type memory struct {
	keys []rule.KeyUse
	kept map[string][]byte
}

func (m *memory) add(n *big.Int) error {
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		return err
	}
	key, err := parse.Key(der)
	bearer := rule.KeyBearer{ID: tallystick.FingerprintOf(der), Kind: tallystick.KindKey}
	m.keys = append(m.keys, rule.KeyUse{Key: key, Credentials: []rule.KeyBearer{bearer}})
	return err
}

func (m *memory) Keys(_ context.Context, family string, fn func(rule.KeyUse) error) error {
	for _, key := range m.keys {
		if strings.HasPrefix(key.Key.Algorithm, family) {
			if err := fn(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Certificates(context.Context, string, func(*tallystick.Credential) error) error {
	return nil
}

func (m *memory) Kept(_ context.Context, name string) ([]byte, error) { return m.kept[name], nil }

func (m *memory) Keep(_ context.Context, name string, value []byte) error {
	m.kept[name] = slices.Clone(value) // an empty one reads like none
	return nil
}

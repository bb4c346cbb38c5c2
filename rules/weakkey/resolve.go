// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"math/big"
	"slices"
)

// maxPairs bounds how many pairs of common divisors are compared: at some 20
// microseconds each, a few seconds. It is enough for 700 different ones; the
// surveys of the whole internet met some thousands.
const maxPairs = 250_000

// A class is the moduli that have the same common divisor with all others.
//
// Two moduli have a factor in common exactly if their classes' divisors have,
// and it is the same factor: a prime that divides both divides either divisor
// as often as it divides the less of them. So classes can be compared instead of
// moduli, and a prime that a thousand keys share makes one class, not a thousand.
type class struct {
	divisor *big.Int
	members []*Share
	related []relation
	cut     bool // not compared with every other class
}

// A relation says which factor the divisors of two classes have in common.
type relation struct {
	to     *class
	factor *big.Int
}

// resolve tells which of the suspects are broken and by which others.
func resolve(ctx context.Context, suspects []suspect) ([]Share, error) {
	shares := make([]Share, len(suspects))
	byDivisor := map[digest]*class{}
	var whole, classes []*class
	for i, s := range suspects {
		shares[i].Modulus = s.modulus
		name := digestOf(s.divisor)
		c := byDivisor[name]
		if c == nil {
			c = &class{divisor: s.divisor}
			byDivisor[name] = c
			classes = append(classes, c)
		}
		c.members = append(c.members, &shares[i])
		if s.divisor.Cmp(s.modulus) == 0 {
			whole = append(whole, c)
		}
	}
	// Where the divisor is all of the modulus, only the comparison tells its
	// factors, so these go first.
	if err := relate(ctx, unique(append(whole, classes...)), maxPairs); err != nil {
		return nil, err
	}
	broken := map[*Share]bool{}
	for _, c := range classes {
		for _, m := range c.members {
			broken[m] = c.judge(m)
		}
	}
	var kept []Share
	for i := range shares {
		if broken[&shares[i]] {
			kept = append(kept, shares[i])
		}
	}
	return kept, nil
}

// unique returns the classes without repetitions, in order.
func unique(classes []*class) []*class {
	seen := map[*class]bool{}
	return slices.DeleteFunc(classes, func(c *class) bool {
		again := seen[c]
		seen[c] = true
		return again
	})
}

// relate compares the classes with each other, until that has been done so many
// times.
func relate(ctx context.Context, classes []*class, pairs int) error {
	one := big.NewInt(1)
	for i, a := range classes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if pairs -= len(classes) - i - 1; pairs < 0 {
			a.cut = true
			continue
		}
		for _, b := range classes[i+1:] {
			if factor := new(big.Int).GCD(nil, nil, a.divisor, b.divisor); factor.Cmp(one) > 0 {
				a.related = append(a.related, relation{b, factor})
				b.related = append(b.related, relation{a, factor})
			}
		}
	}
	return nil
}

// judge fills in what is known about a member and says whether it is broken: a
// factor of it is known that is not all of it, or may be.
func (c *class) judge(m *Share) bool {
	if c.divisor.Cmp(m.Modulus) < 0 {
		m.Bits = c.divisor.BitLen()
		m.name(c.members)
	}
	for _, r := range c.related {
		if r.factor.Cmp(m.Modulus) < 0 {
			m.Bits = max(m.Bits, r.factor.BitLen())
			m.name(r.to.members)
		}
	}
	return m.Bits > 0 || c.cut
}

// name adds other moduli to those that s shares a factor with.
func (s *Share) name(others []*Share) {
	for _, o := range others {
		if len(s.With) == MaxWith {
			return
		}
		if o != s {
			s.With = append(s.With, o.Modulus)
		}
	}
}

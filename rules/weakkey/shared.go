// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"crypto/sha256"
	"math/big"
	"slices"

	"github.com/remyoudompheng/bigfft"
)

// A Share is a modulus that has a factor in common with others.
type Share struct {
	Modulus *big.Int
	// Bits is the length of the largest factor found. It is 0 when there were
	// so many such moduli that the factor was not told from the modulus.
	Bits int
	// With holds the first few of the other moduli, at most MaxWith.
	With []*big.Int
}

// MaxWith is how many other moduli a Share names.
const MaxWith = 8

// A Source calls fn for each of a set of moduli until fn returns an error, which
// it returns. It may be called twice, and should give the same moduli then; fn
// keeps n.
type Source func(fn func(n *big.Int) error) error

// Moduli returns the source of a list.
func Moduli(list []*big.Int) Source {
	return func(fn func(n *big.Int) error) error {
		for _, n := range list {
			if err := fn(n); err != nil {
				return err
			}
		}
		return nil
	}
}

// shardBits is the length of the product of one shard of moduli: 32,768 of 2048
// bits. Up to four shards cost no more time than one tree over all of them; the
// larger the shard, the more memory its tree takes.
const shardBits = 1 << 26

// Shared returns the moduli whose private half follows from another one because
// both have a prime in common, in the order in which the source first gives
// them. A modulus that comes twice is the same key and shares nothing with
// itself; a modulus that divides another one gives no factor away by that.
// Numbers below 2 and those longer than MaxBits are passed over.
//
// Time grows little faster than linearly up to some 100,000 moduli of 2048
// bits, two CPU minutes, and then with the square. Memory is bounded by the
// product of the moduli, as long as they are together, and by one shard of
// some 32,000 of them with its tree; bench/batchgcd has the figures. An error
// is that of the source or of ctx.
func Shared(ctx context.Context, source Source) ([]Share, error) {
	return shared(ctx, source, shardBits)
}

func shared(ctx context.Context, source Source, limit int) ([]Share, error) {
	found, err := suspects(ctx, source, limit)
	if err != nil {
		return nil, err
	}
	return resolve(ctx, found)
}

// Suspects returns the moduli that have any factor in common with another one,
// in the order in which the source first gives them. Only they matter to
// Shared: it says the same of the suspects alone as of all moduli, so whoever
// knows of some moduli that they are none can leave them out. It costs what
// Shared costs, and errors are the same.
func Suspects(ctx context.Context, source Source) ([]*big.Int, error) {
	found, err := suspects(ctx, source, shardBits)
	moduli := make([]*big.Int, len(found))
	for i, s := range found {
		moduli[i] = s.modulus
	}
	return moduli, err
}

func suspects(ctx context.Context, source Source, limit int) ([]suspect, error) {
	products, err := shardProducts(ctx, source, limit)
	if err != nil {
		return nil, err
	}
	var found []suspect
	i := 0
	err = shards(source, limit, func(moduli []*big.Int) error {
		others := slices.Clone(products)
		if i < len(others) { // false only when the source has grown meanwhile
			others = slices.Delete(others, i, i+1)
		}
		i++
		return common(ctx, moduli, others, func(s suspect) { found = append(found, s) })
	})
	return found, err
}

// shardProducts returns the product of each shard, or nothing when there is but
// one, which needs no other's.
func shardProducts(ctx context.Context, source Source, limit int) ([]*big.Int, error) {
	var products []*big.Int
	var last []*big.Int
	finish := func() error {
		product, err := multiply(ctx, last)
		products = append(products, product)
		return err
	}
	err := shards(source, limit, func(moduli []*big.Int) error {
		if last != nil {
			if err := finish(); err != nil {
				return err
			}
		}
		last = moduli
		return nil
	})
	if err == nil && products != nil {
		err = finish()
	}
	return products, err
}

// shards calls fn for runs of distinct moduli whose lengths add up to the limit
// in bits, or little more.
func shards(source Source, limit int, fn func([]*big.Int) error) error {
	var moduli []*big.Int
	size := 0
	seen := map[digest]struct{}{}
	err := source(func(n *big.Int) error {
		if !usableModulus(n) {
			return nil
		}
		name := digestOf(n)
		if _, again := seen[name]; again {
			return nil
		}
		seen[name] = struct{}{}
		moduli, size = append(moduli, n), size+n.BitLen()
		if size < limit {
			return nil
		}
		full := moduli
		moduli, size = nil, 0
		return fn(full)
	})
	if err == nil && len(moduli) > 0 {
		err = fn(moduli)
	}
	return err
}

// A digest names a modulus in sixteen bytes, where a million of them are held.
type digest [16]byte

func digestOf(n *big.Int) digest {
	sum := sha256.Sum256(n.Bytes())
	return digest(sum[:16])
}

// usableModulus says whether n is a number that factors can be sought of.
func usableModulus(n *big.Int) bool {
	return n.Sign() > 0 && n.BitLen() > 1 && n.BitLen() <= MaxBits
}

// A suspect is a modulus with its common divisor with the product of all others.
type suspect struct{ modulus, divisor *big.Int }

// common calls fn for each modulus of a shard that has a common divisor with
// the product of the rest of its shard and of the other shards.
func common(ctx context.Context, moduli, others []*big.Int, fn func(suspect)) error {
	tree, sum, err := newTree(ctx, moduli)
	if err != nil {
		return err
	}
	v := newDivisor(tree.product)
	for _, product := range others {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Reducing the product first is nearly free: it is as long as the divisor.
		sum = v.mod(bigfft.Mul(v.mod(sum), v.mod(product)))
	}
	one := big.NewInt(1)
	return tree.descend(ctx, v.fraction(sum), func(n, rest *big.Int) {
		if divisor := rest.GCD(nil, nil, n, rest); divisor.Cmp(one) > 0 {
			fn(suspect{n, divisor})
		}
	})
}

// multiply returns the product of the moduli.
func multiply(ctx context.Context, moduli []*big.Int) (*big.Int, error) {
	if len(moduli) == 1 {
		return moduli[0], nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	half := len(moduli) / 2
	left, err := multiply(ctx, moduli[:half])
	if err != nil {
		return nil, err
	}
	right, err := multiply(ctx, moduli[half:])
	if err != nil {
		return nil, err
	}
	return bigfft.Mul(left, right), nil
}

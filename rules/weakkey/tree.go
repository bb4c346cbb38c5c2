// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"math/big"

	"github.com/remyoudompheng/bigfft"
)

// A node of a product tree holds the product of the moduli below it.
type node struct {
	product     *big.Int
	left, right *node // nil in a leaf, whose product is the modulus itself
}

// newTree multiplies the moduli, of which there is at least one, and returns
// the tree and the sum of product/n over every modulus n. Modulo any n all
// terms of the sum vanish but its own, so the sum stands for the product of all
// the others; it is as long as the product, where the usual product modulo n^2
// takes a tree of numbers twice as long.
func newTree(ctx context.Context, moduli []*big.Int) (*node, *big.Int, error) {
	if len(moduli) == 1 {
		return &node{product: moduli[0]}, big.NewInt(1), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	half := len(moduli) / 2
	left, leftSum, err := newTree(ctx, moduli[:half])
	if err != nil {
		return nil, nil, err
	}
	right, rightSum, err := newTree(ctx, moduli[half:])
	if err != nil {
		return nil, nil, err
	}
	sum := bigfft.Mul(leftSum, right.product)
	sum.Add(sum, bigfft.Mul(rightSum, left.product))
	return &node{bigfft.Mul(left.product, right.product), left, right}, sum, nil
}

// descend calls fn for each modulus n below t with x modulo n, in the order of
// the moduli, where fraction is the fractional part of x divided by t's product
// in units of 2^-w, w being precision(t). It takes the tree apart as it goes.
//
// This is Bernstein's scaled remainder tree: the fraction of x/left is that of
// x/(left*right) times right, so going down is one multiplication where the
// usual remainder tree divides. Dropping digits errs by less than 2^-w, which
// the way down to a leaf multiplies by product/n: after n times the fraction
// that is less than one 2^64th (2^32nd on 32-bit machines) for each level.
func (t *node) descend(ctx context.Context, fraction *big.Int, fn func(n, rest *big.Int)) error {
	if t.left == nil {
		rest := new(big.Int).Mul(fraction, t.product)
		w := precision(t.product) * wordBits
		half := new(big.Int).Lsh(big.NewInt(1), uint(w-1))
		fn(t.product, rest.Rsh(rest.Add(rest, half), uint(w)))
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	left, right := t.left, t.right
	w := precision(t.product)
	leftFraction := scale(fraction, right.product, w, precision(left.product))
	rightFraction := scale(fraction, left.product, w, precision(right.product))
	t.product, t.left, t.right = nil, nil, nil
	if err := left.descend(ctx, leftFraction, fn); err != nil {
		return err
	}
	return right.descend(ctx, rightFraction, fn)
}

// precision is the number of words of a fraction that is to be multiplied by
// at most product: one word more than its length.
func precision(product *big.Int) int { return len(product.Bits()) + 1 }

// scale multiplies a fraction of w words by factor and returns the upper keep
// words of the fractional part.
func scale(fraction, factor *big.Int, w, keep int) *big.Int {
	words := bigfft.Mul(fraction, factor).Bits()
	words = words[:min(w, len(words))]
	words = words[min(w-keep, len(words)):]
	kept := make([]big.Word, len(words)) // a copy, so that the long product can go
	copy(kept, words)
	return new(big.Int).SetBits(kept)
}

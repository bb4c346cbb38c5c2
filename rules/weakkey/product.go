// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"

	"github.com/remyoudompheng/bigfft"
)

// A Product is all moduli seen so far, multiplied, so that new ones can be
// tested against all of them at once. It is as long as the moduli together: 256
// bytes for each RSA-2048 key. The zero Product holds none.
type Product struct {
	product *big.Int // nil for none
	count   uint64
}

// Len returns the number of moduli held.
func (p *Product) Len() int { return int(p.count) }

// Multiply takes further moduli in: many at once cost hardly more than one. They
// are above 1, and each is taken in once. Numbers that Shared passes over are not
// taken in. An error is that of ctx, and leaves p as it was.
func (p *Product) Multiply(ctx context.Context, moduli []*big.Int) error {
	usable := usableOf(moduli)
	if len(usable) == 0 {
		return nil
	}
	product, err := multiply(ctx, usable)
	if err != nil {
		return err
	}
	if p.product != nil {
		product = bigfft.Mul(p.product, product)
	}
	p.product, p.count = product, p.count+uint64(len(usable))
	return nil
}

// Coprime says that none of the moduli has a factor in common with any that is
// held; one that is held already has. Numbers that Shared passes over have none.
// It reduces the product modulo all of them, and that modulo each: the first
// takes the time of some multiplications of the product, however many they are.
// An error is that of ctx.
func (p *Product) Coprime(ctx context.Context, moduli []*big.Int) (bool, error) {
	usable := usableOf(moduli)
	if p.product == nil || len(usable) == 0 {
		return true, nil
	}
	tree, _, err := newTree(ctx, usable)
	if err != nil {
		return false, err
	}
	v := newDivisor(tree.product)
	coprime, one := true, big.NewInt(1)
	err = tree.descend(ctx, v.fraction(v.mod(p.product)), func(n, rest *big.Int) {
		coprime = coprime && rest.GCD(nil, nil, n, rest).Cmp(one) == 0
	})
	return coprime, err
}

func usableOf(moduli []*big.Int) []*big.Int {
	return slices.DeleteFunc(slices.Clone(moduli), func(n *big.Int) bool { return !usableModulus(n) })
}

// The stored form is a version byte, the count, a SHA-256 of the rest, and the
// product in big-endian order.
const (
	productVersion = 1
	productHeader  = 1 + 8 + sha256.Size
)

var errProduct = errors.New("not a stored product of moduli, or a damaged one")

// MarshalBinary returns the form in which p is stored.
func (p *Product) MarshalBinary() ([]byte, error) {
	var magnitude []byte
	if p.product != nil {
		magnitude = p.product.Bytes()
	}
	sum := sha256.Sum256(magnitude)
	out := binary.BigEndian.AppendUint64([]byte{productVersion}, p.count)
	return append(append(out, sum[:]...), magnitude...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote. A damaged product would call
// broken keys sound, so it is refused; the remedy is to multiply it anew.
func (p *Product) UnmarshalBinary(data []byte) error {
	if len(data) < productHeader || data[0] != productVersion {
		return errProduct
	}
	count, magnitude := binary.BigEndian.Uint64(data[1:]), data[productHeader:]
	if sha256.Sum256(magnitude) != [sha256.Size]byte(data[9:productHeader]) || (count == 0) != (len(magnitude) == 0) {
		return errProduct
	}
	*p = Product{count: count}
	if count > 0 {
		p.product = new(big.Int).SetBytes(magnitude)
	}
	return nil
}

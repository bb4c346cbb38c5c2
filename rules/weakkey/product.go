// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"

	"github.com/remyoudompheng/bigfft"
)

// A Product is all moduli seen so far, multiplied, so that a new one can be
// tested against all of them with one division. It is as long as the moduli
// together: 256 bytes for each RSA-2048 key. The zero Product holds none.
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
	var usable []*big.Int
	for _, n := range moduli {
		if usableModulus(n) {
			usable = append(usable, n)
		}
	}
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

// Common returns the length in bits of the largest common divisor of n and the
// product: 1 when n has no factor in common with any modulus held, and the
// length of n itself when n is held already or both its primes are. Shared then
// tells which others are concerned. It costs one division of the product by n.
func (p *Product) Common(n *big.Int) int {
	if p.product == nil || !usableModulus(n) {
		return 1
	}
	rest := new(big.Int).Rem(p.product, n)
	return rest.GCD(nil, nil, n, rest).BitLen()
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

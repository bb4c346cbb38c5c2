// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"context"
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// TestProduct holds Coprime to the plain meaning, with the product put away and
// taken out again between any two steps.
func TestProduct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Custom(func(t *rapid.T) *big.Int {
			return big.NewInt(rapid.Int64Range(-3, 1<<20).Draw(t, "n"))
		})
		var p Product
		plain, count := big.NewInt(1), 0
		for _, batch := range rapid.SliceOf(rapid.SliceOf(number)).Draw(t, "batches") {
			if err := p.Multiply(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
			for _, n := range batch {
				if n.Cmp(big.NewInt(1)) > 0 {
					plain.Mul(plain, n)
					count++
				}
			}
			p = stored(t, &p)
		}
		moduli := rapid.SliceOf(number).Draw(t, "new")
		want := true
		for _, n := range moduli {
			want = want && (n.Cmp(big.NewInt(2)) < 0 || new(big.Int).GCD(nil, nil, n, plain).BitLen() == 1)
		}
		got, err := p.Coprime(context.Background(), moduli)
		if err != nil || got != want || p.Len() != count {
			t.Fatalf("coprime is %v, error %v, %d held; not %v and %d", got, err, p.Len(), want, count)
		}
	})
}

func stored(t *rapid.T, p *Product) Product {
	data, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var out Product
	if err := out.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProductRefusesDamage(t *testing.T) {
	var p Product
	if err := p.Multiply(t.Context(), []*big.Int{big.NewInt(1 << 30), big.NewInt(77)}); err != nil {
		t.Fatal(err)
	}
	good, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 0x40
		var q Product
		if err := q.UnmarshalBinary(bad); err == nil && (i == 0 || i > 8) {
			t.Errorf("byte %d changed, and it was taken", i)
		}
		if err := q.UnmarshalBinary(good[:i]); err == nil {
			t.Errorf("cut to %d bytes, and it was taken", i)
		}
	}
}

func TestProductStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var p Product
	err := p.Multiply(ctx, []*big.Int{big.NewInt(15), big.NewInt(77)})
	if !errors.Is(err, context.Canceled) || p.Len() != 0 {
		t.Errorf("error %v with %d held, not that of the context with none", err, p.Len())
	}
	if err := p.Multiply(t.Context(), []*big.Int{big.NewInt(15)}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Coprime(ctx, []*big.Int{big.NewInt(7), big.NewInt(11)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, not that of the context", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules/weakkey"
)

// partSize is how many moduli one kept product holds, and how many new ones are
// worth comparing with the products: beyond, all are compared anew. A part of
// RSA-2048 keys is 8 MiB.
const partSize = 1 << 15

// A primeMemory is what is known of moduli that were compared with each other:
// each that is no suspect has no factor in common with any other of them.
//
// It holds for moduli that have left the estate too, and so needs no change when
// some leave. What is kept of it is an index and the products of the moduli, in
// parts so that no value and no multiplication grows with the estate. The index
// names the contents of the parts: parts of another time make it void.
type primeMemory struct {
	estate rule.Estate
	part   int // moduli in one product, at most
	moduli map[digest]*knownModulus
	parts  []productHash
	walk   int // counts the walks over the estate
}

type knownModulus struct {
	suspect bool
	met     int // the last walk that met the modulus
}

// A productHash is the SHA-256 of a product as it is stored.
type productHash [sha256.Size]byte

const primeIndex = "shared-prime"

func primePart(i int) string { return fmt.Sprintf("%s/%d", primeIndex, i) }

// primeSuspects returns the moduli of the estate that have a factor in common
// with another one, in the estate's order, and keeps what it learned.
func primeSuspects(ctx context.Context, estate rule.Estate, part int) ([]*big.Int, error) {
	m := &primeMemory{estate: estate, part: part}
	index, err := estate.Kept(ctx, primeIndex)
	if err != nil {
		return nil, err
	}
	if m.unmarshal(index) == nil {
		suspects, err := m.compareNew(ctx)
		if !errors.Is(err, errCompareAll) {
			return suspects, err
		}
	}
	return m.compareAll(ctx)
}

// each calls fn once for every modulus of the estate.
func (m *primeMemory) each(ctx context.Context, fn func(digest, *big.Int) error) error {
	m.walk++
	return m.estate.Keys(ctx, "rsa-", func(use rule.KeyUse) error {
		n, _, ok := examined(&use.Key)
		if !ok {
			return nil
		}
		name := digestOf(n.Bytes())
		if known := m.moduli[name]; known != nil {
			if known.met == m.walk {
				return nil // the same modulus with another exponent
			}
			known.met = m.walk
		}
		return fn(name, n)
	})
}

// errCompareAll says that what is known does not save the full comparison.
var errCompareAll = errors.New("every modulus has to be compared with every other")

// compareNew compares the moduli that are not known with those that are, and
// with each other.
func (m *primeMemory) compareNew(ctx context.Context) ([]*big.Int, error) {
	known := len(m.moduli)
	most := min(known, m.part) // more would take longer than comparing all
	var candidates, arrived []*big.Int
	left := known
	err := m.each(ctx, func(name digest, n *big.Int) error {
		at := m.moduli[name]
		if at == nil {
			if len(arrived) == most {
				return errCompareAll
			}
			m.moduli[name] = &knownModulus{met: m.walk}
			arrived, candidates = append(arrived, n), append(candidates, n)
			return nil
		}
		left--
		if at.suspect {
			candidates = append(candidates, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if left > known/2 { // the products are mostly of moduli that have left
		return nil, errCompareAll
	}
	var last weakkey.Product
	if len(arrived) > 0 {
		if last, err = m.newToProducts(ctx, arrived); err != nil {
			return nil, err
		}
	}
	suspects, err := weakkey.Suspects(ctx, weakkey.Moduli(candidates))
	if err != nil || len(arrived) == 0 {
		return suspects, err
	}
	if err := m.extend(ctx, &last, arrived); err != nil {
		return nil, err
	}
	return suspects, m.keepIndex(ctx, suspects)
}

// newToProducts returns the last product, or errCompareAll when a modulus has a
// factor in common with any known one: the products do not tell which.
func (m *primeMemory) newToProducts(ctx context.Context, arrived []*big.Int) (last weakkey.Product, err error) {
	for i, hash := range m.parts {
		stored, err := m.estate.Kept(ctx, primePart(i))
		if err != nil {
			return last, err
		}
		if sha256.Sum256(stored) != hash || last.UnmarshalBinary(stored) != nil {
			return last, errCompareAll
		}
		coprime, err := last.Coprime(ctx, arrived)
		if err != nil {
			return last, err
		}
		if !coprime {
			return last, errCompareAll
		}
	}
	return last, nil
}

// extend multiplies moduli into the last product where it has room, or starts
// another one.
func (m *primeMemory) extend(ctx context.Context, last *weakkey.Product, moduli []*big.Int) error {
	if last.Len() == 0 || last.Len()+len(moduli) > m.part {
		return m.addPart(ctx, &weakkey.Product{}, moduli)
	}
	m.parts = m.parts[:len(m.parts)-1]
	return m.addPart(ctx, last, moduli)
}

// addPart keeps a product, with the moduli multiplied into it, as a further part.
func (m *primeMemory) addPart(ctx context.Context, product *weakkey.Product, moduli []*big.Int) error {
	if err := product.Multiply(ctx, moduli); err != nil {
		return err
	}
	stored, err := product.MarshalBinary()
	if err != nil {
		return err
	}
	m.parts = append(m.parts, sha256.Sum256(stored))
	return m.estate.Keep(ctx, primePart(len(m.parts)-1), stored)
}

// compareAll compares every modulus with every other. The estate may change
// meanwhile: those that the first walk meets count, and if any of them is gone
// in a later one, then nothing is kept, since it was not compared with all.
func (m *primeMemory) compareAll(ctx context.Context) ([]*big.Int, error) {
	if err := m.multiplyAll(ctx); err != nil {
		return nil, err
	}
	still := true
	suspects, err := weakkey.Suspects(ctx, func(fn func(*big.Int) error) error {
		left := len(m.moduli)
		err := m.each(ctx, func(name digest, n *big.Int) error {
			if m.moduli[name] == nil {
				return nil
			}
			left--
			return fn(n)
		})
		still = still && left == 0
		return err
	})
	if err != nil || !still {
		return suspects, err
	}
	return suspects, m.keepIndex(ctx, suspects)
}

// multiplyAll starts anew with the moduli of the estate, and keeps their products.
func (m *primeMemory) multiplyAll(ctx context.Context) error {
	m.moduli, m.parts = make(map[digest]*knownModulus), nil
	var batch []*big.Int
	err := m.each(ctx, func(name digest, n *big.Int) error {
		m.moduli[name] = &knownModulus{met: m.walk}
		if batch = append(batch, n); len(batch) < m.part {
			return nil
		}
		full := batch
		batch = nil
		return m.addPart(ctx, &weakkey.Product{}, full)
	})
	if err == nil && len(batch) > 0 {
		err = m.addPart(ctx, &weakkey.Product{}, batch)
	}
	return err
}

// keepIndex marks further suspects and keeps the index. That it is the last to
// be kept makes the parts count only once all are there.
func (m *primeMemory) keepIndex(ctx context.Context, suspects []*big.Int) error {
	for _, n := range suspects {
		m.moduli[digestOf(n.Bytes())].suspect = true
	}
	if err := m.estate.Keep(ctx, primeIndex, m.marshal()); err != nil {
		return err
	}
	for i := len(m.parts); ; i++ { // of a time when there were more
		stored, err := m.estate.Kept(ctx, primePart(i))
		if err != nil || len(stored) == 0 {
			return err
		}
		if err := m.estate.Keep(ctx, primePart(i), nil); err != nil {
			return err
		}
	}
}

// The stored index is a version byte, a SHA-256 of the rest, the number of
// parts, of suspects and of other moduli, the parts' hashes, and the names of
// the moduli in that order, sorted.
const (
	primeVersion = 1
	primeHeader  = 1 + sha256.Size
	primeCounts  = 3 * 8
)

func (m *primeMemory) marshal() []byte {
	names := slices.SortedFunc(maps.Keys(m.moduli), func(a, b digest) int { return bytes.Compare(a[:], b[:]) })
	var suspects, others []byte
	for _, name := range names {
		if m.moduli[name].suspect {
			suspects = append(suspects, name[:]...)
		} else {
			others = append(others, name[:]...)
		}
	}
	out := make([]byte, primeHeader, primeHeader+primeCounts+len(m.parts)*sha256.Size+len(suspects)+len(others))
	out[0] = primeVersion
	out = binary.BigEndian.AppendUint64(out, uint64(len(m.parts)))
	out = binary.BigEndian.AppendUint64(out, uint64(len(suspects)/len(digest{})))
	out = binary.BigEndian.AppendUint64(out, uint64(len(others)/len(digest{})))
	for _, hash := range m.parts {
		out = append(out, hash[:]...)
	}
	out = append(append(out, suspects...), others...)
	sum := sha256.Sum256(out[primeHeader:])
	copy(out[1:], sum[:])
	return out
}

var errPrimeIndex = errors.New("not a stored index of moduli, or a damaged one")

// unmarshal reads what marshal wrote. The checksum is against accidents: whoever
// can write the store can change the findings themselves.
func (m *primeMemory) unmarshal(data []byte) error {
	if len(data) < primeHeader+primeCounts || data[0] != primeVersion {
		return errPrimeIndex
	}
	body := data[primeHeader:]
	if sha256.Sum256(body) != productHash(data[1:primeHeader]) {
		return errPrimeIndex
	}
	parts, suspects, others := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:]), binary.BigEndian.Uint64(body[16:])
	body = body[primeCounts:]
	if limit := uint64(len(body)); parts > limit || suspects > limit || others > limit ||
		limit != parts*sha256.Size+(suspects+others)*uint64(len(digest{})) {
		return errPrimeIndex
	}
	m.parts, m.moduli = nil, make(map[digest]*knownModulus, suspects+others)
	for range parts {
		m.parts, body = append(m.parts, productHash(body)), body[sha256.Size:]
	}
	for i := range suspects + others {
		m.moduli[digest(body)], body = &knownModulus{suspect: i < suspects}, body[len(digest{}):]
	}
	return nil
}

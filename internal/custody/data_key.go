// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"github.com/tallystick/tallystick"
)

// A DataKey encrypts many things of one owner. It is itself a secret of the custody, so
// that a rewrap moves it and leaves what it has encrypted as it is.
type DataKey struct {
	ID string // of its secret
	// Fresh says that it was only ever under the wrapping key that new secrets go under.
	// What is encrypted with another one can be read by who had an older wrapping key.
	Fresh bool
	aead  cipher.AEAD
}

// NewDataKey makes one. It is durable when this returns.
func (c *Custody) NewDataKey(ctx context.Context, owner Owner) (*DataKey, error) {
	key := make([]byte, keySize)
	rand.Read(key) // it never fails
	defer clear(key)
	id, err := c.Put(ctx, owner, key)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	return &DataKey{ID: id, Fresh: true, aead: aead}, err
}

// OpenDataKey returns one that NewDataKey has made for this owner; that of another is ErrDamaged.
func (c *Custody) OpenDataKey(ctx context.Context, id string, owner Owner) (*DataKey, error) {
	s, key, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if s.Kind != owner.Kind || s.Owner != owner.Name || len(key) != keySize {
		return nil, fmt.Errorf("%w: the secret %s is not the data key of %s", tallystick.ErrDamaged, id, owner.Name)
	}
	c.mu.RLock()
	current := c.current.Identity().ID
	c.mu.RUnlock()
	aead, err := newAEAD(key)
	return &DataKey{ID: id, Fresh: s.Rewrapped.IsZero() && s.WrappingKey == current, aead: aead}, err
}

// Seal encrypts a text of at most MaxSecret bytes; aad is authenticated with it.
func (k *DataKey) Seal(text, aad []byte) ([]byte, error) {
	if len(text) > MaxSecret {
		return nil, fmt.Errorf("%w: a secret has at most %d bytes", tallystick.ErrInvalid, MaxSecret)
	}
	return sealWith(k.aead, text, aad), nil
}

// Open undoes Seal. What was not made with this key and aad is ErrDamaged.
func (k *DataKey) Open(sealed, aad []byte) ([]byte, error) { return openWith(k.aead, sealed, aad) }

// Ready returns the ids of the wrapping keys that this process has and that were shown
// to be the right ones: what is under them can be read here.
func (c *Custody) Ready(ctx context.Context) ([]string, error) {
	c.mu.RLock()
	held := make([]*wrapping, 0, len(c.held))
	for _, w := range c.held {
		held = append(held, w)
	}
	c.mu.RUnlock()
	rows, err := c.db.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, row := range rows {
		for _, w := range held {
			if w.Identity().ID == row.ID && (w.ready.Load() || w.inUse.Load()) {
				ids = append(ids, row.ID)
			}
		}
	}
	return ids, nil
}

// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto/cipher"
	"errors"
	"sync"

	"github.com/tallystick/tallystick"
)

// A local wraps with a key that is in memory once it was needed: the kinds file,
// passphrase and tpm. It asks for the key until it has it.
type local struct {
	mu    sync.Mutex
	fetch func(ctx context.Context) ([]byte, error) // the key, which is cleared; under mu
	aead  cipher.AEAD                               // under mu; nil before
}

func (l *local) cipher(ctx context.Context) (cipher.AEAD, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.aead != nil {
		return l.aead, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := l.fetch(ctx)
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		clear(key)
		return nil, errors.Join(tallystick.ErrDamaged, errors.New("a wrapping key has 32 bytes"))
	}
	l.aead, err = newAEAD(key)
	return l.aead, err
}

// Wrap implements Wrapper.
func (l *local) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	aead, err := l.cipher(ctx)
	if err != nil {
		return nil, err
	}
	return sealWith(aead, key, aad), nil
}

// Unwrap implements Wrapper.
func (l *local) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	aead, err := l.cipher(ctx)
	if err != nil {
		return nil, err
	}
	return openWith(aead, wrapped, aad)
}

// SPDX-License-Identifier: Apache-2.0

//go:build pkcs11

package custody

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThalesGroup/crypto11"

	"github.com/tallystick/tallystick"
)

// A tokenLine is the connection to a token, and makes a new one when it broke.
type tokenLine struct {
	open func() (*crypto11.Context, error)

	mu    sync.RWMutex // for reading: somebody uses the connection
	now   *connection  // nil while there is none
	tried time.Time    // when it could not be had
	err   error        // what that said
}

// A connection is one to a token, with what was found there.
type connection struct {
	*crypto11.Context

	mu       sync.Mutex
	signers  map[string]crypto11.Signer // by CKA_ID; at most maxCached
	wrapping cipher.AEAD                // nil before it was found
}

// use calls fn with the connection, and once more with a new one when it fails: the
// token may have been away. What fn calls damaged or invalid is believed, and that
// something is missing when a new connection says so too.
func (l *tokenLine) use(fn func(*connection) error) error {
	c, err := l.with(fn)
	if err == nil || isSettled(err) {
		return err
	}
	if c == nil {
		return unavailable(err)
	}
	l.drop(c)
	if _, err = l.with(fn); err == nil || isSettled(err) || errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	return unavailable(err)
}

func isSettled(err error) bool {
	return errors.Is(err, tallystick.ErrDamaged) || errors.Is(err, tallystick.ErrInvalid)
}

func unavailable(err error) error {
	return fmt.Errorf("%w: the token does not answer: %w", tallystick.ErrUnavailable, err)
}

// with calls fn and returns the connection that it was called with, or nil.
func (l *tokenLine) with(fn func(*connection) error) (*connection, error) {
	l.mu.RLock()
	for l.now == nil {
		l.mu.RUnlock()
		if err := l.connect(); err != nil {
			return nil, err
		}
		l.mu.RLock()
	}
	defer l.mu.RUnlock()
	return l.now, fn(l.now)
}

// connect makes a connection, unless that has just failed.
func (l *tokenLine) connect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		return nil
	}
	if l.err != nil && time.Since(l.tried) < pause {
		return l.err
	}
	c, err := l.open()
	if l.err = err; err != nil {
		l.tried = time.Now()
		return err
	}
	l.now = &connection{Context: c, signers: map[string]crypto11.Signer{}}
	return nil
}

// drop ends a connection that is of no more use, when nobody uses it.
func (l *tokenLine) drop(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == c {
		l.now = nil
		_ = c.Close() // it is broken
	}
}

// signer finds a key pair.
func (c *connection) signer(id []byte) (crypto11.Signer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if signer, ok := c.signers[string(id)]; ok {
		return signer, nil
	}
	found, err := c.FindKeyPairs(id, nil)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the key is not in the token", tallystick.ErrNotFound)
	}
	if len(c.signers) >= maxCached {
		clear(c.signers)
	}
	c.signers[string(id)] = found[0]
	return found[0], nil
}

// wrappingKey finds the key that wraps, and makes it when create says so.
func (c *connection) wrappingKey(label string, create bool) (cipher.AEAD, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrapping != nil {
		return c.wrapping, nil
	}
	keys, err := c.FindKeys(nil, []byte(label))
	if err != nil {
		return nil, err
	}
	switch {
	case len(keys) > 1:
		return nil, fmt.Errorf("%w: the token has %d keys with the label %s", tallystick.ErrInvalid, len(keys), label)
	case len(keys) == 0 && !create:
		return nil, fmt.Errorf("%w: the token has no key with the label %s", tallystick.ErrNotFound, label)
	case len(keys) == 0:
		// It is sensitive and not extractable, as crypto11 makes them.
		key, err := c.GenerateSecretKeyWithLabel([]byte("tallystick wrapping"), []byte(label), 8*keySize, crypto11.CipherAES)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	c.wrapping, err = keys[0].NewGCM()
	return c.wrapping, err
}

// generate makes a key pair that signs and does nothing else.
func (c *connection) generate(id []byte, label string, kind KeyType) (crypto11.Signer, error) {
	if curve := curveOf(kind); curve != nil {
		return c.GenerateECDSAKeyPairWithLabel(id, []byte(label), curve)
	}
	public, err := crypto11.NewAttributeSetWithIDAndLabel(id, []byte(label))
	if err != nil {
		return nil, err
	}
	private := public.Copy()
	if err := errors.Join(public.Set(crypto11.CkaEncrypt, false), private.Set(crypto11.CkaDecrypt, false)); err != nil {
		return nil, err
	}
	return c.GenerateRSAKeyPairWithAttributes(public, private, rsaBits(kind))
}

// SPDX-License-Identifier: Apache-2.0

//go:build pkcs11

package custody

import (
	"bytes"
	"context"
	"crypto"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/ThalesGroup/crypto11"

	"github.com/tallystick/tallystick"
)

// builtPKCS11 says whether tokens can be used.
const builtPKCS11 = true

// A Token is a PKCS #11 token: its AES key wraps, and it makes key pairs that never
// leave it. When it was away it is taken up again by the next call.
type Token struct {
	options pkcs11Options
	line    tokenLine
	known   atomic.Bool // the AES key was there: it is not made a second time
}

// newPKCS11 returns a token; nothing is asked of it yet.
func newPKCS11(o pkcs11Options) (Wrapper, error) {
	if o.Module == "" || o.Token == "" || o.PINFile == "" {
		return nil, fmt.Errorf("%w: pkcs11 needs the options module, token and pin_file", tallystick.ErrInvalid)
	}
	t := &Token{options: o}
	t.line.open = t.connect
	return t, nil
}

// connect signs in to the token.
func (t *Token) connect() (*crypto11.Context, error) {
	pin, err := readPrivate(t.options.PINFile, maxToken, secrecy{outside: t.options.Data})
	if err != nil {
		return nil, fmt.Errorf("couldn't read pin_file: %w", err)
	}
	defer clear(pin)
	return crypto11.Configure(&crypto11.Config{
		Path: t.options.Module, TokenLabel: t.options.Token, Pin: string(bytes.TrimSpace(pin)),
		GCMIVLength: nonceSize, MaxSessions: 64, PoolWaitTimeout: transitPatience,
	})
}

// Identity implements Wrapper.
func (t *Token) Identity() Identity {
	sum := sha256.Sum256([]byte(t.options.Token + "\x00" + t.options.Key))
	return Identity{ID: "pkcs11:" + hex.EncodeToString(sum[:16]), Kind: KindPKCS11, About: "the key " + t.options.Key + " in the token " + t.options.Token}
}

// Wrap implements Wrapper. The AES key is made when there is none.
func (t *Token) Wrap(_ context.Context, key, aad []byte) (wrapped []byte, err error) {
	err = t.line.use(func(c *connection) error {
		aead, err := c.wrappingKey(t.options.Key, !t.known.Load())
		if err != nil {
			return err
		}
		t.known.Store(true)
		wrapped, err = sealInToken(aead, key, aad)
		return err
	})
	return wrapped, err
}

// Unwrap implements Wrapper.
func (t *Token) Unwrap(_ context.Context, wrapped, aad []byte) (key []byte, err error) {
	if len(wrapped) != overhead+keySize || wrapped[0] != formOne {
		return nil, fmt.Errorf("%w: it was not encrypted by a token", tallystick.ErrDamaged)
	}
	err = t.line.use(func(c *connection) error {
		aead, err := c.wrappingKey(t.options.Key, false)
		if err != nil {
			return err
		}
		t.known.Store(true)
		key, err = aead.Open(nil, wrapped[1:1+nonceSize], wrapped[1+nonceSize:], aad)
		if err != nil && isAlive(aead) {
			// What a token says of a tag that does not fit differs; that it
			// encrypts and decrypts something else does not.
			err = fmt.Errorf("%w: it was changed, or is under another key", tallystick.ErrDamaged)
		}
		return err
	})
	if errors.Is(err, tallystick.ErrNotFound) {
		err = fmt.Errorf("%w: %w", tallystick.ErrDamaged, err)
	}
	return key, err
}

// isAlive says whether a token encrypts and decrypts.
func isAlive(aead cipher.AEAD) bool {
	blob, err := sealInToken(aead, []byte(proofText), nil)
	if err != nil {
		return false
	}
	text, err := aead.Open(nil, blob[1:1+nonceSize], blob[1+nonceSize:], nil)
	return err == nil && string(text) == proofText
}

// sealInToken is sealWith for a cipher that panics when the token is gone.
func sealInToken(aead cipher.AEAD, text, aad []byte) (blob []byte, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			blob, err = nil, fmt.Errorf("the token does not encrypt: %v", failure)
		}
	}()
	return sealWith(aead, text, aad), nil
}

// MakeKey implements KeyMaker. The key signs and does nothing else.
func (t *Token) MakeKey(_ context.Context, label string, kind KeyType) (string, crypto.Signer, error) {
	if curveOf(kind) == nil && rsaBits(kind) == 0 {
		return "", nil, fmt.Errorf("%w: a token makes ECDSA and RSA keys, and not %s", tallystick.ErrInvalid, kind)
	}
	k := tokenKey{token: t.options.Token, id: make([]byte, 16)}
	rand.Read(k.id) // it never fails
	var public crypto.PublicKey
	err := t.line.use(func(c *connection) error {
		signer, err := c.generate(k.id, label, kind)
		if err == nil {
			public = signer.Public()
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return k.String(), &tokenSigner{t, k, public}, nil
}

// SignerOf implements KeyMaker. One that is not in this token is ErrNotFound.
func (t *Token) SignerOf(_ context.Context, device string) (crypto.Signer, error) {
	k, err := t.key(device)
	if err != nil {
		return nil, err
	}
	s := &tokenSigner{token: t, key: k}
	err = t.line.use(func(c *connection) error {
		signer, err := c.signer(k.id)
		if err == nil {
			s.public = signer.Public()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// key reads the URI of a key in this token.
func (t *Token) key(device string) (tokenKey, error) {
	k, err := parseTokenKey(device)
	if err == nil && k.token != t.options.Token {
		err = fmt.Errorf("%w: the key is in the token %s, and this is %s", tallystick.ErrNotFound, k.token, t.options.Token)
	}
	return k, err
}

// DestroyKey implements KeyDestroyer.
func (t *Token) DestroyKey(_ context.Context, device string) error {
	k, err := t.key(device)
	if err != nil {
		return err
	}
	return t.line.use(func(c *connection) error {
		signer, err := c.signer(k.id)
		if err != nil {
			return err
		}
		return signer.Delete()
	})
}

// A tokenSigner signs in the token, wherever the connection to it is by then.
type tokenSigner struct {
	token  *Token
	key    tokenKey
	public crypto.PublicKey
}

// Public implements crypto.Signer.
func (s *tokenSigner) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer. While the token is away it is ErrUnavailable.
func (s *tokenSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	err = s.token.line.use(func(c *connection) error {
		signer, err := c.signer(s.key.id)
		if err != nil {
			return err
		}
		signature, err = signer.Sign(random, digest, opts)
		return err
	})
	return signature, err
}

// Close signs out of the token. Whatever uses it afterwards signs in again.
func (t *Token) Close() error {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	if t.line.now == nil {
		return nil
	}
	c := t.line.now
	t.line.now = nil
	return c.Close()
}

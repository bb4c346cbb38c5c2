// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// What is written is a byte for its form, a nonce, and a ciphertext with its tag:
// AES-256-GCM with random nonces of 96 bits (NIST SP 800-38D section 8.2.2). Each
// data key encrypts one secret, once; a wrapping key stays far below 2^32 of them.
const (
	formOne   = 1 // the first byte of every blob
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
	overhead  = 1 + nonceSize + tagSize
)

// MaxSecret is the size of the largest secret, in bytes.
const MaxSecret = 64 << 10

// maxWrapped bounds a wrapped data key: that of a transit server is text.
const maxWrapped = 4 << 10

// newAEAD returns the cipher of a key and clears the key.
func newAEAD(key []byte) (cipher.AEAD, error) {
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't use a key: %w", err)
	}
	return cipher.NewGCM(block)
}

// sealWith encrypts a text under a key.
func sealWith(aead cipher.AEAD, text, aad []byte) []byte {
	blob := make([]byte, 1+nonceSize, overhead+len(text))
	blob[0] = formOne
	rand.Read(blob[1:]) // it never fails
	return aead.Seal(blob, blob[1:1+nonceSize], text, aad)
}

// openWith undoes sealWith. Anything else is ErrDamaged.
func openWith(aead cipher.AEAD, blob, aad []byte) ([]byte, error) {
	if len(blob) < overhead || blob[0] != formOne || len(blob) > overhead+MaxSecret {
		return nil, fmt.Errorf("%w: it is not in the form of something encrypted", tallystick.ErrDamaged)
	}
	text, err := aead.Open(nil, blob[1:1+nonceSize], blob[1+nonceSize:], aad)
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or is under another key", tallystick.ErrDamaged)
	}
	return text, nil
}

// aadOf is what is authenticated with a secret and with its data key: where it
// stands, what it is and whom it belongs to. A length goes before each part, so
// that no two rows have the same.
func aadOf(s store.Secret) []byte {
	aad := []byte("tallystick 1")
	for _, part := range []string{"secrets", s.ID, s.Kind, s.Owner, string(s.Public)} {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(part)))
		aad = append(aad, part...)
	}
	return aad
}

// proofText is the known value whose encryption shows which wrapping key it is.
const proofText = "tallystick custody: this is it.." // as long as a data key

func proofAAD(id string) []byte { return []byte("tallystick 1 proof " + id) }

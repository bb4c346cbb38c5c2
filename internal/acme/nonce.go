// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// nonceWindow is how many of the newest nonces are good, a multiple of 64. Who
// fetches that many makes those of others stale, which costs each of them a request.
const nonceWindow = 1 << 20

// nonceLife is how long a nonce is good.
const nonceLife = time.Hour

// nonces gives out anti-replay nonces (RFC 8555 section 6.5) that need no place to
// keep them: each is a number and a time, encrypted and authenticated with a key that
// is as old as the process. What is kept is a bit for each of the newest numbers.
type nonces struct {
	seal cipher.AEAD
	now  func() time.Time

	mu   sync.Mutex
	next uint64                   // guarded by mu; the number of the next nonce
	used [nonceWindow / 64]uint64 // guarded by mu; a bit for each number, by its remainder
}

func newNonces(now func() time.Time) *nonces {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: it would end the program
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("acme: a key of 32 bytes is one of AES: " + err.Error())
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("acme: AES is a block cipher for GCM: " + err.Error())
	}
	return &nonces{seal: seal, now: now}
}

// issue returns a new nonce.
func (n *nonces) issue() string {
	n.mu.Lock()
	number := n.next
	n.next++
	n.used[number%nonceWindow/64] &^= 1 << (number % 64)
	n.mu.Unlock()
	var text [16]byte
	binary.BigEndian.PutUint64(text[:], number)
	binary.BigEndian.PutUint64(text[8:], uint64(n.now().Unix()))
	return base64.RawURLEncoding.EncodeToString(n.seal.Seal(nil, nil, text[:], nil))
}

// take says whether a nonce is one of ours, young, and not taken before.
func (n *nonces) take(nonce string) bool {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(sealed) != 16+n.seal.Overhead() {
		return false
	}
	text, err := n.seal.Open(nil, nil, sealed, nil)
	if err != nil {
		return false
	}
	number := binary.BigEndian.Uint64(text)
	age := n.now().Unix() - int64(binary.BigEndian.Uint64(text[8:]))
	// A clock that was set back makes a nonce look as if it came from the future;
	// its number alone keeps it from being used twice.
	if age > int64(nonceLife/time.Second) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	word, bit := &n.used[number%nonceWindow/64], uint64(1)<<(number%64)
	if n.next-number > nonceWindow || *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

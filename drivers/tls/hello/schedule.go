// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A schedule is the part of the key schedule of TLS 1.3 (RFC 8446 section 7.1)
// that is the same in every handshake without a pre-shared key.
type schedule struct {
	hash    func() hash.Hash
	derived []byte // salt of the handshake secret
}

func newSchedules() (small, large schedule) {
	return newSchedule(sha256.New), newSchedule(sha512.New384)
}

func newSchedule(h func() hash.Hash) schedule {
	empty := h()
	zeros := make([]byte, empty.Size())
	early, err := hkdf.Extract(h, zeros, zeros)
	if err != nil {
		panic(err) // only in FIPS mode with keys that are too short; these are not
	}
	return schedule{hash: h, derived: expand(h, early, "derived", empty.Sum(nil), empty.Size())}
}

// expand is HKDF-Expand-Label.
func expand(h func() hash.Hash, secret []byte, label string, context []byte, length int) []byte {
	info := make([]byte, 0, 64)
	info = binary.BigEndian.AppendUint16(info, uint16(length))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label...)
	info = append(info, byte(len(context)))
	info = append(info, context...)
	out, err := hkdf.Expand(h, secret, string(info), length)
	if err != nil {
		panic(err) // the length is a constant far below the bound of RFC 5869
	}
	return out
}

// A protection opens the records that the server sends after its ServerHello.
type protection struct {
	aead     cipher.AEAD
	iv       [12]byte
	sequence uint64
}

// protect derives the server's handshake keys from the shared secret and the
// transcript up to the ServerHello.
func (s schedule) protect(suite Suite, shared, transcript []byte) (*protection, error) {
	handshake, err := hkdf.Extract(s.hash, shared, s.derived)
	if err != nil {
		return nil, err
	}
	traffic := expand(s.hash, handshake, "s hs traffic", transcript, len(transcript))
	p := &protection{}
	copy(p.iv[:], expand(s.hash, traffic, "iv", nil, len(p.iv)))
	switch suite {
	case 0x1301:
		p.aead, err = gcm(expand(s.hash, traffic, "key", nil, 16))
	case 0x1302:
		p.aead, err = gcm(expand(s.hash, traffic, "key", nil, 32))
	default:
		p.aead, err = chacha20poly1305.New(expand(s.hash, traffic, "key", nil, chacha20poly1305.KeySize))
	}
	return p, err
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// scheduleOf returns the schedule of a suite; false for a suite that cannot be
// decrypted here.
func (p *Prober) scheduleOf(s Suite) (schedule, bool) {
	switch s {
	case 0x1301, 0x1303:
		return p.sha256, true
	case 0x1302:
		return p.sha384, true
	}
	return schedule{}, false
}

// open decrypts a record in place and returns what is inside, and its type
// (RFC 8446 section 5.2).
func (p *protection) open(header, body []byte) (kind byte, inside []byte, err error) {
	nonce := p.iv
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(p.sequence >> (8 * i))
	}
	p.sequence++
	inside, err = p.aead.Open(body[:0], nonce[:], body, header)
	if err != nil {
		return 0, nil, ErrMalformed
	}
	for len(inside) > 0 && inside[len(inside)-1] == 0 {
		inside = inside[:len(inside)-1] // padding
	}
	if len(inside) == 0 {
		return 0, nil, ErrMalformed
	}
	return inside[len(inside)-1], inside[:len(inside)-1], nil
}

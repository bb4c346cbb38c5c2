// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// newID returns 32 hexadecimal digits that begin with the time in milliseconds, so
// that rows are added at the end, and hold 80 random bits, so that nobody guesses one.
func newID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[6:])
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(now.UnixMilli()))
	copy(id[:6], at[2:])
	return hex.EncodeToString(id[:])
}

// isID says whether a text can be an id.
func isID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == 32
}

// newToken returns a challenge's token: 256 random bits (RFC 8555 section 8.1 wants
// 128 at least).
func newToken() string {
	var token [32]byte
	_, _ = rand.Read(token[:])
	return base64.RawURLEncoding.EncodeToString(token[:])
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	mathrand "math/rand/v2"
)

// A guid is an identifier in the order in which it is written.
type guid [16]byte

// guid draws one of version 4 (RFC 9562 section 5.4).
func (w *World) guid() (g guid) {
	w.draw(func(r *mathrand.Rand) {
		binary.LittleEndian.PutUint64(g[:8], r.Uint64())
		binary.LittleEndian.PutUint64(g[8:], r.Uint64())
	})
	g[6], g[8] = g[6]&0x0f|0x40, g[8]&0x3f|0x80
	return g
}

// NewID draws an identifier, as text.
func (w *World) NewID() string { return w.guid().String() }

// String writes it with hyphens, in lower case.
func (g guid) String() string { return string(g.append(nil)) }

func (g guid) append(to []byte) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			to = append(to, '-')
		}
		start := [...]int{0, 4, 6, 8, 10}[i]
		to = hex.AppendEncode(to, g[start:end])
	}
	return to
}

// parseGUID reads the usual form, in either case.
func parseGUID(text string) (g guid, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return g, false
	}
	compact := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	_, err := hex.Decode(g[:], []byte(compact))
	return g, err == nil
}

// uti writes it as the claim uti has it: the 16 bytes of a GUID whose first three
// groups are little-endian, in base64url without padding. Those that are printed in
// Microsoft's documents decode that way.
func (g guid) uti() string { return string(g.appendUTI(nil)) }

func (g guid) appendUTI(to []byte) []byte {
	b := g
	b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]
	return base64.RawURLEncoding.AppendEncode(to, b[:])
}

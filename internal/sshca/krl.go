// SPDX-License-Identifier: Apache-2.0

package sshca

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"
)

// Numbers of PROTOCOL.krl.
const (
	krlMagic       = 0x5353484b524c0a00 // "SSHKRL\n\0"
	krlFormat      = 1
	krlCertificate = 1    // section: certificates of one CA
	krlSHA256      = 5    // section: SHA-256 of keys
	krlSerialList  = 0x20 // of certificates: serial numbers one by one
)

// A revoked says what of one CA is not to be accepted.
type revoked struct {
	authority []byte // its public key in wire format
	serials   []uint64
}

// A body is what a KRL says, without its number and date.
type body struct {
	certificates []revoked
	keys         [][sha256.Size]byte // of public keys in wire format
}

// hashOf returns what stands for a key in a KRL.
func hashOf(key ssh.PublicKey) [sha256.Size]byte { return sha256.Sum256(key.Marshal()) }

// encode writes the list. The same body, number and date always give the same bytes.
// It is not signed: OpenSSH does not look at signatures of a KRL (PROTOCOL.krl says that
// they are deprecated), so it must come over a way that can be trusted.
func (b body) encode(number uint64, at time.Time) []byte {
	out := cryptobyte.NewBuilder(make([]byte, 0, 512))
	out.AddUint64(krlMagic)
	out.AddUint32(krlFormat)
	out.AddUint64(number)
	out.AddUint64(uint64(at.Unix()))
	out.AddUint64(0)    // flags
	addString(out, nil) // reserved
	addString(out, []byte("Tallystick"))
	for _, r := range b.certificates {
		if len(r.serials) == 0 {
			continue
		}
		out.AddUint8(krlCertificate)
		out.AddUint32LengthPrefixed(func(out *cryptobyte.Builder) {
			addString(out, r.authority)
			addString(out, nil) // reserved
			out.AddUint8(krlSerialList)
			out.AddUint32LengthPrefixed(func(out *cryptobyte.Builder) {
				for _, serial := range sorted(r.serials, cmp.Compare) {
					out.AddUint64(serial)
				}
			})
		})
	}
	if len(b.keys) > 0 {
		out.AddUint8(krlSHA256)
		out.AddUint32LengthPrefixed(func(out *cryptobyte.Builder) {
			for _, hash := range sorted(b.keys, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) }) {
				addString(out, hash[:])
			}
		})
	}
	return out.BytesOrPanic() // nothing here is as long as 4 GiB
}

// sorted returns each of a list once, in order.
func sorted[T comparable](list []T, compare func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func addString(out *cryptobyte.Builder, text []byte) {
	out.AddUint32LengthPrefixed(func(out *cryptobyte.Builder) { out.AddBytes(text) })
}

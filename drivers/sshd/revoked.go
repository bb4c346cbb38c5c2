// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Numbers of OpenSSH's PROTOCOL.krl.
const (
	krlMagic         = "SSHKRL\n\x00"
	krlFormat        = 1
	sectionCertified = 1
	sectionKeys      = 2
	sectionSHA1      = 3
	sectionSignature = 4
	sectionSHA256    = 5
)

// A revokedList is a file of RevokedKeys: keys in text, a line each, or a KRL.
type revokedList struct {
	path string
	text keyFile // of a list in text
	krl  *krl    // of another
}

// A krl is a key revocation list, as far as it must be understood to add to it.
type krl struct {
	number   uint64
	rest     []byte // flags, reserved, comment, as they are
	raw      []byte // all of it
	sections []section
}

type section struct {
	kind    uint8
	content []byte
}

// readRevoked reads a list. One that is not there is an error: sshd then refuses all keys.
func readRevoked(ctx context.Context, h driver.Host, path string) (*revokedList, error) {
	content, err := h.ReadFile(ctx, path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("couldn't read RevokedKeys: %w", err)
	}
	if !bytes.HasPrefix(content, []byte(krlMagic)) {
		return &revokedList{path: path, text: parseKeys(path, content)}, nil
	}
	list, err := parseKRL(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &revokedList{path: path, krl: list}, nil
}

// parseKRL reads a list of the form of PROTOCOL.krl.
func parseKRL(content []byte) (*krl, error) {
	s := cryptobyte.String(content)
	var version uint32
	var date, flags uint64
	var reserved, comment cryptobyte.String
	list := &krl{raw: content}
	if !s.Skip(len(krlMagic)) || !s.ReadUint32(&version) || version != krlFormat || !s.ReadUint64(&list.number) || !s.ReadUint64(&date) {
		return nil, invalid("it is no key revocation list that this driver can read")
	}
	rest := s
	if !s.ReadUint64(&flags) || !readString(&s, &reserved) || !readString(&s, &comment) {
		return nil, invalid("the key revocation list is damaged")
	}
	list.rest = rest[:len(rest)-len(s)]
	for !s.Empty() {
		var one section
		var content cryptobyte.String
		if !s.ReadUint8(&one.kind) || !readString(&s, &content) {
			return nil, invalid("the key revocation list is damaged")
		}
		if one.kind == sectionSignature {
			return nil, invalid("the key revocation list is signed, and could not be changed without its signer")
		}
		one.content = content
		list.sections = append(list.sections, one)
	}
	return list, nil
}

// readString reads a string of RFC 4251 section 5.
func readString(s *cryptobyte.String, out *cryptobyte.String) bool {
	var size uint32
	return s.ReadUint32(&size) && uint64(size) <= uint64(len(*s)) && s.ReadBytes((*[]byte)(out), int(size))
}

// content writes the list with the next number.
func (k *krl) content(now time.Time) []byte {
	b := cryptobyte.NewBuilder([]byte(krlMagic))
	b.AddUint32(krlFormat)
	b.AddUint64(k.number + 1)
	b.AddUint64(uint64(now.Unix()))
	b.AddBytes(k.rest)
	for _, one := range k.sections {
		b.AddUint8(one.kind)
		b.AddUint32LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(one.content) })
	}
	return b.BytesOrPanic() // it is no longer than what was read
}

// ours is the section that Block adds for a key: one of its own, so that Lift can find it.
func ours(key ssh.PublicKey) section {
	sum := sha256.Sum256(key.Marshal())
	return section{sectionSHA256, slices.Concat([]byte{0, 0, 0, sha256.Size}, sum[:])}
}

// hashes are the SHA-256 of the keys that a list has, as far as it says them.
func (k *krl) hashes() (sums []string, all bool) {
	all = true
	for _, one := range k.sections {
		s, entry := cryptobyte.String(one.content), cryptobyte.String(nil)
		for one.kind != sectionCertified && one.kind != sectionSHA1 && !s.Empty() && readString(&s, &entry) {
			if one.kind == sectionKeys {
				sums = append(sums, string(tallystick.FingerprintOf(entry)))
			} else if len(entry) == sha256.Size {
				sums = append(sums, hex.EncodeToString(entry))
			}
		}
		all = all && (one.kind == sectionKeys || one.kind == sectionSHA256)
	}
	return sums, all
}

// has says whether the list refuses a key.
func (l *revokedList) has(key ssh.PublicKey) bool {
	if l.krl == nil {
		return slices.ContainsFunc(l.text.lines, func(line keyLine) bool { return line.key != nil && !line.blocked && same(plainOf(line.key), key) })
	}
	sums, _ := l.krl.hashes()
	return slices.Contains(sums, string(tallystick.FingerprintOf(key.Marshal())))
}

// plainOf is the key that a line means: sshd does not compare certificates.
func plainOf(key ssh.PublicKey) ssh.PublicKey {
	if c, ok := key.(*ssh.Certificate); ok {
		return c.Key
	}
	return key
}

// names are the names of what it refuses, and whether that is all.
func (l *revokedList) names() (names []string, all bool) {
	if l.krl != nil {
		sums, all := l.krl.hashes()
		for _, sum := range sums {
			names = append(names, "ssh:"+sum)
		}
		return names, all
	}
	for _, line := range l.text.lines {
		if line.key != nil && !line.blocked {
			names = append(names, driver.Public{SSH: line.key.Marshal()}.Names()...)
		}
	}
	return names, true
}

// change adds a key, or takes away what change added. It returns the content, and
// whether it is another.
func (l *revokedList) change(key ssh.PublicKey, lift bool, now time.Time) ([]byte, bool) {
	if l.krl != nil {
		mine := ours(key)
		before := len(l.krl.sections)
		if lift {
			l.krl.sections = slices.DeleteFunc(l.krl.sections, func(s section) bool { return s.kind == mine.kind && bytes.Equal(s.content, mine.content) })
		} else if !l.has(key) {
			l.krl.sections = append(l.krl.sections, mine)
		}
		if len(l.krl.sections) == before {
			return l.krl.raw, false
		}
		return l.krl.content(now), true
	}
	if lift {
		before := len(l.text.lines)
		l.text.withdraw(key)
		return l.text.content(), len(l.text.lines) != before
	}
	if l.has(key) {
		return l.text.content(), false
	}
	content := l.text.content()
	if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
		content = append(content, '\n')
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + addedMark + "\n"
	return append(content, line...), true
}

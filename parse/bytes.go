// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
)

// maxProblems bounds how many problems of one input are named; the last one
// then says that there were more.
const maxProblems = 50

// wellKnown are passphrases that protect nothing, because every attacker tries
// them first: what tools put there by themselves and what manuals print.
var wellKnown = []string{"", "changeit", "changeme", "password"}

// Bytes reads whatever credentials are in data, which it recognises by its
// first bytes. The base name of the file is a hint for formats that carry no
// mark of their own: authorized_keys, known_hosts. A container that is
// encrypted is tried with passphrases and with those that everybody knows;
// what stays closed becomes a KindSealed credential.
//
// Each private half is an Item of its own, of KindKey, beside the certificates
// of its key. Data that is nothing known gives an empty Result; something known
// that cannot be read gives a Problem.
//
// Time and memory are bounded by the length of data, except for what key
// derivation takes, which is bounded by about two seconds of a core in all.
func Bytes(name string, data []byte, passphrases []string) Result {
	r := &reader{name: strings.ToLower(name), passphrases: passphrases, work: work{left: maxWork}}
	r.read(data)
	if r.work.exceeded {
		r.problem("unsupported", "the key derivation asks for more work than a passphrase is tried with")
	}
	return r.result
}

// A reader collects what is in one input.
type reader struct {
	name        string // lower case
	passphrases []string
	work        work
	result      Result
}

func (r *reader) read(data []byte) {
	if text, ok := fromUTF16(data); ok {
		data = text
	}
	switch {
	case len(data) < 4:
	case isKeystore(data):
		r.readKeystore(data)
	case data[0] == tagSequence && r.readDER(data):
	case bytes.Contains(data, []byte(pemBegin)):
		r.readPEM(data)
	case isKnownHosts(r.name):
		r.readKnownHosts(data)
	case isAuthorizedKeys(r.name):
		r.readKeyLines(data, true)
	case hasKeyLine(data):
		r.readKeyLines(data, false)
	case isContainer(r.name):
		r.unrecognised(data)
	}
}

// unrecognised tells of a file that by its name is a certificate or a keystore.
// Text is passed over: it is a note that stands in for a file to come.
func (r *reader) unrecognised(data []byte) {
	if utf8.Valid(data) {
		return
	}
	if e, _, ok := next(data); ok && e.tag == tagSequence {
		r.problem("unsupported", "ASN.1 that is neither a certificate nor a key nor a keystore")
		return
	}
	r.problem("malformed", "by its name it is a certificate or a keystore, by its content it is none")
}

func (r *reader) add(item Item) { r.result.Items = append(r.result.Items, item) }

func (r *reader) problem(word, detail string, args ...any) {
	switch n := len(r.result.Problems); {
	case n < maxProblems-1:
		r.result.Problems = append(r.result.Problems, Problem{Word: word, Detail: fmt.Sprintf(detail, args...)})
	case n == maxProblems-1:
		r.result.Problems = append(r.result.Problems, Problem{Word: word, Detail: "there are more problems than are named"})
	}
}

// try calls open with each passphrase, those that were given first, until one
// opens; weak says that everybody knows it.
func (r *reader) try(open func(passphrase string) bool) (weak, ok bool) {
	for _, list := range [][]string{r.passphrases, wellKnown} {
		for _, passphrase := range list {
			if open(passphrase) {
				return slices.Contains(wellKnown, passphrase), true
			}
		}
	}
	return false, false
}

// addCertificate reads a certificate; place says where it is, for the Problem.
func (r *reader) addCertificate(der []byte, item Item, place string) {
	c, err := Certificate(bytes.Clone(der)) // the input may be a buffer that is used again
	if err != nil {
		r.problem("malformed", "%s: %v", place, err)
		return
	}
	item.Credential = c
	r.add(item)
}

// addPrivate adds the public half of an unencrypted private key and says
// whether der is one. The key of an algorithm that cannot be calculated with
// here is named by its container.
func (r *reader) addPrivate(der []byte, item Item) bool {
	item.Role, item.Private = tallystick.RoleHolds, true
	if spki := publicOfAny(der); spki != nil {
		item.Credential = bareKey(spki, "")
		r.add(item)
		return true
	}
	algorithm, ok := pkcs8Algorithm(der)
	if !ok {
		return false
	}
	item.Credential = sealed(der)
	item.Credential.Key.Algorithm = algorithm
	r.add(item)
	r.problem("unsupported", "the public half of a private key (%s) cannot be calculated", algorithm)
	return true
}

// sealed names a container that stays closed.
func sealed(container []byte) tallystick.Credential {
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(container), Kind: tallystick.KindSealed,
		Key: tallystick.Key{Algorithm: "unknown"},
	}
}

func (r *reader) addSealed(container []byte, item Item) {
	item.Credential = sealed(container)
	item.Role, item.Private, item.Passphrase = tallystick.RoleHolds, true, true
	r.add(item)
}

// fromUTF16 turns text with a UTF-16 byte order mark, which Windows tools
// write, into UTF-8.
func fromUTF16(data []byte) ([]byte, bool) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return nil, false
	}
	units := make([]uint16, len(data)/2-1)
	for i := range units {
		units[i] = order.Uint16(data[2*i+2:])
	}
	return []byte(string(utf16.Decode(units))), true
}

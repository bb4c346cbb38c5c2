// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
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
// derivation takes, which is bounded by MaxFileWork. At most 10,000 items, of
// which 1,000 sealed, are returned; that there were more is a Problem.
func Bytes(name string, data []byte, passphrases []string) Result {
	return BytesWithin(context.Background(), NewWork(MaxFileWork), name, data, passphrases)
}

// BytesWithin is Bytes with a limit on key derivation that several inputs can
// share. What there is no work left for, or is not tried when ctx has ended, is
// sealed, and the Problem "too-much-work" says so.
func BytesWithin(ctx context.Context, budget *Work, name string, data []byte, passphrases []string) Result {
	r := &reader{name: strings.ToLower(name), passphrases: passphrases, work: work{ctx: ctx, budget: budget}}
	r.read(data)
	if r.work.exceeded {
		r.problem("too-much-work", "not every passphrase was tried: the key derivation asks for more work than is spent on a file or on a look")
	}
	if r.surplus {
		r.problem("too-many", "more than %d credentials, or more than %d that stay closed: the others are left out", maxItems, maxSealed)
	}
	return r.result
}

// Bounds of one input. The largest bundles of certificates have some hundreds,
// known_hosts of large clusters some thousands.
const (
	maxItems  = 10_000
	maxSealed = 1_000
)

// A reader collects what is in one input.
type reader struct {
	name        string // lower case
	passphrases []string
	work        work
	result      Result
	sealed      int  // items that stay closed
	surplus     bool // there are more items than are returned
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

// add adds an item unless there are too many of them. It is the last line of
// defence against a private key in the bytes of a public one.
func (r *reader) add(item Item) {
	closed := item.Credential.Kind == tallystick.KindSealed
	switch {
	case len(r.result.Items) >= maxItems || closed && r.sealed >= maxSealed:
		r.surplus = true
		return
	case item.Credential.Kind == tallystick.KindKey && hidesPrivate(item.Credential.Raw, 0):
		r.problem("malformed", "a public key: %v", errPrivate)
		return
	case closed:
		r.sealed++
	}
	r.result.Items = append(r.result.Items, item)
}

// full says that nothing more is worth reading; the items that it is asked
// before count as left out.
func (r *reader) full() bool {
	r.surplus = r.surplus || len(r.result.Items) >= maxItems
	return len(r.result.Items) >= maxItems
}

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
func (r *reader) try(open func(passphrase string, weak bool) bool) bool {
	for _, list := range [][]string{r.passphrases, wellKnown} {
		for _, passphrase := range list {
			if r.work.ctx.Err() != nil {
				r.work.exceeded = true
				return false
			}
			if open(passphrase, slices.Contains(wellKnown, passphrase)) {
				return true
			}
		}
	}
	return false
}

// certificateWord is the word of the Problem for an error of Certificate.
func certificateWord(err error) string {
	if errors.Is(err, errTruncated) {
		return "truncated"
	}
	return "malformed"
}

// addCertificate reads a certificate; place says where it is, for the Problem.
func (r *reader) addCertificate(der []byte, item Item, place string) {
	c, err := Certificate(bytes.Clone(der)) // the input may be a buffer that is used again
	if err != nil {
		r.problem(certificateWord(err), "%s: %v", place, err)
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
	algorithm, ok := pkcs8Algorithm(der)
	var spki []byte
	if !strings.HasPrefix(algorithm, "dsa") || r.work.spend(1, dsaCost) { // the others take microseconds
		spki = publicOfAny(der)
	}
	if spki != nil {
		item.Credential = bareKey(spki, "")
		r.add(item)
		return true
	}
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

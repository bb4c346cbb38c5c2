// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"

	"github.com/tallystick/tallystick"
)

// The first four bytes of Java's own keystores.
const (
	magicJKS   = 0xfeedfeed
	magicJCEKS = 0xcececece
)

var errEntry = errors.New("an entry that does not fit into the file")

func isKeystore(data []byte) bool {
	magic := binary.BigEndian.Uint32(data)
	return magic == magicJKS || magic == magicJCEKS
}

// readKeystore reads JKS and JCEKS, whose form is that of the class
// sun.security.provider.JavaKeyStore: certificates stand in it in the clear,
// keys are always encrypted, and a keyed digest closes it. The public half of
// a key is that of the first certificate of its chain, so that no passphrase
// is needed to read it; those that are known are tried on the digest.
func (r *reader) readKeystore(data []byte) {
	format := "jks"
	if binary.BigEndian.Uint32(data) == magicJCEKS {
		format = "jceks"
	}
	j := &javaReader{reader: r, rest: data[4:], format: format}
	version, err := j.number()
	if err != nil || (version != 1 && version != 2) {
		r.problem("unsupported", "Java keystore of an unknown version")
		return
	}
	j.version = version
	count, _ := j.number()
	j.weak = r.digestIsWeak(data)
	for n := range count {
		if r.full() || r.sealed >= maxSealed {
			r.surplus = true
			return
		}
		err := j.entry()
		if errors.Is(err, errSecretEntry) {
			j.skipSecret()
			continue
		}
		if err != nil {
			r.problem("truncated", "Java keystore: entry %d of %d: %v", n+1, count, err)
			return
		}
	}
}

// digestIsWeak tries the passphrases that everybody knows on the digest at the end.
func (r *reader) digestIsWeak(data []byte) bool {
	if len(data) < sha1.Size {
		return false
	}
	body, digest := data[:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	for _, passphrase := range wellKnown {
		h := sha1.New()
		password := bmpPassword(passphrase)
		h.Write(password[:len(password)-2]) // without the terminator of PKCS#12
		h.Write([]byte("Mighty Aphrodite"))
		h.Write(body)
		if bytes.Equal(h.Sum(nil), digest) {
			return true
		}
	}
	return false
}

// A javaReader reads the numbers and strings of java.io.DataOutput.
type javaReader struct {
	*reader
	rest    []byte
	format  string
	version uint32
	weak    bool
}

func (j *javaReader) number() (uint32, error) {
	b, err := j.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (j *javaReader) take(n int) ([]byte, error) {
	if n < 0 || n > len(j.rest) {
		return nil, errEntry
	}
	b := j.rest[:n]
	j.rest = j.rest[n:]
	return b, nil
}

// block takes bytes with their length before them.
func (j *javaReader) block() ([]byte, error) {
	n, err := j.number()
	if err != nil || uint64(n) > uint64(len(j.rest)) {
		return nil, errEntry
	}
	return j.take(int(n))
}

func (j *javaReader) text() (string, error) {
	b, err := j.take(2)
	if err != nil {
		return "", err
	}
	b, err = j.take(int(binary.BigEndian.Uint16(b)))
	return printable(string(b)), err
}

// The kinds of entry.
const (
	javaKey     = 1
	javaTrusted = 2
	javaSecret  = 3
)

var errSecretEntry = errors.New("a secret key entry")

// entry reads one entry: kind, alias, time, content.
func (j *javaReader) entry() error {
	kind, err := j.number()
	if err != nil {
		return err
	}
	alias, err := j.text()
	if err != nil {
		return err
	}
	if _, err := j.take(8); err != nil {
		return err
	}
	switch kind {
	case javaKey:
		return j.keyEntry(alias)
	case javaTrusted:
		der, err := j.certificate()
		if err == nil {
			item := Item{Role: tallystick.RoleAccepts, Format: j.format, Alias: alias}
			j.addCertificate(der, item, "certificate in a Java keystore")
		}
		return err
	case javaSecret:
		return errSecretEntry
	}
	return errEntry
}

func (j *javaReader) keyEntry(alias string) error {
	protected, err := j.block()
	if err != nil {
		return err
	}
	count, err := j.number()
	if err != nil {
		return err
	}
	item := Item{Role: tallystick.RoleHolds, Format: j.format, Alias: alias, Private: true, Passphrase: true, WeakPassphrase: j.weak}
	if count == 0 {
		item.Credential = sealed(protected)
		j.add(item)
	}
	for n := range count {
		der, err := j.certificate()
		if err != nil || j.full() {
			return err
		}
		if n == 0 {
			j.addHolder(der, item)
		}
		chained := Item{Role: tallystick.RolePresents, Format: j.format, Alias: alias}
		j.addCertificate(der, chained, "certificate in a Java keystore")
	}
	return nil
}

// addHolder adds the key that a chain's first certificate names.
func (j *javaReader) addHolder(leaf []byte, item Item) {
	c, err := tolerant(leaf)
	if err != nil || len(c.Key.SPKI) == 0 {
		item.Credential = sealed(leaf)
	} else {
		item.Credential = bareKey(c.Key.SPKI, "")
	}
	j.add(item)
}

func (j *javaReader) certificate() ([]byte, error) {
	if j.version == 2 {
		if _, err := j.text(); err != nil { // "X.509"
			return nil, err
		}
	}
	return j.block()
}

// skipSecret goes on behind a secret key, which JCEKS writes as a serialised
// Java object without a length: the next entry is where the bytes of one are,
// a kind, an alias and a time of this or the last centuries.
func (j *javaReader) skipSecret() {
	j.problem("unsupported", "Java keystore: a secret key entry, which is no credential of a key pair")
	for i := range j.rest {
		if j.rest[i] == 0 && j.looksLikeEntry(j.rest[i:]) {
			j.rest = j.rest[i:]
			return
		}
	}
	j.rest = nil
}

// looksLikeEntry compares everything at the start of an entry that is always
// the same: it takes a made-up file to have it twice.
func (j *javaReader) looksLikeEntry(b []byte) bool {
	probe := &javaReader{rest: b, version: j.version}
	kind, _ := probe.number()
	alias, _ := probe.text()
	date, err := probe.take(8)
	if err != nil || alias == "" || date[0] != 0 || date[1] != 0 {
		return false
	}
	switch kind {
	case javaKey:
		protected, err := probe.block()
		return err == nil && len(protected) > 0 && protected[0] == tagSequence
	case javaTrusted:
		der, err := probe.certificate()
		return err == nil && len(der) > 0 && der[0] == tagSequence
	case javaSecret:
		return bytes.HasPrefix(probe.rest, []byte{0xac, 0xed, 0, 5}) // java.io.ObjectStreamConstants
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A list is one that is served.
type list struct {
	store.CRL
	from, to int // where its entries are in List
}

// entries returns the encoded entries.
func (l *list) entries() []byte { return l.List[l.from:l.to] }

// An entries gathers the encoded entries of a list in the buffer in which the list will be, so that
// they are never copied: what comes before them is written backwards from their beginning.
type entries struct {
	buf  []byte
	room int // before the entries
	n    int64
	last []byte // serial number of the last one, as INTEGER contents; aliases buf
	// late are those that came out of order.
	late []store.Revocation
}

// tailRoom is enough for what comes behind the entries: extensions with a URL, and a signature.
const tailRoom = 4096

// newEntries makes room for entries of an issuer, of which size octets are expected.
func newEntries(issuer *x509.Certificate, size int) *entries {
	room := len(issuer.RawSubject) + 128
	return &entries{buf: make([]byte, room, room+size+tailRoom), room: room}
}

// add adds an entry. Serial numbers come in their order, or are put aside.
func (e *entries) add(r store.Revocation) {
	start := len(e.buf)
	grown := appendEntry(e.buf, r)
	if serial := entrySerial(grown[start:]); e.n > 0 && compareSerials(serial, e.last) <= 0 {
		r.Serial = bytes.Clone(r.Serial)
		e.late = append(e.late, r)
		return
	}
	e.buf = grown
	e.last = entrySerial(e.buf[start:])
	e.n++
}

// The extensions of an entry up to their value: reasonCode and invalidityDate (RFC 5280 section 5.3).
const (
	reasonHead     = "\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01"
	invalidityHead = "\x30\x18\x06\x03\x55\x1d\x18\x04\x11\x18\x0f"
)

// appendEntry appends an entry of revokedCertificates. It is always shorter than 128 octets, because
// a serial number has 20 at most.
func appendEntry(dst []byte, r store.Revocation) []byte {
	start := len(dst)
	dst = append(dst, 0x30, 0)
	serial := bytes.TrimLeft(r.Serial, "\x00")
	if len(serial) == 0 || serial[0] >= 0x80 { // an INTEGER has a sign
		dst = append(dst, 0x02, byte(len(serial)+1), 0)
	} else {
		dst = append(dst, 0x02, byte(len(serial)))
	}
	dst = append(dst, serial...)
	dst = appendTime(dst, r.At)
	// An entry without a reason says the same as "unspecified", which is not to be written (section 5.3.1).
	if r.Reason != 0 || !r.InvalidSince.IsZero() {
		extensions := len(dst)
		dst = append(dst, 0x30, 0)
		if !r.InvalidSince.IsZero() {
			dst = appendGeneralized(append(dst, invalidityHead...), r.InvalidSince)
		}
		if r.Reason != 0 {
			dst = append(append(dst, reasonHead...), byte(r.Reason))
		}
		dst[extensions+1] = byte(len(dst) - extensions - 2)
	}
	dst[start+1] = byte(len(dst) - start - 2)
	return dst
}

// appendTime appends a UTCTime up to 2049 and a GeneralizedTime from then on (section 5.1.2.4).
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y >= 1950 && y < 2050 {
		return t.AppendFormat(append(dst, 0x17, 13), "060102150405Z")
	}
	return appendGeneralized(append(dst, 0x18, 15), t)
}

// appendGeneralized appends the contents of a GeneralizedTime, which has four digits for the year.
func appendGeneralized(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Year() > 9999 || t.Year() < 0 {
		t = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t.AppendFormat(dst, "20060102150405Z")
}

// entrySerial returns the serial number of an entry of ours, as INTEGER contents.
func entrySerial(entry []byte) []byte { return entry[4 : 4+int(entry[3])] }

// compareSerials compares positive INTEGERs.
func compareSerials(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

// maxEntry is the size of the longest entry: with a reason and a date of invalidity.
const maxEntry = 2 + 22 + 17 + 2 + 12 + 26

// merge makes the entries of a list whose own are old, n of them, with changes in them.
func merge(issuer *x509.Certificate, old []byte, n int64, changes []store.Revocation) *entries {
	e := newEntries(issuer, len(old)+len(changes)*maxEntry)
	encoded := make([][]byte, len(changes))
	for i, r := range changes {
		encoded[i] = appendEntry(nil, r)
	}
	slices.SortStableFunc(encoded, func(a, b []byte) int { return compareSerials(entrySerial(a), entrySerial(b)) })
	kept := 0 // entries of old that are not written yet begin here
	for at := 0; len(encoded) > 0; {
		order := 1 // behind all of old
		if at < len(old) {
			order = compareSerials(entrySerial(old[at:]), entrySerial(encoded[0]))
		}
		if order < 0 {
			at += 2 + int(old[at+1])
			continue
		}
		e.buf = append(e.buf, old[kept:at]...)
		if order == 0 { // in its place
			at += 2 + int(old[at+1])
			n--
		}
		kept = at
		e.buf = append(e.buf, encoded[0]...)
		encoded = encoded[1:]
	}
	e.buf = append(e.buf, old[kept:]...)
	e.n = n + int64(len(changes))
	return e
}

var errCannotSignLists = errors.New("its certificate does not allow it to sign lists (key usage cRLSign)")

// A face is what a list says beside its entries.
type face struct {
	issuer *x509.Certificate
	number int64
	this   time.Time
	next   time.Time
	url    string // of a shard: where it is; "" for the complete list
}

// seal makes a list of entries. They are not to be used afterwards.
func (e *entries) seal(f face, signer crypto.Signer) (*list, error) {
	if f.issuer.KeyUsage != 0 && f.issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, fmt.Errorf("%w: %w", tallystick.ErrInvalid, errCannotSignLists)
	}
	if len(e.late) > 0 {
		e = merge(f.issuer, e.buf[e.room:], e.n, e.late)
	}
	how, err := schemeOf(signer.Public())
	if err != nil {
		return nil, err
	}
	tail, err := f.extensions()
	if err != nil {
		return nil, err
	}
	end := len(e.buf)
	size := end - e.room
	head := append([]byte("\x02\x01\x01"), how.id...) // version 2 is written as 1
	head = append(head, f.issuer.RawSubject...)
	head = appendTime(appendTime(head, f.this), f.next)
	if size > 0 { // an empty one must be absent (section 5.1.2.6)
		head = appendHeader(head, size)
	}
	head = append(appendHeader(nil, len(head)+size+len(tail)), head...)
	start := e.room - len(head)
	copy(e.buf[start:], head)
	e.buf = append(e.buf, tail...)
	signature, err := how.signSurely(signer, e.buf[start:])
	if err != nil {
		return nil, err
	}
	e.buf = append(e.buf, how.id...)
	e.buf = append(appendTag(e.buf, 0x03, len(signature)+1), 0) // BIT STRING, no unused bits
	e.buf = append(e.buf, signature...)
	outer := appendHeader(nil, len(e.buf)-start)
	copy(e.buf[start-len(outer):], outer)
	start -= len(outer)
	l := &list{from: e.room - start, to: end - start}
	l.Number, l.ThisUpdate, l.NextUpdate, l.Entries = f.number, f.this, f.next, e.n
	l.List = e.buf[start:]
	l.Size = int64(len(l.List))
	sum := sha256.Sum256(l.List)
	l.SHA256 = hex.EncodeToString(sum[:])
	return l, nil
}

// appendHeader appends the tag and length of a SEQUENCE.
func appendHeader(dst []byte, size int) []byte { return appendTag(dst, 0x30, size) }

func appendTag(dst []byte, tag byte, size int) []byte {
	switch {
	case size < 1<<7:
		return append(dst, tag, byte(size))
	case size < 1<<8:
		return append(dst, tag, 0x81, byte(size))
	case size < 1<<16:
		return append(dst, tag, 0x82, byte(size>>8), byte(size))
	case size < 1<<24:
		return append(dst, tag, 0x83, byte(size>>16), byte(size>>8), byte(size))
	}
	return append(dst, tag, 0x84, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// Object identifiers of RFC 5280 sections 5.2.1, 5.2.3 and 5.2.5.
var (
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber    = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidIssuingPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// extensions encodes the extensions of a list, [0] EXPLICIT.
func (f face) extensions() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addExtension(b, oidAuthorityKey, false, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cryptobyteasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(keyIDOf(f.issuer)) })
				})
			})
			addExtension(b, oidCRLNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Int64(f.number) })
			if f.url != "" {
				addExtension(b, oidIssuingPoint, true, f.issuingPoint)
			}
		})
	})
	return b.Bytes()
}

// issuingPoint says which certificates a shard speaks of: those of end entities that name its URL.
func (f face) issuingPoint(b *cryptobyte.Builder) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		point := cryptobyteasn1.Tag(0).Constructed().ContextSpecific() // distributionPoint, and fullName in it
		b.AddASN1(point, func(b *cryptobyte.Builder) {
			b.AddASN1(point, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyteasn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(f.url)) })
			})
		})
		b.AddASN1(cryptobyteasn1.Tag(1).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddUint8(0xff) }) // onlyContainsUserCerts
	})
}

func addExtension(b *cryptobyte.Builder, id asn1.ObjectIdentifier, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(cryptobyteasn1.OCTET_STRING, value)
	})
}

// keyIDOf returns the identifier of an issuer's key; where its certificate has none, that of
// section 4.2.1.2 (1).
func keyIDOf(issuer *x509.Certificate) []byte {
	if len(issuer.SubjectKeyId) > 0 {
		return issuer.SubjectKeyId
	}
	sum := sha1.Sum(publicKeyBits(issuer))
	return sum[:]
}

// publicKeyBits returns the contents of subjectPublicKey, without unused bits.
func publicKeyBits(c *x509.Certificate) []byte {
	spki := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var bits []byte
	if !spki.ReadASN1(&spki, cryptobyteasn1.SEQUENCE) || !spki.SkipASN1(cryptobyteasn1.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&bits) {
		return nil
	}
	return bits
}

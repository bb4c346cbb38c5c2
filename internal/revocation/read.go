// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
)

// A List is a list of revoked certificates that somebody made. It aliases what it was
// read from, and takes no memory for its entries.
type List struct {
	DER                    []byte
	Issuer                 []byte // DER of the name
	ThisUpdate, NextUpdate time.Time
	Number                 *big.Int // nil: it has none
	// Part is why the list does not speak of every certificate of its issuer; "" when it does.
	Part string

	tbs, signature []byte
	how            scheme
	revoked        []byte // the encoded entries
}

var errNotAList = fmt.Errorf("%w: not a list of revoked certificates", tallystick.ErrInvalid)

// ReadList reads the DER of a CertificateList (RFC 5280 section 5.1). Its signature is not verified
// and its entries are not looked at: see Verify and Each. An extension that is critical and not
// known here is ErrInvalid, as section 5.2 demands.
func ReadList(der []byte) (*List, error) {
	l := &List{DER: der}
	in := cryptobyte.String(der)
	var outer, tbs, id cryptobyte.String
	if !in.ReadASN1(&outer, cryptobyteasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Element(&tbs, cryptobyteasn1.SEQUENCE) ||
		!outer.ReadASN1Element(&id, cryptobyteasn1.SEQUENCE) || !outer.ReadASN1BitStringAsBytes(&l.signature) || !outer.Empty() {
		return nil, errNotAList
	}
	l.tbs = tbs
	for _, s := range schemes {
		if s.id == string(id) {
			l.how = s
		}
	}
	if l.how.id == "" {
		return nil, fmt.Errorf("%w: the list is signed in a way that is not known here", tallystick.ErrInvalid)
	}
	return l, l.readBody(tbs, id)
}

// readBody reads the part that is signed.
func (l *List) readBody(tbs, outerID cryptobyte.String) error {
	var version int
	var body, id, issuer, revoked cryptobyte.String
	ok := tbs.ReadASN1(&body, cryptobyteasn1.SEQUENCE)
	if body.PeekASN1Tag(cryptobyteasn1.INTEGER) {
		ok = ok && body.ReadASN1Integer(&version) && version == 1
	}
	ok = ok && body.ReadASN1Element(&id, cryptobyteasn1.SEQUENCE) && bytes.Equal(id, outerID) &&
		body.ReadASN1Element(&issuer, cryptobyteasn1.SEQUENCE) && readTime(&body, &l.ThisUpdate)
	if !ok {
		return errNotAList
	}
	l.Issuer = issuer
	if body.PeekASN1Tag(cryptobyteasn1.UTCTime) || body.PeekASN1Tag(cryptobyteasn1.GeneralizedTime) {
		ok = readTime(&body, &l.NextUpdate)
	}
	if body.PeekASN1Tag(cryptobyteasn1.SEQUENCE) {
		ok = ok && body.ReadASN1(&revoked, cryptobyteasn1.SEQUENCE)
	}
	l.revoked = revoked
	var extensions cryptobyte.String
	var present bool
	ok = ok && body.ReadOptionalASN1(&extensions, &present, cryptobyteasn1.Tag(0).Constructed().ContextSpecific()) && body.Empty()
	if present {
		ok = ok && extensions.ReadASN1(&extensions, cryptobyteasn1.SEQUENCE)
	}
	if !ok {
		return errNotAList
	}
	return l.readExtensions(extensions)
}

func (l *List) readExtensions(list cryptobyte.String) error {
	for !list.Empty() {
		id, critical, value, ok := readExtension(&list)
		switch {
		case !ok:
			return errNotAList
		case id.Equal(oidCRLNumber):
			l.Number = new(big.Int)
			if !value.ReadASN1Integer(l.Number) || !value.Empty() || l.Number.Sign() < 0 || l.Number.BitLen() > 160 {
				return errNotAList
			}
		case id.Equal(oidIssuingPoint):
			l.Part = "it is a part of the list (issuing distribution point)"
		case id.Equal(oidDelta):
			l.Part = "it has the changes alone (delta CRL)"
		case critical:
			return fmt.Errorf("%w: the list has a critical extension %s that is not known here", tallystick.ErrInvalid, id)
		}
	}
	return nil
}

var oidDelta = asn1.ObjectIdentifier{2, 5, 29, 27}

// readExtension reads one Extension.
func readExtension(list *cryptobyte.String) (id asn1.ObjectIdentifier, critical bool, value cryptobyte.String, ok bool) {
	var one cryptobyte.String
	ok = list.ReadASN1(&one, cryptobyteasn1.SEQUENCE) && one.ReadASN1ObjectIdentifier(&id)
	if one.PeekASN1Tag(cryptobyteasn1.BOOLEAN) {
		ok = ok && one.ReadASN1Boolean(&critical)
	}
	ok = ok && one.ReadASN1(&value, cryptobyteasn1.OCTET_STRING) && one.Empty()
	return id, critical, value, ok
}

// readTime reads a Time.
func readTime(in *cryptobyte.String, out *time.Time) bool {
	if in.PeekASN1Tag(cryptobyteasn1.UTCTime) {
		return in.ReadASN1UTCTime(out)
	}
	return in.ReadASN1GeneralizedTime(out)
}

// IssuerName writes the name of the issuer as RFC 4514 has it.
func (l *List) IssuerName() (string, error) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(l.Issuer, &sequence); err != nil || len(rest) > 0 {
		return "", errNotAList
	}
	return sequence.String(), nil
}

// Verify says whether a CA has signed the list: the name is its own, it may sign lists, and the
// signature is of its key.
func (l *List) Verify(ca *x509.Certificate) error {
	switch {
	case !bytes.Equal(l.Issuer, ca.RawSubject):
		return fmt.Errorf("%w: the list is not of %s", tallystick.ErrInvalid, ca.Subject)
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCRLSign == 0:
		return fmt.Errorf("%w: %s may not sign lists", tallystick.ErrInvalid, ca.Subject)
	}
	if err := ca.CheckSignature(l.how.x509, l.tbs, l.signature); err != nil {
		return fmt.Errorf("%w: the list is not signed by %s: %w", tallystick.ErrInvalid, ca.Subject, err)
	}
	return nil
}

// An Entry is one of a list.
type Entry struct {
	Serial       []byte // INTEGER contents
	At           time.Time
	Reason       int
	InvalidSince time.Time
}

// ErrStop ends Each.
var ErrStop = errors.New("enough")

// Each calls fn for each entry until it returns an error; ErrStop ends it well. Entries
// that cannot be read are ErrInvalid.
func (l *List) Each(fn func(Entry) error) error {
	for in := cryptobyte.String(l.revoked); !in.Empty(); {
		e, ok := readEntry(&in)
		if !ok {
			return errNotAList
		}
		if err := fn(e); errors.Is(err, ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Count returns how many entries there are.
func (l *List) Count() (int64, error) {
	n := int64(0)
	for in := cryptobyte.String(l.revoked); !in.Empty(); n++ {
		if !in.SkipASN1(cryptobyteasn1.SEQUENCE) {
			return 0, errNotAList
		}
	}
	return n, nil
}

func readEntry(in *cryptobyte.String) (Entry, bool) {
	var e Entry
	var one, serial, extensions cryptobyte.String
	ok := in.ReadASN1(&one, cryptobyteasn1.SEQUENCE) && one.ReadASN1(&serial, cryptobyteasn1.INTEGER) && len(serial) > 0 && readTime(&one, &e.At)
	e.Serial = serial
	if ok && !one.Empty() {
		ok = one.ReadASN1(&extensions, cryptobyteasn1.SEQUENCE) && one.Empty()
	}
	for ok && !extensions.Empty() {
		var id asn1.ObjectIdentifier
		var value cryptobyte.String
		if id, _, value, ok = readExtension(&extensions); !ok {
			break
		}
		switch {
		case id.Equal(oidReason):
			ok = value.ReadASN1Enum(&e.Reason)
		case id.Equal(oidInvalidity):
			ok = value.ReadASN1GeneralizedTime(&e.InvalidSince)
		}
	}
	return e, ok
}

var (
	oidReason     = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidity = asn1.ObjectIdentifier{2, 5, 29, 24}
)

// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // the hash functions of CertIDs
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A query is a request of OCSP (RFC 6960 section 4.1.1).
type query struct {
	certs []certID
	nonce []byte // contents of the extension's value, which is an OCTET STRING; nil without one
}

// A certID names a certificate by its issuer and serial number.
type certID struct {
	raw       []byte // DER, to be repeated in the answer
	hash      crypto.Hash
	name, key []byte // hashes
	serial    []byte // INTEGER contents
}

const (
	// maxQuery bounds a request: there is room for maxAsked certificates and a signature.
	maxQuery = 16 << 10
	maxAsked = 16
	// maxNonce is the bound of RFC 9654 section 2.1.
	maxNonce = 128
)

var errMalformed = errors.New("malformed request")

// readQuery reads an OCSPRequest. Who signed it does not matter: everybody gets an answer.
func readQuery(der []byte) (query, error) {
	var q query
	in := cryptobyte.String(der)
	var outer, tbs, list, extensions cryptobyte.String
	var present bool
	context := func(n uint8) cryptobyteasn1.Tag {
		return cryptobyteasn1.Tag(n).Constructed().ContextSpecific()
	}
	ok := len(der) <= maxQuery && in.ReadASN1(&outer, cryptobyteasn1.SEQUENCE) && in.Empty() &&
		outer.ReadASN1(&tbs, cryptobyteasn1.SEQUENCE) && outer.SkipOptionalASN1(context(0)) && outer.Empty() &&
		tbs.SkipOptionalASN1(context(0)) && tbs.SkipOptionalASN1(context(1)) && tbs.ReadASN1(&list, cryptobyteasn1.SEQUENCE) &&
		tbs.ReadOptionalASN1(&extensions, &present, context(2)) && tbs.Empty()
	if !ok {
		return q, errMalformed
	}
	for !list.Empty() {
		id, ok := readRequest(&list)
		if !ok || len(q.certs) == maxAsked {
			return q, errMalformed
		}
		q.certs = append(q.certs, id)
	}
	if len(q.certs) == 0 {
		return q, errMalformed
	}
	if present {
		return q, q.readExtensions(extensions)
	}
	return q, nil
}

// readRequest reads a Request.
func readRequest(list *cryptobyte.String) (certID, bool) {
	var one, extensions cryptobyte.String
	var present bool
	if !list.ReadASN1(&one, cryptobyteasn1.SEQUENCE) {
		return certID{}, false
	}
	id, ok := readCertID(&one)
	if !ok || !one.ReadOptionalASN1(&extensions, &present, cryptobyteasn1.Tag(0).Constructed().ContextSpecific()) || !one.Empty() {
		return certID{}, false
	}
	if present && (!extensions.ReadASN1(&extensions, cryptobyteasn1.SEQUENCE)) {
		return certID{}, false
	}
	for !extensions.Empty() {
		// None is known here; one that is critical cannot be passed over (section 4.4).
		if _, critical, _, ok := readExtension(&extensions); !ok || critical {
			return certID{}, false
		}
	}
	return id, true
}

// The hash functions of CertIDs. SHA-1 is what every client uses (RFC 5019 section 2.1.1).
var (
	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// readCertID reads a CertID. Of an unknown hash function, hash is 0.
func readCertID(in *cryptobyte.String) (certID, bool) {
	var id certID
	var raw, body, algorithm, name, key, serial cryptobyte.String
	var oid asn1.ObjectIdentifier
	ok := in.ReadASN1Element(&raw, cryptobyteasn1.SEQUENCE)
	id.raw = raw
	ok = ok && raw.ReadASN1(&body, cryptobyteasn1.SEQUENCE) && body.ReadASN1(&algorithm, cryptobyteasn1.SEQUENCE) &&
		algorithm.ReadASN1ObjectIdentifier(&oid) && (algorithm.Empty() || bytes.Equal(algorithm, []byte{5, 0})) &&
		body.ReadASN1(&name, cryptobyteasn1.OCTET_STRING) && body.ReadASN1(&key, cryptobyteasn1.OCTET_STRING) &&
		body.ReadASN1(&serial, cryptobyteasn1.INTEGER) && body.Empty() && len(serial) > 0 && len(serial) <= 64
	switch {
	case oid.Equal(oidSHA1):
		id.hash = crypto.SHA1
	case oid.Equal(oidSHA256):
		id.hash = crypto.SHA256
	case oid.Equal(oidSHA384):
		id.hash = crypto.SHA384
	case oid.Equal(oidSHA512):
		id.hash = crypto.SHA512
	}
	id.name, id.key, id.serial = name, key, serial
	return id, ok
}

var oidNonce = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}

// readExtensions reads requestExtensions. A nonce has 1 to 128 octets, or the request is
// malformed (RFC 9654 section 2.1).
func (q *query) readExtensions(in cryptobyte.String) error {
	if !in.ReadASN1(&in, cryptobyteasn1.SEQUENCE) {
		return errMalformed
	}
	for !in.Empty() {
		id, critical, value, ok := readExtension(&in)
		switch {
		case !ok:
			return errMalformed
		case id.Equal(oidNonce):
			var nonce cryptobyte.String
			if q.nonce != nil || !value.ReadASN1(&nonce, cryptobyteasn1.OCTET_STRING) || !value.Empty() || len(nonce) == 0 || len(nonce) > maxNonce {
				return errMalformed
			}
			q.nonce = nonce
		case critical:
			return errMalformed
		}
	}
	return nil
}

// of says whether a certificate's issuer is an authority.
func (id certID) of(a Authority) bool {
	return id.hash != 0 && bytes.Equal(id.name, digest(id.hash, a.Certificate.RawSubject)) &&
		bytes.Equal(id.key, digest(id.hash, publicKeyBits(a.Certificate)))
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

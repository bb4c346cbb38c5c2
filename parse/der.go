// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"

	"github.com/tallystick/tallystick"
)

const (
	oidData       = "1.2.840.113549.1.7.1"
	oidSignedData = "1.2.840.113549.1.7.2"
)

// readDER recognises DER by its shape, since it carries no name. It returns
// false for what it does not know. Certificates may follow one another.
func (r *reader) readDER(data []byte) bool {
	known := false
	for len(data) > 1 && data[0] == tagSequence && !r.full() {
		e, rest, ok := next(data)
		if !ok {
			return known
		}
		parts := children(e.body, 12)
		if !r.readOneDER(e, parts) {
			return known
		}
		if known = true; !isCertificate(parts) {
			return true
		}
		data = rest
	}
	return known
}

// readOneDER reads one SEQUENCE with these members.
func (r *reader) readOneDER(e element, parts []element) bool {
	switch {
	case len(parts) < 2:
		return false
	case parts[0].tag == tagOID && oidText(parts[0].body) == oidSignedData:
		r.readPKCS7(e.raw)
	case isPKCS12(parts):
		r.readPKCS12(e.raw)
	case isCertificate(parts):
		r.addCertificate(e.raw, Item{Role: tallystick.RolePresents, Format: "der"}, "certificate")
	case isEncryptedPKCS8(parts):
		r.readEncryptedPKCS8(e.raw)
	case isSPKI(e.raw):
		r.add(Item{Credential: bareKey(bytes.Clone(e.raw), ""), Role: tallystick.RolePresents, Format: "der"})
	default:
		return r.addPrivate(e.raw, Item{Format: keyFormat(parts)})
	}
	return true
}

// isCertificate tells a certificate from a request, a CRL and an attribute
// certificate, all of them SEQUENCEs of a SEQUENCE, an algorithm and a BIT
// STRING: five SEQUENCEs follow the serial number.
func isCertificate(parts []element) bool {
	if len(parts) < 3 || parts[0].tag != tagSequence || parts[2].tag != tagBitString {
		return false
	}
	fields := children(parts[0].body, 7)
	if len(fields) > 0 && fields[0].tag == tagContext {
		fields = fields[1:]
	}
	if len(fields) < 6 || fields[0].tag != tagInteger {
		return false
	}
	for _, field := range fields[1:6] {
		if field.tag != tagSequence {
			return false
		}
	}
	return true
}

// isEncryptedPKCS8 knows the password-based schemes only: an algorithm and an
// OCTET STRING is the shape of many other things.
func isEncryptedPKCS8(parts []element) bool {
	if len(parts) != 2 || parts[0].tag != tagSequence || parts[1].tag&^0x20 != tagOctetString {
		return false
	}
	oid, _ := algorithmID(parts[0].body)
	_, known := schemes[oid]
	return known || oid == oidPBES2
}

func isSPKI(der []byte) bool {
	key, err := Key(der)
	return err == nil && key.Algorithm != "unknown"
}

// pkcs8Algorithm names the algorithm of a PKCS#8 private key.
func pkcs8Algorithm(der []byte) (string, bool) {
	body, _, _ := expect(der, tagSequence)
	parts := children(body, 3)
	if keyFormat(parts) != "pkcs8" {
		return "", false
	}
	oid, params := algorithmID(parts[1].body)
	word, _ := spkiParts{oid: oid, params: params}.algorithm()
	return word, oid != ""
}

// keyFormat tells PKCS#8 from the older forms.
func keyFormat(parts []element) string {
	if len(parts) >= 3 && parts[0].tag == tagInteger && parts[1].tag == tagSequence && parts[2].tag&^0x20 == tagOctetString {
		return "pkcs8"
	}
	return "der"
}

// readEncryptedPKCS8 opens an EncryptedPrivateKeyInfo (RFC 5958 section 3).
func (r *reader) readEncryptedPKCS8(der []byte) {
	body, _, _ := expect(der, tagSequence)
	parts := children(body, 2)
	item := Item{Format: "pkcs8", Passphrase: true}
	if len(parts) == 2 {
		ok := r.try(func(passphrase string, weak bool) bool {
			plain, ok := r.work.decrypt(parts[0].body, octets(parts[1]), passphrase)
			if !ok || len(plain) == 0 || plain[0] != tagSequence {
				return false
			}
			defer clear(plain)
			item.WeakPassphrase = weak
			return r.addPrivate(plain, item)
		})
		if ok {
			return
		}
	}
	item.WeakPassphrase = false
	r.addSealed(der, item)
}

// readPKCS7 takes the certificates out of a SignedData (RFC 5652 section 5.1).
// Signatures in it are not looked at.
func (r *reader) readPKCS7(der []byte) {
	content, _, _ := expect(der, tagSequence)
	parts := children(content, 2)
	if len(parts) != 2 || parts[1].tag != tagContext {
		r.problem("malformed", "PKCS#7 without content")
		return
	}
	signed, _, _ := expect(parts[1].body, tagSequence)
	for _, field := range children(signed, 6) {
		if field.tag != tagContext {
			continue
		}
		for e := range elements(field.body) {
			if r.full() {
				return
			}
			if e.tag == tagSequence { // others are attribute certificates and old forms
				r.addCertificate(e.raw, Item{Role: tallystick.RolePresents, Format: "pkcs7"}, "certificate in PKCS#7")
			}
		}
	}
}

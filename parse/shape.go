// SPDX-License-Identifier: Apache-2.0

package parse

// A credential keeps the bytes that it was read from, so those must be public.
// What a file calls a certificate can be, or contain, a private key: by a slip
// of whoever joined two files, or to get the key copied to where its finder can
// read it. The functions below see to it that only the members of a certificate
// are kept, and that none of them has the form of a private key.

// members is children for a value that must consist of nothing else; whole is
// false when there are more than limit, or bytes that are no element.
func members(b []byte, limit int) (all []element, whole bool) {
	for len(b) > 0 {
		e, rest, ok := next(b)
		if !ok || len(all) == limit {
			return all, false
		}
		all, b = append(all, e), rest
	}
	return all, true
}

// certificateParts opens a certificate: its three members and the fields of the
// first one, without the version.
func certificateParts(der []byte) (raw []byte, parts, fields []element, err error) {
	e, _, ok := next(der)
	if !ok && len(der) > 0 && der[0] == tagSequence {
		return nil, nil, nil, errTruncated
	}
	parts, whole := members(e.body, 3)
	if !ok || e.tag != tagSequence || !isCertificate(parts) || parts[1].tag != tagSequence {
		return nil, nil, nil, errNoCertificate
	}
	fields, wholeTBS := members(parts[0].body, 10)
	if fields[0].tag == tagContext {
		fields = fields[1:]
	}
	if !whole || !wholeTBS || !onlyTagged(fields[6:]) {
		return nil, nil, nil, errSurplus
	}
	if hidesPrivate(e.raw, 0) {
		return nil, nil, nil, errPrivate
	}
	return e.raw, parts, fields, nil
}

// onlyTagged allows what may follow the key in a TBSCertificate: two unique
// identifiers and the extensions (RFC 5280 section 4.1).
func onlyTagged(fields []element) bool {
	for _, e := range fields {
		switch e.tag {
		case tagImplicit + 1, tagImplicit + 2, tagContext + 1, tagContext + 2, tagContext + 3:
		default:
			return false
		}
	}
	return true
}

// hidesPrivate looks for a private key among the elements of b and in them, also
// where one is wrapped in an OCTET STRING or a BIT STRING. It goes deeper than
// certificates do.
func hidesPrivate(b []byte, depth int) bool {
	if depth > maxDepth {
		return false
	}
	for e := range elements(b) {
		inside := e.body
		if e.tag&0x20 == 0 {
			inside = wrapped(e)
		} else if isPrivateShape(e.body) {
			return true
		}
		if len(inside) > 0 && hidesPrivate(inside, depth+1) {
			return true
		}
	}
	return false
}

// wrapped returns the value of a primitive element if a SEQUENCE stands in it.
func wrapped(e element) []byte {
	inside := e.body
	if e.tag == tagBitString && len(inside) > 0 {
		inside = inside[1:]
	}
	if len(inside) > 16 && inside[0] == tagSequence {
		return inside
	}
	return nil
}

// minSecret is the size, in bytes, of an OCTET STRING that can be a private key.
const minSecret = 16

// isPrivateShape knows PKCS#8, encrypted or not, SEC1, PKCS#1 and the DSA form
// of OpenSSL by the inside of their SEQUENCE.
func isPrivateShape(body []byte) bool {
	if len(body) < minSecret {
		return false
	}
	if body[0] == tagSequence {
		return isEncryptedPKCS8(children(body, 3))
	}
	if body[0] != tagInteger {
		return false
	}
	parts := children(body, 9)
	if len(parts) < 2 || !isVersion(parts[0]) {
		return false
	}
	switch parts[1].tag {
	case tagSequence:
		oid, _ := algorithmID(parts[1].body)
		return oid != "" && len(parts) > 2 && parts[2].tag&^0x20 == tagOctetString
	case tagOctetString, tagOctetString | 0x20:
		return len(parts[1].body) >= minSecret
	case tagInteger:
		return (len(parts) == 6 || len(parts) == 9) && allIntegers(parts)
	}
	return false
}

func allIntegers(parts []element) bool {
	for _, e := range parts {
		if e.tag != tagInteger {
			return false
		}
	}
	return true
}

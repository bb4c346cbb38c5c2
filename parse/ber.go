// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"iter"
	"strconv"
)

// The tags of X.690 that are met here, as the identifier octet.
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagBitString   = 0x03
	tagOctetString = 0x04
	tagOID         = 0x06
	tagUTCTime     = 0x17
	tagTime        = 0x18 // GeneralizedTime
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext     = 0xa0 // [0], constructed
	tagImplicit    = 0x80 // [0], primitive
)

// maxDepth bounds how deep elements of indefinite length may nest, because
// finding the end of one means walking everything in it.
const maxDepth = 16

// An element is one tag, length and value of BER (X.690 section 8.1).
type element struct {
	tag  byte   // first identifier octet
	body []byte // the value
	raw  []byte // all of it
}

// next splits the first element off b. It reads BER, not only DER, and does
// not ask for shortest lengths, because old certificates and PKCS#7 and
// PKCS#12 files are written that way. It fails on an element that does not
// fit into b.
func next(b []byte) (e element, rest []byte, ok bool) { return nextAt(b, 0) }

func nextAt(b []byte, depth int) (e element, rest []byte, ok bool) {
	if len(b) < 2 || depth > maxDepth {
		return element{}, nil, false
	}
	e.tag = b[0]
	i := 1
	if e.tag&0x1f == 0x1f { // high tag numbers have more identifier octets
		for i < len(b) && b[i]&0x80 != 0 {
			i++
		}
		i++
	}
	size, i, ok := length(b, i)
	if !ok {
		return element{}, nil, false
	}
	if size < 0 {
		return indefinite(e, b, i, depth)
	}
	if size > len(b)-i {
		return element{}, nil, false
	}
	e.body, e.raw = b[i:i+size], b[:i+size]
	return e, b[i+size:], true
}

// length reads the length octets at b[i] and returns where the value starts;
// size is -1 for the indefinite form.
func length(b []byte, i int) (size, start int, ok bool) {
	if i >= len(b) {
		return 0, 0, false
	}
	first := b[i]
	i++
	if first < 0x80 {
		return int(first), i, true
	}
	if first == 0x80 {
		return -1, i, true
	}
	for n := int(first & 0x7f); n > 0; n-- {
		if i >= len(b) || size > 1<<30 {
			return 0, 0, false
		}
		size = size<<8 | int(b[i])
		i++
	}
	return size, i, true
}

// indefinite walks the elements from b[start] to the end-of-contents octets.
func indefinite(e element, b []byte, start, depth int) (element, []byte, bool) {
	if e.tag&0x20 == 0 {
		return element{}, nil, false // only constructed elements may lack a length
	}
	rest := b[start:]
	for {
		if len(rest) >= 2 && rest[0] == 0 && rest[1] == 0 {
			end := len(b) - len(rest)
			e.body, e.raw = b[start:end], b[:end+2]
			return e, rest[2:], true
		}
		_, after, ok := nextAt(rest, depth+1)
		if !ok {
			return element{}, nil, false
		}
		rest = after
	}
}

// expect is next for one tag only.
func expect(b []byte, tag byte) (body, rest []byte, ok bool) {
	e, rest, ok := next(b)
	if !ok || e.tag != tag {
		return nil, b, false
	}
	return e.body, rest, true
}

// elements goes through the elements of b and leaves out what follows the
// first one that cannot be read.
func elements(b []byte) iter.Seq[element] {
	return func(yield func(element) bool) {
		for len(b) > 0 {
			e, rest, ok := next(b)
			if !ok || !yield(e) {
				return
			}
			b = rest
		}
	}
}

// children collects up to limit elements of b, for a SEQUENCE whose fields are
// told by their position.
func children(b []byte, limit int) []element {
	all := make([]element, 0, limit)
	for e := range elements(b) {
		if len(all) == limit {
			break
		}
		all = append(all, e)
	}
	return all
}

// octets returns the value of an OCTET STRING, joined when it is in pieces
// (X.690 section 8.7.3), as large PKCS#7 and PKCS#12 contents are.
func octets(e element) []byte {
	if e.tag&0x20 == 0 {
		return e.body
	}
	var joined []byte
	for b := e.body; len(b) > 0; {
		piece, rest, ok := next(b)
		if !ok || piece.tag != tagOctetString {
			break
		}
		joined = append(joined, piece.body...)
		b = rest
	}
	return joined
}

// smallInt reads a non-negative INTEGER of at most 31 bits; -1 is any other.
func smallInt(body []byte) int {
	if len(body) == 0 || len(body) > 5 || body[0]&0x80 != 0 {
		return -1
	}
	n := 0
	for _, c := range body {
		n = n<<8 | int(c)
	}
	if n > 1<<31-1 {
		return -1
	}
	return n
}

// oidText writes the value of an OBJECT IDENTIFIER in dotted form, and "" when
// it is not one.
func oidText(body []byte) string {
	if len(body) == 0 || len(body) > 64 || body[len(body)-1]&0x80 != 0 {
		return ""
	}
	text := make([]byte, 0, 32)
	var arc uint64
	for _, c := range body {
		if arc > 1<<56 {
			return ""
		}
		arc = arc<<7 | uint64(c&0x7f)
		if c&0x80 != 0 {
			continue
		}
		text = appendArc(text, arc)
		arc = 0
	}
	return string(text)
}

// appendArc appends one arc; the first one holds two (X.690 section 8.19.4).
func appendArc(text []byte, arc uint64) []byte {
	if len(text) > 0 {
		return strconv.AppendUint(append(text, '.'), arc, 10)
	}
	top := min(arc/40, 2)
	text = strconv.AppendUint(text, top, 10)
	return strconv.AppendUint(append(text, '.'), arc-40*top, 10)
}
